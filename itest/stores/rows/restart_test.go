package rows

import (
	"testing"
	"time"

	"github.com/structseal/structseal/itest/stores/dbserver"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// The database crashes twice in the middle of a job, and is back a moment later: the job
// waits, goes on, and has left nothing out.
func TestDatabaseRestarts(t *testing.T) {
	const n = 2000
	c, err := dbserver.NewCluster()
	dbserver.Need(t, err)
	dbserver.Need(t, c.Initialize())
	dbserver.Need(t, c.Serve())
	s := postgresIn(t, c)
	ctx, ring := t.Context(), s.ring(t)
	s.fill(t, ring, 1, n)
	old, err := ring.Primary(ctx, keyring.Data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	table := s.table(t, &sqlrows.Options{PartRows: 500})
	crashes, paused := 0, 0
	served := make(chan error, 2)
	var last rotate.Progress
	for p, err := range rotate.Run(ctx, ring, rotate.Reencrypt, table, &rotate.Options{MaxBatch: 50}) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Paused != "" {
			paused++
		}
		if crashes < 2 && p.Rows > int64(600*(crashes+1)) {
			crashes++
			if err := c.Crash(); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(300*time.Millisecond, func() { served <- c.Serve() })
		}
		last = p
	}
	for range crashes {
		if err := <-served; err != nil {
			t.Fatal(err)
		}
	}
	if !last.Done || crashes != 2 || paused == 0 {
		t.Errorf("%d crashes, %d pauses, %+v", crashes, paused, last)
	}
	s.check(t, ring, n, func(int64) int { return 0 })
	_, census, err := rotate.Verify(ctx, ring, []rotate.Source{table}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if left := census.Counted(old.ID()); left != 0 {
		t.Errorf("%d values name the old key", left)
	}
}

// A reader in a long read-only transaction, as on a replica, sees every row as it was,
// and opens it, while the table is re-encrypted and after.
func TestLongReader(t *testing.T) {
	const n = 500
	s := postgres(t)
	ctx, ring, app := t.Context(), s.ring(t), s.ring(t)
	s.fill(t, ring, 1, n)
	tx, err := s.db.BeginTx(ctx, readOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "SELECT count(*) FROM customers"); err != nil { // takes the snapshot
		t.Fatal(err)
	}
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	look := func() {
		rows, err := tx.QueryContext(ctx, "SELECT id, email, phone, photo, score, city FROM customers")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		seen := 0
		for rows.Next() {
			row, err := scan(rows)
			if err != nil {
				t.Fatal(err)
			}
			same(t, app, row, 0)
			seen++
		}
		if seen != n {
			t.Errorf("%d rows, want %d", seen, n)
		}
	}
	for _, err := range rotate.Run(ctx, ring, rotate.Reencrypt, s.table(t, nil), &rotate.Options{MaxBatch: 200}) {
		if err != nil {
			t.Fatal(err)
		}
		look()
	}
	s.check(t, app, n, func(int64) int { return 0 })
}
