package stores

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/structseal/structseal/itest/stores/dbserver"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/keyringtest"
	"github.com/structseal/structseal/keyring/sqlstore"
)

func TestPostgreSQL(t *testing.T) {
	s := postgres(t).migrated(t)
	dead := func(dir string) site { return site{s.dialect, s.driver, "host=" + dir + " user=postgres dbname=x"} }
	conform(t, s, dead, ".s.PGSQL.5432", "BEGIN", `LOCK TABLE structseal_rings, structseal_subjects IN ACCESS EXCLUSIVE MODE`)
}

// Behind a pooler there are no prepared statements, and some databases ask for
// serializable transactions by default: then a CompareAndSwap that comes second
// hears of a serialization failure, not of zero rows.
func TestPostgreSQLSimpleSerializable(t *testing.T) {
	s := postgres(t).with("default_query_exec_mode=simple_protocol default_transaction_isolation=serializable").migrated(t)
	keyringtest.Run(t, func(t *testing.T) keyring.Store { return s.handle(t) })
}

func TestMariaDB(t *testing.T) {
	s := maria(t).migrated(t)
	dead := func(dir string) site {
		return site{s.dialect, s.driver, "root@unix(" + filepath.Join(dir, "s") + ")/x?charset=utf8mb4"}
	}
	conform(t, s, dead, "s", "LOCK TABLES structseal_rings WRITE, structseal_subjects WRITE")
}

// The flags that change how many rows a statement reports, and how parameters
// travel.
func TestMariaDBFoundRows(t *testing.T) {
	s := maria(t).with("clientFoundRows=true&interpolateParams=true").migrated(t)
	keyringtest.Run(t, func(t *testing.T) keyring.Store { return s.store(t) })
}

func TestSQLite(t *testing.T) {
	s := sqlite(t).migrated(t)
	nowhere := func(dir string) site { return site{s.dialect, s.driver, "file:" + dir + "/none/rings.db?mode=rw"} }
	conform(t, s, nowhere, "", "BEGIN EXCLUSIVE")
}

func TestSQLiteRollbackJournal(t *testing.T) {
	s := site{sqlstore.SQLite, "sqlite", "file:" + filepath.Join(t.TempDir(), "rings.db") + "?_pragma=busy_timeout(60000)&_pragma=synchronous(OFF)"}.migrated(t)
	keyringtest.Run(t, func(t *testing.T) keyring.Store { return s.store(t) })
}

// conform runs the suite. dead returns a site whose server's socket would be in a
// directory, under the name socket if it has one; lock makes writers wait.
func conform(t *testing.T, s site, dead func(dir string) site, socket string, lock ...string) {
	opts := []keyringtest.Option{
		keyringtest.Unreachable("pool closed", func(t *testing.T) keyring.Store {
			db := s.open(t)
			store := on(t, db, s.dialect)
			db.Close()
			return store
		}),
		keyringtest.Unreachable("nobody there", func(t *testing.T) keyring.Store { return dead(t.TempDir()).store(t) }),
		keyringtest.Stalled("table locked", func(t *testing.T) keyring.Store {
			c, err := s.open(t).Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			for _, l := range lock {
				if _, err := c.ExecContext(t.Context(), l); err != nil {
					t.Fatal(err)
				}
			}
			if s.dialect == sqlstore.SQLite { // or the next one finds it locked
				t.Cleanup(func() { c.ExecContext(context.Background(), "ROLLBACK") })
			}
			return s.store(t)
		}),
	}
	if socket != "" {
		opts = append(opts,
			keyringtest.Unreachable("hangs up", func(t *testing.T) keyring.Store {
				dir := listen(t, socket, func(c net.Conn) { c.Close() })
				return dead(dir).store(t)
			}),
			keyringtest.Stalled("never answers", func(t *testing.T) keyring.Store {
				dir := listen(t, socket, func(c net.Conn) { t.Cleanup(func() { c.Close() }) })
				return dead(dir).store(t)
			}))
	}
	keyringtest.Run(t, func(t *testing.T) keyring.Store { return s.handle(t) }, opts...)
}

// listen accepts connections on a socket and returns its directory.
func listen(t *testing.T, socket string, serve func(net.Conn)) (dir string) {
	t.Helper()
	dir, err := dbserver.ShortDir()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return dir
}
