package rows

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/rotate"
)

// insertPlain inserts customers as a program did before it knew of structseal.
func (s *site) insertPlain(t testing.TB, from, to int64) {
	t.Helper()
	for id := from; id <= to; id++ {
		c := person(id, 0)
		execute1(t, s, "INSERT INTO customers (id, email, phone, photo, score, city) VALUES (?, ?, ?, ?, ?, ?)", id, c.Email, c.Phone, c.Photo, "0", c.City)
	}
}

func execute1(t testing.TB, s *site, statement string, args ...any) {
	t.Helper()
	if _, err := s.db.ExecContext(t.Context(), s.sql(statement), args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// A table of plaintext becomes one of ciphertext while the application reads both and
// writes ciphertext. At the end nothing passes that isn't encrypted, and a row of
// plaintext that comes later is named, by its key and not by its value.
func TestBackfill(t *testing.T) {
	const n = 1200
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx, ring := t.Context(), s.ring(t)
			s.insertPlain(t, 1, n)
			s.fill(t, ring, n+1, n+50) // written by the new version of the program
			table := s.table(t, nil)
			plan, err := rotate.Plan(ctx, ring, rotate.Backfill, table, nil)
			if err != nil || plan.ToWrite != n || plan.Rows != n+50 {
				t.Fatalf("%v, %v", plan, err)
			}
			// Re-encrypting leaves plaintext alone, and counts it.
			if p := all(t, ring, rotate.Reencrypt, table, nil); p.Written != 0 || p.Plaintext != plan.Sealed {
				t.Errorf("re-encrypt: %+v", p)
			}
			stop := s.writing(t, s.ring(t), n+50, 2, time.Millisecond)
			p := all(t, ring, rotate.Backfill, table, nil)
			h := stop()
			if p.BadRows != 0 || p.Written == 0 {
				t.Errorf("%+v", p)
			}
			s.check(t, ring, n+50, func(id int64) int { return int(h.versions[id].Load()) }) // strictly
			var passed atomic.Int64
			for _, row := range s.read(t) {
				if _, err := structseal.Decrypt(ctx, ring, row, structseal.AllowPlaintext(&passed)); err != nil {
					t.Fatal(err)
				}
			}
			if passed.Load() != 0 {
				t.Errorf("%d values are plaintext", passed.Load())
			}
			t.Logf("%d rows written, %d conflicts, %d writes of others", p.Written, p.Conflicts, h.writes.Load())

			execute1(t, s, "UPDATE customers SET email = ? WHERE id = ?", "planted@example.net", 77)
			report, _, err := rotate.Verify(ctx, ring, []rotate.Source{table}, nil)
			if err != nil {
				t.Fatal(err)
			}
			bad := report.Sources[0].Bad
			if len(bad) != 1 || bad[0].Row != "77" || bad[0].Field != "customer.email" || !errors.Is(bad[0], rotate.ErrPlaintext) || strings.Contains(fmt.Sprintf("%+v", bad[0])+bad[0].Error(), "planted") {
				t.Errorf("%v", bad)
			}
			if f := report.Sources[0].Fields[0]; f.Plaintext != 1 {
				t.Errorf("%+v", f)
			}
		})
	}
}

// Text in the column of a Sealed that is no text of its type, and what looks like a
// ciphertext and is none, stay as they are, and are told.
func TestBackfillLeavesWhatCantBeRead(t *testing.T) {
	s := sqlite(t)
	ctx, ring := t.Context(), s.ring(t)
	s.insertPlain(t, 1, 10)
	execute1(t, s, "UPDATE customers SET score = ? WHERE id = ?", "seven", 3)
	execute1(t, s, "UPDATE customers SET email = ? WHERE id = ?", "s1.what", 4)
	before := s.texts(t)
	var told []*rotate.RowError
	var last error
	for _, err := range rotate.Run(ctx, ring, rotate.Backfill, s.table(t, nil), &rotate.Options{OnBad: func(e *rotate.RowError) { told = append(told, e) }}) {
		last = err
	}
	if !errors.Is(last, rotate.ErrBadRows) || len(told) != 2 {
		t.Fatalf("%v; told %v", last, told)
	}
	for _, e := range told {
		if strings.Contains(e.Error(), "seven") || strings.Contains(e.Error(), "what") || e.Row != "3" && e.Row != "4" {
			t.Error(e)
		}
	}
	for id, row := range s.texts(t) {
		same := row == before[id]
		if left := id == 3 || id == 4; left != same {
			t.Errorf("row %d: left alone %v, want %v", id, same, left)
		}
	}
}

// texts reads rows as texts.
func (s *site) texts(t testing.TB) map[int64][4]string {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), "SELECT id, email, coalesce(phone, ''), coalesce(photo, ''), score FROM customers")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := make(map[int64][4]string)
	for rows.Next() {
		var id int64
		var v [4]string
		if err := rows.Scan(&id, &v[0], &v[1], &v[2], &v[3]); err != nil {
			t.Fatal(err)
		}
		out[id] = v
	}
	return out
}
