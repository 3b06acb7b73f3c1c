package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
)

// A database is one that a URL names.
type database struct {
	*sql.DB
	dialect sqlstore.Dialect
}

// openDatabase opens what a URL names, and looks whether it answers. what says what the
// URL is for; errors don't quote it, because it may hold a password. With create a file
// that isn't there is made.
func openDatabase(ctx context.Context, what, text string, create bool) (*database, error) {
	driver, dialect, dsn, err := dataSource(text, create)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", what, err)}
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", what, err)}
	}
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		if errors.As(err, new(net.Error)) { // not a wrong password, a missing database
			err = fmt.Errorf("%w: %w", keyring.ErrUnavailable, err)
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return &database{db, dialect}, nil
}

var errURL = errors.New("not a URL of a database: want postgres://USER@HOST/NAME, mysql://USER@HOST/NAME or sqlite:///FILE")

// dataSource translates a URL into what a driver of database/sql takes.
func dataSource(text string, create bool) (driver string, d sqlstore.Dialect, dsn string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", 0, "", errURL
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		return "pgx", sqlstore.PostgreSQL, text, nil
	case "mysql":
		dsn, err = mysqlDSN(u)
		return "mysql", sqlstore.MySQL, dsn, err
	case "sqlite":
		dsn, err = sqliteDSN(u, create)
		return "sqlite", sqlstore.SQLite, dsn, err
	}
	return "", 0, "", errURL
}

// mysqlParameters are those of the driver that a URL may have, and socket.
var mysqlParameters = []string{"socket", "tls", "charset", "collation", "timeout", "readTimeout", "writeTimeout", "serverPubKey"}

func mysqlDSN(u *url.URL) (string, error) {
	query := u.Query()
	for name := range query {
		if !slices.Contains(mysqlParameters, name) {
			return "", fmt.Errorf("a mysql:// URL takes the parameters %s", strings.Join(mysqlParameters, ", "))
		}
	}
	socket := query.Get("socket")
	query.Del("socket")
	cfg, err := mysql.ParseDSN("/?" + query.Encode())
	if err != nil {
		return "", errors.New("a parameter of the mysql:// URL has a value that the driver doesn't take")
	}
	cfg.User = u.User.Username()
	password, given := u.User.Password()
	if !given {
		password = os.Getenv("MYSQL_PWD")
	}
	cfg.Passwd = password
	cfg.DBName = strings.TrimPrefix(u.Path, "/")
	cfg.Net, cfg.Addr = "tcp", u.Host
	if u.Port() == "" {
		cfg.Addr = u.Host + ":3306"
	}
	if socket != "" {
		cfg.Net, cfg.Addr = "unix", socket
	}
	if cfg.DBName == "" || cfg.User == "" || u.Host == "" {
		return "", errors.New("want mysql://USER@HOST/NAME, with localhost and ?socket=/FILE for a socket")
	}
	return cfg.FormatDSN(), nil
}

func sqliteDSN(u *url.URL, create bool) (string, error) {
	path, err := localPath(u)
	if err != nil {
		return "", fmt.Errorf("want sqlite:///FILE: %w", err)
	}
	mode := "rw"
	if create {
		mode = "rwc"
	} else if _, err := os.Stat(path); err != nil {
		return "", err
	}
	file := url.URL{Scheme: "file", Path: path, RawQuery: "mode=" + mode + "&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)"}
	return file.String(), nil
}

// localPath returns the absolute path that a URL without a host names.
func localPath(u *url.URL) (string, error) {
	if u.Host != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !filepath.IsAbs(u.Path) || filepath.Clean(u.Path) == "/" {
		return "", errors.New("it names a file of this machine by an absolute path, and nothing else")
	}
	return u.Path, nil
}

// refusePassword refuses a URL with a password where others see it: command lines are
// in tables of processes and in histories, files in repositories.
func refusePassword(text, where, variable string) error {
	u, err := url.Parse(text)
	if err != nil {
		return usageError{fmt.Errorf("%s is not a URL", where)}
	}
	_, found := u.User.Password()
	for name := range u.Query() {
		name = strings.ToLower(name)
		found = found || strings.Contains(name, "pass") || strings.Contains(name, "pwd")
	}
	if !found {
		return nil
	}
	return usageError{fmt.Errorf("%s holds a password, which others see there: take it out and consider it known. Set PGPASSWORD or MYSQL_PWD, or give the whole URL in %s", where, variable)}
}
