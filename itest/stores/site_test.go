package stores

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"path/filepath"
	"testing"

	"github.com/structseal/structseal/itest/stores/dbserver"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
)

// A site is a database of a test's own.
type site struct {
	dialect sqlstore.Dialect
	driver  string
	dsn     string
}

// open returns a pool with connections of its own.
func (s site) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(s.driver, s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// store returns a store on a pool of its own.
func (s site) store(t testing.TB) *sqlstore.Store {
	t.Helper()
	return on(t, s.open(t), s.dialect)
}

func on(t testing.TB, db *sql.DB, d sqlstore.Dialect) *sqlstore.Store {
	t.Helper()
	store, err := sqlstore.New(db, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// stores are what a process opens of a site.
type stores struct {
	ring    keyring.SubjectStore
	outside keyring.SubjectStore // for tombstones
	close   func() error
}

// fileDriver is what a site without a database has: a directory.
const fileDriver = "file"

func (s site) connect() (stores, error) {
	if s.driver == fileDriver {
		ring, err := keyring.NewFileStore(filepath.Join(s.dsn, "keys"))
		if err != nil {
			return stores{}, err
		}
		outside, err := keyring.NewFileStore(filepath.Join(s.dsn, "outside"))
		return stores{ring, outside, func() error { return nil }}, err
	}
	db, err := sql.Open(s.driver, s.dsn)
	if err != nil {
		return stores{}, err
	}
	db.SetMaxIdleConns(8) // connecting is what takes longest
	ring, err := sqlstore.New(db, s.dialect, nil)
	if err != nil {
		return stores{}, err
	}
	outside, err := sqlstore.New(db, s.dialect, &sqlstore.Options{TablePrefix: "outside_"})
	return stores{ring, outside, db.Close}, err
}

// migrate makes the tables where there are any.
func (d stores) migrate(ctx context.Context) error {
	for _, store := range []keyring.SubjectStore{d.ring, d.outside} {
		if s, ok := store.(*sqlstore.Store); ok {
			if err := s.Migrate(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// stores are those of the test, with tables.
func (s site) stores(t testing.TB) stores {
	t.Helper()
	d, err := s.connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.close() })
	if err := d.migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// migrated is a site with tables.
func (s site) migrated(t testing.TB) site {
	t.Helper()
	if err := s.store(t).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// with adds parameters to the data source name.
func (s site) with(params string) site {
	switch {
	case s.dialect == sqlstore.PostgreSQL:
		s.dsn += " " + params
	default:
		s.dsn += "&" + params
	}
	return s
}

func random() string {
	b := make([]byte, 6)
	rand.Read(b)
	return "t" + hex.EncodeToString(b)
}

func execute(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func postgres(t testing.TB) site {
	t.Helper()
	c, err := dbserver.Postgres()
	dbserver.Need(t, err)
	all := site{sqlstore.PostgreSQL, "pgx", c.DSN()}
	name := random()
	execute(t, all.open(t), "CREATE DATABASE "+name)
	all.dsn = "host=" + c.Dir + " user=postgres dbname=" + name
	return all
}

func maria(t testing.TB) site {
	t.Helper()
	socket, err := dbserver.MariaDB()
	dbserver.Need(t, err)
	all := site{sqlstore.MySQL, "mysql", "root@unix(" + socket + ")/"}
	name := random()
	// The collation that makes the most alike: case, accents and final spaces.
	execute(t, all.open(t), "CREATE DATABASE "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
	all.dsn += name + "?charset=utf8mb4"
	return all
}

// sqlite is a file in WAL mode, as most programs have it.
func sqlite(t testing.TB) site {
	t.Helper()
	return site{sqlstore.SQLite, "sqlite", "file:" + filepath.Join(t.TempDir(), "rings.db") + "?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)"}
}

// files is a directory of a FileStore.
func files(t testing.TB) site {
	t.Helper()
	return site{0, fileDriver, t.TempDir()}
}

// everyStore runs a test on each database and on files, at once.
func everyStore(t *testing.T, test func(t *testing.T, s site)) {
	for name, make := range map[string]func(testing.TB) site{"PostgreSQL": postgres, "MariaDB": maria, "SQLite": sqlite, "files": files} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, make(t))
		})
	}
}

// everywhere runs a test on each database.
func everywhere(t *testing.T, test func(t *testing.T, s site)) {
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgres(t)) })
	t.Run("MariaDB", func(t *testing.T) { test(t, maria(t)) })
	t.Run("SQLite", func(t *testing.T) { test(t, sqlite(t)) })
}
