package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal/keyring"
)

var dialects = []Dialect{PostgreSQL, MySQL, SQLite}

func TestOptions(t *testing.T) {
	db := sql.OpenDB(&fake{})
	defer db.Close()
	for _, prefix := range []string{"", "a", "app_", "a1_", strings.Repeat("a", 40)} {
		if _, err := New(db, SQLite, &Options{TablePrefix: prefix}); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"1", "_", "A", "a.b", "a-", "a ", `a"`, "a`", "a;--", "\u00e4", "a\x00", strings.Repeat("a", 41)} {
		if _, err := New(db, SQLite, &Options{TablePrefix: prefix}); !errors.Is(err, ErrOptions) {
			t.Errorf("prefix %q: %v", prefix, err)
		}
		if _, err := Schema(SQLite, &Options{TablePrefix: prefix}); !errors.Is(err, ErrOptions) {
			t.Errorf("Schema, prefix %q: %v", prefix, err)
		}
	}
	for _, d := range []Dialect{0, SQLite + 1, 255} {
		if _, err := New(db, d, nil); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", d, err)
		}
	}
	if _, err := New(nil, SQLite, nil); !errors.Is(err, ErrOptions) {
		t.Errorf("no database: %v", err)
	}
}

// What a statement can't answer is refused before there is one; above all names,
// which a database might fold, pad or cut.
func TestRefusedWithoutStatement(t *testing.T) {
	for _, d := range dialects {
		f := &fake{affected: 1}
		s := f.store(t, d)
		ctx := t.Context()
		for _, name := range []string{"", "A", "a ", "a\x00", "\u00e4", "-a", strings.Repeat("a", 101)} {
			if _, err := s.Load(ctx, name); !errors.Is(err, keyring.ErrName) {
				t.Errorf("Load(%q): %v", name, err)
			}
			if err := s.CompareAndSwap(ctx, name, 0, keyring.Record{Revision: 1}); !errors.Is(err, keyring.ErrName) {
				t.Errorf("CompareAndSwap(%q): %v", name, err)
			}
		}
		for _, c := range []struct {
			old  uint64
			next keyring.Record
			want error
		}{
			{0, keyring.Record{}, keyring.ErrCorrupt},
			{1, keyring.Record{Revision: 1}, keyring.ErrCorrupt},
			{1, keyring.Record{Revision: math.MaxInt64 + 1}, keyring.ErrCorrupt},
			{math.MaxInt64 + 1, keyring.Record{Revision: 1}, keyring.ErrConflict},
			{0, keyring.Record{Revision: 1, Data: make([]byte, keyring.MaxRecordSize+1)}, keyring.ErrTooLarge},
		} {
			if err := s.CompareAndSwap(ctx, "a", c.old, c.next); !errors.Is(err, c.want) {
				t.Errorf("from %d to %d: %v", c.old, c.next.Revision, err)
			}
		}
		if len(f.sent) > 0 {
			t.Errorf("%s: sent %q", d, f.sent)
		}
	}
}

func TestOneStatement(t *testing.T) {
	for _, d := range dialects {
		f := &fake{affected: 1, row: []driver.Value{int64(7), []byte("x"), int64(0)}}
		s := f.store(t, d)
		if r, err := s.Load(t.Context(), "a"); err != nil || r.Revision != 7 || string(r.Data) != "x" {
			t.Errorf("Load: %+v, %v", r, err)
		}
		for old := range uint64(2) {
			if err := s.CompareAndSwap(t.Context(), "a", old, keyring.Record{Revision: old + 1}); err != nil {
				t.Error(err)
			}
		}
		if len(f.sent) != 3 || !strings.HasPrefix(f.sent[0], "SELECT ") || !strings.HasPrefix(f.sent[1], "INSERT ") || !strings.HasPrefix(strings.TrimPrefix(f.sent[2], "WITH changed AS ("), "UPDATE ") {
			t.Errorf("%s: sent %q", d, f.sent)
		}
		for _, q := range f.sent {
			if !strings.Contains(q, d.quote("structseal_rings")) || strings.Contains(q, "@ ") {
				t.Errorf("%s: sent %q", d, q)
			}
		}
	}
}

// Only PostgreSQL has notices, and they can be left out.
func TestNoticeChannel(t *testing.T) {
	for _, d := range dialects {
		for _, opts := range []*Options{nil, {TablePrefix: "app_"}, {NoNotices: true}} {
			want := ""
			if d == PostgreSQL && (opts == nil || !opts.NoNotices) {
				if want = "structseal_notices"; opts != nil {
					want = "app_notices"
				}
			}
			f := &fake{affected: 1}
			db := sql.OpenDB(f)
			defer db.Close()
			s, err := New(db, d, opts)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.NoticeChannel(); got != want {
				t.Errorf("%s, %+v: channel %q", d, opts, got)
			}
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			for _, store := range []keyring.SubjectStore{s, s.WithTx(tx).(keyring.SubjectStore)} {
				f.sent = nil
				for old := range uint64(2) {
					if err := store.CompareAndSwap(t.Context(), "a", old, keyring.Record{Revision: old + 1}); err != nil {
						t.Error(err)
					}
					if err := store.CompareAndSwapSubject(t.Context(), "a", keyring.SubjectHash{1}, old, keyring.Record{Revision: old + 1}); err != nil {
						t.Error(err)
					}
				}
				for _, q := range f.sent {
					told := strings.Contains(q, "pg_notify('"+want+"', ")
					if update := strings.Contains(q, "UPDATE "); told != (update && want != "") || !told && strings.Contains(q, "notify") {
						t.Errorf("%s, %+v: %s", d, opts, q)
					}
				}
			}
		}
	}
}

// The rows that no program of ours writes.
func TestStrangeRows(t *testing.T) {
	for what, c := range map[string]struct {
		d    Dialect
		row  []driver.Value
		want string
	}{
		"no row":            {SQLite, nil, keyring.ErrNotFound.Error()},
		"outer join":        {PostgreSQL, []driver.Value{nil, nil, int64(0)}, keyring.ErrNotFound.Error()},
		"revision 0":        {PostgreSQL, []driver.Value{int64(0), []byte("x"), int64(0)}, keyring.ErrCorrupt.Error()},
		"negative revision": {MySQL, []driver.Value{int64(-1), []byte("x"), int64(0)}, keyring.ErrCorrupt.Error()},
		"replica":           {PostgreSQL, []driver.Value{int64(7), []byte("x"), int64(1)}, "replica"},
		"empty replica":     {PostgreSQL, []driver.Value{nil, nil, int64(1)}, "replica"},
		"no autocommit":     {MySQL, []driver.Value{int64(7), []byte("x"), int64(1)}, "autocommit"},
		"nothing there yet": {MySQL, []driver.Value{nil, nil, int64(1)}, "autocommit"},
	} {
		r, err := (&fake{row: c.row}).store(t, c.d).Load(t.Context(), "a")
		if err == nil || !strings.Contains(err.Error(), c.want) || r.Revision != 0 || r.Data != nil {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
}

type stateError string

func (e stateError) Error() string    { return "server says " + string(e) }
func (e stateError) SQLState() string { return string(e) }

func TestErrorClasses(t *testing.T) {
	for _, c := range []struct {
		err         error
		unavailable bool
		conflict    bool
	}{
		{driver.ErrBadConn, true, false},
		{sql.ErrConnDone, true, false},
		{io.ErrUnexpectedEOF, true, false},
		{fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), true, false},
		{context.DeadlineExceeded, true, false}, // the driver's own
		{stateError("08006"), true, false},
		{stateError("53300"), true, false},
		{stateError("57P01"), true, false},
		{stateError("40001"), false, true},
		{stateError("40P01"), false, true},
		{stateError("42P01"), false, false},
		{stateError("42501"), false, false},
		{errors.New("something else"), false, false},
	} {
		s := (&fake{err: c.err}).store(t, PostgreSQL)
		err := s.CompareAndSwap(t.Context(), "a", 1, keyring.Record{Revision: 2})
		if !errors.Is(err, c.err) || errors.Is(err, keyring.ErrUnavailable) != c.unavailable || errors.Is(err, keyring.ErrConflict) != c.conflict || errors.Is(err, keyring.ErrNotFound) {
			t.Errorf("%v: %v", c.err, err)
		}
		if strings.Count(err.Error(), "sqlstore: ") != 1 {
			t.Errorf("prefix: %v", err)
		}
	}
	// In a transaction of the caller's nothing is tried again.
	f := &fake{err: stateError("40001")}
	db := sql.OpenDB(f)
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := f.store(t, PostgreSQL).WithTx(tx).CompareAndSwap(t.Context(), "a", 1, keyring.Record{Revision: 2}); errors.Is(err, keyring.ErrConflict) || err == nil {
		t.Errorf("in a transaction: %v", err)
	}
}

// leaver is a driver that has words of its own for a statement that was cut off.
type leaver struct {
	*fake
	cancel context.CancelFunc
}

func (l leaver) Connect(context.Context) (driver.Conn, error) {
	l.cancel()
	return nil, errors.New("query was interrupted")
}

func TestContextErrorStaysOne(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	db := sql.OpenDB(leaver{&fake{}, cancel})
	defer db.Close()
	s, err := New(db, MySQL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CompareAndSwap(ctx, "a", 0, keyring.Record{Revision: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Every embedded file belongs to a migration of a dialect, and none is missing.
func TestMigrationFiles(t *testing.T) {
	var want, have []string
	for _, d := range dialects {
		for n := 1; n <= SchemaVersion; n++ {
			want = append(want, fmt.Sprintf("%s.%d.sql", strings.ToLower(d.String()), n))
			for _, s := range migration(d, "other_", n) {
				if strings.Contains(s, DefaultTablePrefix) || !strings.Contains(s, d.quote("other_"+tables[n-1])) || strings.Contains(s, ";") {
					t.Errorf("%s, version %d, statement %q", d, n, s)
				}
			}
		}
	}
	entries, err := files.ReadDir("schema")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		have = append(have, e.Name())
	}
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(have, want) {
		t.Errorf("files %v, want %v", have, want)
	}
}

// A pool's data source name has the password in it.
func TestPrint(t *testing.T) {
	s := (&fake{sent: []string{"pass" + "word"}}).store(t, MySQL)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, s); got != "sqlstore.Store(MySQL, structseal_rings)" {
			t.Errorf("%s: %s", format, got)
		}
	}
}
