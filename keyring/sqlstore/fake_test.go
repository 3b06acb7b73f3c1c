package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"
)

// fake is a database that answers as a test wants. The stores' tests on real
// servers are a module of their own, for their drivers.
type fake struct {
	sent     []string
	row      []driver.Value // what a query returns; nil: no row
	args     [][]driver.NamedValue
	affected int64
	err      error
}

func (f *fake) store(t *testing.T, d Dialect) *Store {
	t.Helper()
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	s, err := New(db, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fake) Connect(context.Context) (driver.Conn, error) { return fakeConn{f}, nil }
func (f *fake) Driver() driver.Driver                        { return nil }

type fakeConn struct{ f *fake }

func (c fakeConn) Prepare(string) (driver.Stmt, error) { panic("not used") }
func (c fakeConn) Begin() (driver.Tx, error)           { return c, nil }
func (c fakeConn) Close() error                        { return nil }
func (c fakeConn) Commit() error                       { return nil }
func (c fakeConn) Rollback() error                     { return nil }

func (c fakeConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.f.sent, c.f.args = append(c.f.sent, query), append(c.f.args, args)
	return driver.RowsAffected(c.f.affected), c.f.err
}

func (c fakeConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.f.sent, c.f.args = append(c.f.sent, query), append(c.f.args, args)
	return &fakeRows{row: c.f.row}, c.f.err
}

type fakeRows struct {
	row  []driver.Value
	done bool
}

func (r *fakeRows) Columns() []string { return make([]string, len(r.row)) }
func (r *fakeRows) Close() error      { return nil }
func (r *fakeRows) Next(dest []driver.Value) error {
	if r.done || r.row == nil {
		return io.EOF
	}
	r.done = true
	copy(dest, r.row)
	return nil
}
