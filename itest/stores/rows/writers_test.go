package rows

import (
	"context"
	"crypto/fips140"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// A history has the versions of each row: a register that writers change by
// compare-and-set, reading it first, as programs do.
type history struct {
	versions []atomic.Int64 // by id
	writes   atomic.Int64
	reads    atomic.Int64
}

// rewrite reads a row, checks it, and writes its next version, in one transaction.
func (s *site) rewrite(ctx context.Context, ring *keyring.Keyring, h *history, id int64) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// A write first, so that the row is locked on every database.
	if _, err := tx.ExecContext(ctx, s.sql("UPDATE customers SET city = city WHERE id = ?"), id); err != nil {
		return err
	}
	row, err := scan(tx.QueryRowContext(ctx, s.sql("SELECT id, email, phone, photo, score, city FROM customers WHERE id = ?"), id))
	if err != nil {
		return err
	}
	got, err := structseal.Decrypt(ctx, ring, row, structseal.AllowPlaintext(nil))
	if err != nil {
		return err
	}
	h.reads.Add(1)
	score, err := got.Score.Get()
	if err != nil {
		return err
	}
	if want := h.versions[id].Load(); int64(score) != want || got.Email != person(id, score).Email {
		return errors.New("a write was lost")
	}
	next, err := structseal.Encrypt(ctx, ring, person(id, score+1))
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, s.sql("UPDATE customers SET email = ?, phone = ?, photo = ?, score = ? WHERE id = ?"), next.Email, next.Phone, next.Photo, next.Score, id); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	h.versions[id].Add(1)
	h.writes.Add(1)
	return nil
}

// writing lets writers rewrite random rows, each one in a while, until stop is called,
// which returns what they have done.
func (s *site) writing(t testing.TB, ring *keyring.Keyring, rows int64, writers int, pause time.Duration) (stop func() *history) {
	return s.writingOn(t, ring, &history{versions: make([]atomic.Int64, rows+1)}, writers, pause)
}

// writingOn is writing that goes on with a history.
func (s *site) writingOn(t testing.TB, ring *keyring.Keyring, h *history, writers int, pause time.Duration) (stop func() *history) {
	ctx, rows := context.Background(), int64(len(h.versions)-1)
	var end atomic.Bool                 // no context: who is interrupted at COMMIT doesn't know what he did
	locks := make([]sync.Mutex, rows+1) // the history of a row is in one order
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			pace := time.NewTicker(max(pause, 1))
			defer pace.Stop()
			for ; !end.Load(); <-pace.C {
				id := 1 + rand.Int64N(rows)
				locks[id].Lock()
				err := s.rewrite(ctx, ring, h, id)
				locks[id].Unlock()
				if err != nil && !deadlock(err) {
					t.Errorf("row %d: %v", id, err)
					return
				}
			}
		})
	}
	return func() *history { end.Store(true); wg.Wait(); return h }
}

// A live table: writers change rows all the time, with the key that is the primary at
// the moment; every write survives, and no row stays under the old key.
func TestReencryptWhileOthersWrite(t *testing.T) {
	sizes := map[string]int64{"PostgreSQL": 50_000, "MariaDB": 10_000, "SQLite": 10_000}
	if long {
		sizes = map[string]int64{"PostgreSQL": 1_000_000, "MariaDB": 200_000, "SQLite": 200_000}
	}
	if raced || fips140.Enforced() {
		sizes = map[string]int64{"PostgreSQL": 500, "MariaDB": 500, "SQLite": 500}
	}
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s, n := open(t), sizes[name]
			ctx, ring, app := t.Context(), s.ring(t), s.ring(t)
			s.fill(t, ring, 1, n)
			old, err := ring.Primary(ctx, keyring.Data)
			if err != nil {
				t.Fatal(err)
			}
			stop := s.writing(t, app, n, 8, 0)
			if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
				t.Fatal(err)
			}
			table := s.table(t, &sqlrows.Options{PartRows: int(n / 5)})
			// The application writes under the old key until it has noticed.
			p := all(t, ring, rotate.Reencrypt, table, nil)
			if err := app.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			second := all(t, ring, rotate.Reencrypt, table, nil)
			h := stop()
			version := func(id int64) int { return int(h.versions[id].Load()) }
			s.check(t, ring, int(n), version)
			t.Logf("%d rows written, %d conflicts, %.0f rows a second; second pass %d; %d writes of others",
				p.Written, p.Conflicts, float64(p.Rows)/p.Elapsed.Seconds(), second.Written, h.writes.Load())
			if h.writes.Load() == 0 {
				t.Error("nobody has written")
			}
			// In a third pass nothing of the old key is left: who wrote it has noticed.
			all(t, ring, rotate.Reencrypt, table, nil)
			_, census, err := rotate.Verify(ctx, ring, []rotate.Source{table}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if left := census.Counted(old.ID()); left != 0 {
				t.Errorf("%d values name the old key", left)
			}
		})
	}
}
