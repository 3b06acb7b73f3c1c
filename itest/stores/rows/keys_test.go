package rows

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

type note struct {
	_      structseal.Record `seal:"note"`
	Tenant string            `seal:"tenant,bind"`
	ID     [16]byte          `seal:"id,bind"`
	Body   string            `seal:"body"`
}

// Rows of tables with keys of several columns, of text that differs by case alone where
// the database allows it, and of bytes, are all gone through, once.
func TestKeysOfRows(t *testing.T) {
	described := manifest.Record{Label: "note", Table: "notes",
		Binds:  []manifest.Bind{{Label: "tenant", Column: "tenant", Kind: manifest.BindText}, {Label: "id", Column: "id", Kind: manifest.BindBytes}},
		Fields: []manifest.Field{{Path: []string{"body"}, Field: "Body", Column: "body", Form: manifest.FormString}},
	}
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx, ring := t.Context(), s.ring(t)
			execute(t, s.db, map[sqlstore.Dialect]string{
				sqlstore.PostgreSQL: "CREATE TABLE notes (body text, tenant text NOT NULL, id bytea NOT NULL, PRIMARY KEY (tenant, id))",
				sqlstore.MySQL:      "CREATE TABLE notes (body text, tenant varchar(50) NOT NULL, id binary(16) NOT NULL, PRIMARY KEY (tenant, id))",
				sqlstore.SQLite:     "CREATE TABLE notes (body TEXT, tenant TEXT NOT NULL, id BLOB NOT NULL, PRIMARY KEY (tenant, id))",
			}[s.dialect])
			n := 0
			for _, tenant := range []string{"a", "Ab", "abc", "b", "Ünal", "z 'quoted\""} {
				for i := range 60 {
					id := [16]byte{byte(i), 0, '\'', '\\', 0xff, 15: byte(i * 7)}
					if id == ([16]byte{}) {
						continue
					}
					row, err := structseal.Encrypt(ctx, ring, note{Tenant: tenant, ID: id, Body: fmt.Sprint(tenant, i)})
					if err != nil {
						t.Fatal(err)
					}
					execute1(t, s, "INSERT INTO notes (tenant, id, body) VALUES (?, ?, ?)", row.Tenant, row.ID[:], row.Body)
					n++
				}
			}
			if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
				t.Fatal(err)
			}
			table, err := sqlrows.New(ctx, s.db, s.dialect, described, &sqlrows.Options{PartRows: 37})
			if err != nil {
				t.Fatal(err)
			}
			p := all(t, ring, rotate.Reencrypt, table, &rotate.Options{MaxBatch: 10})
			if p.Written != int64(n) || p.Rows != int64(n) || p.Conflicts != 0 {
				t.Errorf("%+v, want %d", p, n)
			}
			rows, err := s.db.QueryContext(ctx, "SELECT tenant, id, body FROM notes")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			read := 0
			for rows.Next() {
				var row note
				var id []byte
				if err := rows.Scan(&row.Tenant, &id, &row.Body); err != nil {
					t.Fatal(err)
				}
				row.ID = [16]byte(id)
				got, err := structseal.Decrypt(ctx, ring, row)
				if err != nil || !strings.HasPrefix(got.Body, row.Tenant) {
					t.Fatalf("%q, %v", got.Body, err)
				}
				read++
			}
			if read != n {
				t.Errorf("%d rows, want %d", read, n)
			}
		})
	}
}

// A manifest that doesn't fit the table, or a job that can't be done, is an error
// before anything is.
func TestMismatch(t *testing.T) {
	s := sqlite(t)
	ctx := t.Context()
	execute(t, s.db, "CREATE TABLE nokey (id INTEGER, email TEXT)")
	change := func(f func(*manifest.Record)) manifest.Record {
		r := described
		r.Binds, r.Fields = append([]manifest.Bind{}, r.Binds...), append([]manifest.Field{}, r.Fields...)
		f(&r)
		return r
	}
	for what, c := range map[string]struct {
		record manifest.Record
		opts   *sqlrows.Options
		says   string
	}{
		"column gone":       {change(func(r *manifest.Record) { r.Fields[0].Column = "mail" }), nil, `no column "mail"`},
		"bind gone":         {change(func(r *manifest.Record) { r.Binds[0].Column = "uid" }), nil, `no column "uid"`},
		"no table":          {change(func(r *manifest.Record) { r.Table = "" }), nil, "has no table"},
		"no primary key":    {change(func(r *manifest.Record) { r.Table, r.Fields = "nokey", r.Fields[:1] }), nil, "no primary key"},
		"nothing to leave":  {described, &sqlrows.Options{Without: []string{"nothing"}}, `no field "nothing"`},
		"field without one": {change(func(r *manifest.Record) { r.Fields[0].Column = "" }), nil, "has no column"},
	} {
		_, err := sqlrows.New(ctx, s.db, s.dialect, c.record, c.opts)
		if !errors.Is(err, rotate.ErrMismatch) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := sqlrows.New(ctx, s.db, s.dialect, change(func(r *manifest.Record) { r.Table = "missing" }), nil); err == nil || errors.Is(err, rotate.ErrMismatch) {
		t.Errorf("a table that isn't there: %v", err)
	}
	for what, record := range map[string]manifest.Record{
		"many":    change(func(r *manifest.Record) { r.Fields[0].Many = true }),
		"require": change(func(r *manifest.Record) { r.Require = []string{"tenant"} }),
	} {
		table, err := sqlrows.New(ctx, s.db, s.dialect, record, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range rotate.Run(ctx, s.ring(t), rotate.Reencrypt, table, nil) {
			if !errors.Is(err, rotate.ErrMismatch) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}
