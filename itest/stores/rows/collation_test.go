package rows

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

type account struct {
	_      structseal.Record `seal:"account"`
	Handle string            `seal:"handle,bind"`
	Secret string            `seal:"secret"`
}

var describedAccount = manifest.Record{Label: "account", Table: "accounts",
	Binds:  []manifest.Bind{{Label: "handle", Column: "handle", Kind: manifest.BindText}},
	Fields: []manifest.Field{{Path: []string{"secret"}, Field: "Secret", Column: "secret", Form: manifest.FormString}},
}

// meddling is a source beside which something happens between reading and writing.
type meddling struct {
	rotate.Source
	meddle func()
}

func (m *meddling) Claim(ctx context.Context, job *rotate.Job) (rotate.Part, error) {
	part, err := m.Source.Claim(ctx, job)
	return &meddlingPart{part, m}, err
}

type meddlingPart struct {
	rotate.Part
	m *meddling
}

func (p *meddlingPart) Batch(ctx context.Context, limit int, change func(context.Context, []rotate.Row) error) (rotate.Batch, error) {
	return p.Part.Batch(ctx, limit, func(ctx context.Context, rows []rotate.Row) error {
		err := change(ctx, rows)
		if meddle := p.m.meddle; meddle != nil {
			p.m.meddle = nil
			meddle()
		}
		return err
	})
}

// A bind value that becomes another one, which the column's collation takes for the same,
// is a conflict: what was sealed for the old one would never open again.
func TestCollationsDontHideConflicts(t *testing.T) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx, ring := t.Context(), s.ring(t)
			if s.dialect == sqlstore.PostgreSQL {
				execute(t, s.db, "CREATE COLLATION careless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
			}
			execute(t, s.db, map[sqlstore.Dialect]string{
				sqlstore.PostgreSQL: "CREATE TABLE accounts (id int PRIMARY KEY, handle text COLLATE careless, secret text COLLATE careless)",
				sqlstore.MySQL:      "CREATE TABLE accounts (id int PRIMARY KEY, handle varchar(50), secret text)",
				sqlstore.SQLite:     "CREATE TABLE accounts (id INTEGER PRIMARY KEY, handle TEXT COLLATE NOCASE, secret TEXT COLLATE NOCASE)",
			}[s.dialect])
			for id, handle := range []string{"ada", "bob"} {
				row, err := structseal.Encrypt(ctx, ring, account{Handle: handle, Secret: "of " + handle})
				if err != nil {
					t.Fatal(err)
				}
				execute1(t, s, "INSERT INTO accounts (id, handle, secret) VALUES (?, ?, ?)", id+1, row.Handle, row.Secret)
			}
			if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
				t.Fatal(err)
			}
			table, err := sqlrows.New(ctx, s.db, s.dialect, describedAccount, nil)
			if err != nil {
				t.Fatal(err)
			}
			source := &meddling{table, func() {
				next, err := structseal.Encrypt(ctx, ring, account{Handle: "ADA", Secret: "of ADA"})
				if err != nil {
					t.Fatal(err)
				}
				execute1(t, s, "UPDATE accounts SET handle = ?, secret = ? WHERE id = ?", next.Handle, next.Secret, 1)
				execute1(t, s, "UPDATE accounts SET handle = ? WHERE id = ?", "BOB", 2) // by mistake
			}}
			var last error
			var p rotate.Progress
			for p, last = range rotate.Run(ctx, ring, rotate.Reencrypt, source, nil) {
			}
			if !errors.Is(last, rotate.ErrBadRows) || p.Conflicts != 2 || p.Written != 0 || p.BadRows != 1 || p.Current != 1 {
				t.Errorf("%+v, %v", p, last)
			}
			var row account
			if err := s.db.QueryRowContext(ctx, "SELECT handle, secret FROM accounts WHERE id = 1").Scan(&row.Handle, &row.Secret); err != nil {
				t.Fatal(err)
			}
			if got, err := structseal.Decrypt(ctx, ring, row); err != nil || got.Secret != "of ADA" {
				t.Errorf("%q, %v", got.Secret, err)
			}
		})
	}
}

// A connection that would cut what is too long is refused, and a column that is too short
// is an error; what was there stays.
func TestColumnsTooShort(t *testing.T) {
	for name, open := range databases {
		if name == "SQLite" {
			continue // knows no lengths
		}
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx, ring := t.Context(), s.ring(t)
			execute(t, s.db, "CREATE TABLE accounts (id int PRIMARY KEY, handle varchar(50), secret varchar(40))")
			execute1(t, s, "INSERT INTO accounts (id, handle, secret) VALUES (?, ?, ?)", 1, "ada", "Łódź, plaintext")
			check := func(db *sql.DB, says string, want error) {
				t.Helper()
				table, err := sqlrows.New(ctx, db, s.dialect, describedAccount, nil)
				if err != nil {
					t.Fatal(err)
				}
				var last error
				for p, err := range rotate.Run(ctx, ring, rotate.Backfill, table, nil) {
					if last = err; p.Paused != "" {
						last = errors.New(p.Paused)
						break
					}
				}
				if last == nil || !strings.Contains(last.Error(), says) || want != nil && !errors.Is(last, want) {
					t.Errorf("%v", last)
				}
				var secret string
				if err := s.db.QueryRowContext(ctx, "SELECT secret FROM accounts").Scan(&secret); err != nil || secret != "Łódź, plaintext" {
					t.Errorf("%q, %v", secret, err)
				}
			}
			check(s.db, "long", rotate.ErrMismatch) // at once: no pause comes before
			if s.dialect == sqlstore.MySQL {
				check(connect(t, s.driver, s.dsn+"&sql_mode=%27%27"), "strict", rotate.ErrMismatch)
			}
		})
	}
}
