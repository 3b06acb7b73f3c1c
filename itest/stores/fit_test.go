package stores

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal/itest/stores/dbserver"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A standby shows rings that may be behind: it is refused, also when it has none.
func TestReplicaIsRefused(t *testing.T) {
	s := postgres(t).migrated(t)
	ctx := t.Context()
	if err := s.store(t).CompareAndSwap(ctx, "app", 0, keyring.Record{Revision: 1, Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	primary, err := dbserver.Postgres()
	dbserver.Need(t, err)
	standby, err := dbserver.NewCluster()
	dbserver.Need(t, err)
	dbserver.Need(t, standby.Run("pg_basebackup", "-D", standby.Data, "-h", primary.Dir, "-U", "postgres", "-R", "-X", "stream", "-c", "fast"))
	dbserver.Need(t, standby.Serve())
	replica := s
	replica.dsn = strings.Replace(s.dsn, primary.Dir, standby.Dir, 1)
	store := replica.store(t)
	for _, name := range []string{"app", "none"} {
		r, err := store.Load(ctx, name)
		if err == nil || errors.Is(err, keyring.ErrNotFound) || !strings.Contains(err.Error(), "replica") {
			t.Errorf("Load of %s: revision %d, %v", name, r.Revision, err)
		}
	}
	if err := store.CompareAndSwap(ctx, "app", 1, keyring.Record{Revision: 2}); err == nil || errors.Is(err, keyring.ErrConflict) {
		t.Errorf("CompareAndSwap: %v", err)
	}
}

// Without autocommit nothing would stay.
func TestNoAutocommitIsRefused(t *testing.T) {
	s := maria(t).migrated(t)
	if err := s.store(t).CompareAndSwap(t.Context(), "app", 0, keyring.Record{Revision: 1}); err != nil {
		t.Fatal(err)
	}
	store := s.with("autocommit=0").store(t)
	for _, name := range []string{"app", "none"} {
		if r, err := store.Load(t.Context(), name); err == nil || errors.Is(err, keyring.ErrNotFound) || !strings.Contains(err.Error(), "autocommit") {
			t.Errorf("Load of %s: revision %d, %v", name, r.Revision, err)
		}
	}
	if _, _, err := keyring.Create(t.Context(), "new", store, localkms.NewRandom(), nil); err == nil {
		t.Error("Create: no error")
	}
}

// A driver may say that the connection broke after the server has done its work.
// Then database/sql sends the statement again, which conflicts with itself: the
// keyring finds its own record and goes on.
func TestRetryConflictsWithItself(t *testing.T) {
	s := sqlite(t).migrated(t)
	ctx, kms := t.Context(), localkms.NewRandom()
	var broke atomic.Int64
	db := sql.OpenDB(flaky{s.open(t).Driver(), s.dsn, &broke})
	defer db.Close()
	store := on(t, db, s.dialect)
	if err := store.CompareAndSwap(ctx, "plain", 0, keyring.Record{Revision: 1}); !errors.Is(err, keyring.ErrConflict) {
		t.Errorf("the store itself: %v, want a conflict with itself", err)
	}
	ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	keys := len(ring.Keys())
	for n := range 5 {
		id, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := keyring.Open(ctx, "app", s.store(t), kms, pin, nil)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := fresh.Primary(ctx, keyring.Data); err != nil || key.ID() != id || len(fresh.Keys()) != keys+n+1 {
			t.Errorf("after rotation %d: primary %v, %d keys, %v", n+1, key, len(fresh.Keys()), err)
		}
		fresh.Close()
	}
	if broke.Load() != 7 {
		t.Errorf("%d statements were repeated", broke.Load())
	}
}

// flaky connects through a driver and breaks each connection after each
// write.
type flaky struct {
	driver driver.Driver
	dsn    string
	broke  *atomic.Int64
}

func (f flaky) Driver() driver.Driver { return f.driver }

func (f flaky) Connect(context.Context) (driver.Conn, error) {
	c, err := f.driver.Open(f.dsn)
	if err != nil {
		return nil, err
	}
	return &flakyConn{c, f.broke}, nil
}

type flakyConn struct {
	driver.Conn
	broke *atomic.Int64
}

func (c *flakyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *flakyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if n, err := res.RowsAffected(); err == nil && n == 1 {
		c.broke.Add(1)
		return nil, driver.ErrBadConn
	}
	return res, nil
}
