// Package dbserver starts the database servers that tests need: PostgreSQL and MariaDB
// from what is installed, on sockets in a temporary directory. They end with the
// process.
package dbserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// stops end what the tests have started, in reverse.
var stops struct {
	sync.Mutex
	list []func()
}

func atExit(f func()) {
	stops.Lock()
	defer stops.Unlock()
	stops.list = append(stops.list, f)
}

// Run runs the tests of a package, and then ends the servers that they have started.
// Call it from TestMain.
func Run(m *testing.M) (code int) {
	mysql.SetLogger(&mysql.NopLogger{}) // it reports what the tests provoke
	code = m.Run()
	stops.Lock()
	defer stops.Unlock()
	for i := len(stops.list) - 1; i >= 0; i-- {
		stops.list[i]()
	}
	return code
}

// errMissing: a program isn't installed.
var errMissing = errors.New("not installed")

// Program looks on PATH and in the directories where packages hide it.
func Program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/", "/usr/local/sbin/"} {
		if found, _ := filepath.Glob(pattern + name); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, errMissing)
}

// Need ends the test if a server could not be started: as skipped only if it
// isn't installed, and not where everything must be.
func Need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errMissing) && os.Getenv("CI") != "true":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// ready waits until a server answers.
func ready(driver, dsn string) error {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	wait := 5 * time.Millisecond
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait = min(2*wait, 200*time.Millisecond)
		}
	}
}

// ShortDir makes a directory whose path leaves room for a socket's name, and
// which a server's user can reach.
func ShortDir() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "ring")
	if err == nil {
		atExit(func() { os.RemoveAll(dir) })
	}
	return dir, err
}

// launch starts a server that dies with this process.
func launch(cmd *exec.Cmd, end syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = end
	if err := cmd.Start(); err != nil {
		return err
	}
	atExit(func() {
		cmd.Process.Signal(end)
		cmd.Wait()
	})
	return nil
}

// A Cluster is a PostgreSQL server's directory and how to run its programs.
type Cluster struct {
	Dir  string // of the socket
	Data string
	attr *syscall.SysProcAttr
}

// DSN is for the driver pgx.
func (c Cluster) DSN() string { return "host=" + c.Dir + " user=postgres dbname=postgres" }

func (c Cluster) command(name string, args ...string) (*exec.Cmd, error) {
	path, err := Program(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = c.Dir, []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	if c.attr != nil {
		attr := *c.attr
		cmd.SysProcAttr = &attr
	}
	return cmd, nil
}

// Run runs one of the server's programs.
func (c Cluster) Run(name string, args ...string) error {
	cmd, err := c.command(name, args...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// NewCluster makes a directory for a server.
func NewCluster() (Cluster, error) {
	if _, err := Program("initdb"); err != nil {
		return Cluster{}, err
	}
	dir, err := ShortDir()
	if err != nil {
		return Cluster{}, err
	}
	c := Cluster{Dir: dir, Data: filepath.Join(dir, "d")}
	if os.Geteuid() != 0 {
		return c, nil
	}
	// The server refuses to run as root.
	u, err := user.Lookup("postgres")
	if err != nil {
		return c, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return c, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return c, err
	}
	c.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return c, os.Chown(dir, uid, gid)
}

// Initialize makes the files of an empty server.
func (c Cluster) Initialize() error {
	return c.Run("initdb", "-D", c.Data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
}

// Crash ends the server without letting it finish anything. Serve starts it again.
func (c Cluster) Crash() error {
	return c.Run("pg_ctl", "-D", c.Data, "-m", "immediate", "-w", "-t", "60", "stop")
}

// Serve starts the server.
func (c Cluster) Serve() error {
	cmd, err := c.command("postgres", "-D", c.Data, "-k", c.Dir, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "max_connections=200")
	if err != nil {
		return err
	}
	if err := launch(cmd, syscall.SIGQUIT); err != nil {
		return err
	}
	return ready("pgx", c.DSN())
}

// Postgres is the server that all tests of a process share.
var Postgres = sync.OnceValues(func() (Cluster, error) {
	c, err := NewCluster()
	if err != nil {
		return c, err
	}
	if err := c.Initialize(); err != nil {
		return c, err
	}
	return c, c.Serve()
})

// MariaDB is the socket of the MariaDB server that all tests of a process share.
var MariaDB = sync.OnceValues(func() (string, error) {
	install, err := Program("mariadb-install-db")
	if err != nil {
		return "", err
	}
	server, err := Program("mariadbd")
	if err != nil {
		return "", err
	}
	dir, err := ShortDir()
	if err != nil {
		return "", err
	}
	data, socket := filepath.Join(dir, "d"), filepath.Join(dir, "s")
	common := []string{"--no-defaults", "--datadir=" + data}
	if os.Geteuid() == 0 {
		common = append(common, "--user=root")
	}
	cmd := exec.Command(install, append(common, "--auth-root-authentication-method=normal", "--skip-test-db")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", install, err, out)
	}
	err = launch(exec.Command(server, append(common, "--socket="+socket, "--skip-networking", "--pid-file="+filepath.Join(dir, "pid"),
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M")...), syscall.SIGTERM)
	if err != nil {
		return "", err
	}
	return socket, ready("mysql", "root@unix("+socket+")/")
})
