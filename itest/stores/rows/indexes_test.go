package rows

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
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

// member is a record whose field the program searches by a column of its own.
type member struct {
	_     structseal.Record `seal:"member"`
	ID    int64             `seal:"id,bind"`
	Owner string            `seal:"owner,bind,subject=owner"`
	Email string            `seal:"email"`
}

var describedMember = manifest.Record{
	Label: "member", Table: "members",
	Binds: []manifest.Bind{
		{Label: "id", Column: "id", Kind: manifest.BindInteger},
		{Label: "owner", Column: "owner", Kind: manifest.BindText, Subject: true, SubjectKind: "owner"},
	},
	Fields: []manifest.Field{{Path: []string{"email"}, Field: "Email", Type: "string", Column: "email", Form: manifest.FormString}},
}

// hashOf is how the program makes its indexes.
func hashOf(_ context.Context, index *manifest.Index, row *rotate.Row, plaintext []byte) ([]byte, error) {
	if string(plaintext) == "refused" {
		return nil, errors.New("the normalizer doesn't take it")
	}
	h := hmac.New(sha256.New, []byte("a key of the program's, of "+index.Of))
	h.Write(plaintext)
	return h.Sum(nil)[:8], nil
}

func members(t *testing.T, s *site, ring *keyring.Keyring, n int) *sqlrows.Table {
	t.Helper()
	hash := map[sqlstore.Dialect]string{sqlstore.PostgreSQL: "bytea", sqlstore.MySQL: "varbinary(16)", sqlstore.SQLite: "BLOB"}[s.dialect]
	execute(t, s.db, "CREATE TABLE members (id bigint PRIMARY KEY, owner varchar(50) NOT NULL, email text, email_hash "+hash+")")
	for i := 1; i <= n; i++ {
		row, err := structseal.Encrypt(t.Context(), ring, member{ID: int64(i), Owner: fmt.Sprint("o", i%10), Email: fmt.Sprintf("%d@example.net", i%20)})
		if err != nil {
			t.Fatal(err)
		}
		execute1(t, s, "INSERT INTO members (id, owner, email, email_hash) VALUES (?, ?, ?, NULL)", row.ID, row.Owner, row.Email)
	}
	table, err := sqlrows.New(t.Context(), s.db, s.dialect, describedMember, &sqlrows.Options{Index: map[string]string{"email_hash": "email"}})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// hashes returns how many rows have an index, by owner, and how many different ones.
func (s *site) hashes(t *testing.T) (owners map[string]int, different int) {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), "SELECT owner, email_hash FROM members WHERE email_hash IS NOT NULL")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	owners, seen := map[string]int{}, map[string]bool{}
	for rows.Next() {
		var owner string
		var hash []byte
		if err := rows.Scan(&owner, &hash); err != nil {
			t.Fatal(err)
		}
		owners[owner]++
		seen[string(hash)] = true
	}
	return owners, len(seen)
}

// Indexes are made by a hook, made anew where they are wrong, and emptied for whoever
// was forgotten, and for nobody else.
func TestIndexes(t *testing.T) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx, ring := t.Context(), s.ring(t)
			const n = 200
			table := members(t, s, ring, n)
			hook := &rotate.Options{Index: hashOf}
			if f, err := rotate.Plan(ctx, ring, rotate.Reindex, table, hook); err != nil || f.Indexes != n || f.ToWrite != n {
				t.Errorf("%+v, %v", f, err)
			}
			if p := all(t, ring, rotate.Reindex, table, hook); p.Indexes != n || p.Written != n || p.Current != n {
				t.Errorf("%+v", p)
			}
			if owners, different := s.hashes(t); len(owners) != 10 || owners["o3"] != n/10 || different != 20 {
				t.Errorf("%v, %d", owners, different)
			}
			execute1(t, s, "UPDATE members SET email_hash = ? WHERE id = ?", []byte("wrong"), 5)
			execute1(t, s, "UPDATE members SET email = NULL WHERE id = ?", 6)
			if p := all(t, ring, rotate.Reindex, table, hook); p.Indexes != 2 || p.Written != 2 || p.Null != 1 {
				t.Errorf("one wrong, one of NULL: %+v", p)
			}
			if p := all(t, ring, rotate.Sweep, table, nil); p.Written != 0 || p.Indexes != 0 {
				t.Errorf("nobody is forgotten: %+v", p)
			}
			for _, id := range []string{"o3", "o7"} {
				if _, err := ring.Forget(ctx, keyring.Subject{Kind: "owner", ID: id}, &keyring.ForgetOptions{Actor: "tests"}); err != nil {
					t.Fatal(err)
				}
			}
			if f, err := rotate.Plan(ctx, ring, rotate.Sweep, table, nil); err != nil || f.Indexes != n/5 || f.ToWrite != n/5 {
				t.Errorf("%+v, %v", f, err)
			}
			if p := all(t, ring, rotate.Sweep, table, nil); p.Indexes != n/5 || p.Written != n/5 || p.BadRows != 0 {
				t.Errorf("%+v", p)
			}
			if owners, _ := s.hashes(t); len(owners) != 8 || owners["o3"]+owners["o7"] != 0 || owners["o4"] != n/10 {
				t.Errorf("%v", owners)
			}
			if p := all(t, ring, rotate.Reindex, table, hook); p.Written != 0 || p.Forgotten != n/5 {
				t.Errorf("reindex brings back the forgotten: %+v", p)
			}
		})
	}
}

// A row whose index somebody else writes between reading and writing is done again, so
// that neither's work is lost.
func TestIndexesAreCompared(t *testing.T) {
	s := sqlite(t)
	ctx, ring := t.Context(), s.ring(t)
	table := members(t, s, ring, 20)
	raced := false
	opts := &rotate.Options{Index: func(ctx context.Context, x *manifest.Index, row *rotate.Row, plaintext []byte) ([]byte, error) {
		if row.Key == "3" && !raced {
			raced = true
			row, err := structseal.Encrypt(ctx, ring, member{ID: 3, Owner: "o3", Email: "new@example.net"})
			if err != nil {
				return nil, err
			}
			execute1(t, s, "UPDATE members SET email = ? WHERE id = ?", row.Email, row.ID)
		}
		return hashOf(ctx, x, row, plaintext)
	}}
	if p := all(t, ring, rotate.Reindex, table, opts); p.Conflicts != 1 || p.Written != 20 {
		t.Errorf("%+v", p)
	}
	want, _ := hashOf(ctx, &manifest.Index{Of: "email"}, nil, []byte("new@example.net"))
	var got []byte
	if err := s.db.QueryRowContext(ctx, "SELECT email_hash FROM members WHERE id = 3").Scan(&got); err != nil || string(got) != string(want) {
		t.Errorf("the index isn't that of what the row holds: %x, %v", got, err)
	}
	// A re-encryption leaves a row alone that got another index meanwhile, too.
	if _, err := ring.RotateSubject(ctx, keyring.Subject{Kind: "owner", ID: "o3"}); err != nil {
		t.Fatal(err)
	}
	part, err := table.Claim(ctx, &rotate.Job{ID: "hand-made", Worker: "w", Lease: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	first := true
	b, err := part.Batch(ctx, 100, func(_ context.Context, rows []rotate.Row) error {
		for i := range rows {
			if rows[i].Key == "4" {
				rows[i].Cells[0].New = []byte("s1.new")
			}
		}
		if first {
			first = false
			execute1(t, s, "UPDATE members SET email_hash = ? WHERE id = ?", []byte("other"), 4)
		}
		return nil
	})
	if err != nil || b.Conflicts != 1 || b.Written != 1 {
		t.Errorf("%+v, %v", b, err)
	}
}

// What can't be done is told: before it begins, or by row, never by value.
func TestIndexesThatCantBeMade(t *testing.T) {
	s := sqlite(t)
	ctx, ring := t.Context(), s.ring(t)
	table := members(t, s, ring, 3)
	row, err := structseal.Encrypt(ctx, ring, member{ID: 77, Owner: "o1", Email: "refused"})
	if err != nil {
		t.Fatal(err)
	}
	execute1(t, s, "INSERT INTO members (id, owner, email, email_hash) VALUES (?, ?, ?, NULL)", row.ID, row.Owner, row.Email)
	execute1(t, s, "INSERT INTO members (id, owner, email, email_hash) VALUES (?, ?, ?, NULL)", 78, "o1", "plaintext")
	var bad []*rotate.RowError
	var last error
	var p rotate.Progress
	for p, last = range rotate.Run(ctx, ring, rotate.Reindex, table, &rotate.Options{Index: hashOf, OnBad: func(e *rotate.RowError) { bad = append(bad, e) }}) {
	}
	if !errors.Is(last, rotate.ErrBadRows) || len(bad) != 1 || bad[0].Row != "77" || strings.Contains(bad[0].Error(), "refused") || p.Written != 3 || p.Plaintext != 1 {
		t.Errorf("%+v, %v, %v", p, last, bad)
	}
	withoutSubject := describedMember
	withoutSubject.Binds = []manifest.Bind{describedMember.Binds[0], {Label: "owner", Column: "owner", Kind: manifest.BindText}}
	for _, c := range []struct {
		kind   rotate.Kind
		record manifest.Record
		opts   sqlrows.Options
		says   string
	}{
		{rotate.Sweep, describedMember, sqlrows.Options{}, "no indexes"},
		{rotate.Sweep, withoutSubject, sqlrows.Options{Index: map[string]string{"email_hash": "email"}}, "no subject"},
		{rotate.Reindex, describedMember, sqlrows.Options{Index: map[string]string{"email_hash": "email"}}, "Options.Index"},
		{rotate.Sweep, describedMember, sqlrows.Options{Index: map[string]string{"email_hash": "mail"}}, "no field"},
		{rotate.Sweep, describedMember, sqlrows.Options{Index: map[string]string{"hash": "email"}}, `no column "hash"`},
	} {
		table, err := sqlrows.New(ctx, s.db, s.dialect, c.record, &c.opts)
		if err == nil {
			for _, err = range rotate.Run(ctx, ring, c.kind, table, nil) {
			}
		}
		if !errors.Is(err, rotate.ErrMismatch) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v of %+v: %v", c.kind, c.opts, err)
		}
	}
}

// An index that may not be NULL is refused by the database, at once and as what it is.
func TestIndexesThatMayNotBeEmpty(t *testing.T) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx, ring := t.Context(), s.ring(t)
			execute(t, s.db, "CREATE TABLE teams (id bigint PRIMARY KEY, owner varchar(50) NOT NULL, email text, email_hash varchar(16) NOT NULL)")
			row, err := structseal.Encrypt(ctx, ring, member{ID: 1, Owner: "o1", Email: "ada@example.net"})
			if err != nil {
				t.Fatal(err)
			}
			execute1(t, s, "INSERT INTO teams (id, owner, email, email_hash) VALUES (?, ?, ?, ?)", row.ID, row.Owner, row.Email, "abc")
			if _, err := ring.Forget(ctx, keyring.Subject{Kind: "owner", ID: "o1"}, &keyring.ForgetOptions{Actor: "tests"}); err != nil {
				t.Fatal(err)
			}
			table, err := sqlrows.New(ctx, s.db, s.dialect, describedMember, &sqlrows.Options{Table: "teams", Index: map[string]string{"email_hash": "email"}})
			if err != nil {
				t.Fatal(err)
			}
			pauses := 0
			for p, e := range rotate.Run(ctx, ring, rotate.Sweep, table, nil) {
				if err = e; p.Paused != "" {
					pauses++
				}
			}
			if !errors.Is(err, rotate.ErrMismatch) || pauses != 0 {
				t.Errorf("%d pauses, %v", pauses, err)
			}
			var hash sql.NullString
			if err := s.db.QueryRowContext(ctx, "SELECT email_hash FROM teams").Scan(&hash); err != nil || hash.String != "abc" {
				t.Errorf("%v, %v", hash, err)
			}
		})
	}
}
