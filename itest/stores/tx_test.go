package stores

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

// A rotation in the caller's transaction is there with its commit, and undone
// with its rollback.
func TestWithTx(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		ctx := t.Context()
		if s.dialect == sqlstore.SQLite {
			s = s.with("_txlock=immediate")
		}
		store, db, kms := s.migrated(t).store(t), s.open(t), localkms.NewRandom()
		execute(t, db, "CREATE TABLE audit (what INTEGER)")
		ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)
		if err != nil {
			t.Fatal(err)
		}
		rotate := func(tx *sql.Tx) {
			t.Helper()
			inside, err := keyring.Open(ctx, "app", store.WithTx(tx), kms, pin, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer inside.Close()
			if _, err := inside.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO audit (what) VALUES (1)"); err != nil {
				t.Fatal(err)
			}
		}
		outside := func(revision uint64, audits int) {
			t.Helper()
			if err := ring.Refresh(ctx); err != nil || ring.Revision() != revision {
				t.Errorf("revision %d, %v; want %d", ring.Revision(), err, revision)
			}
			if n := count(t, db, "SELECT COUNT(*) FROM audit"); n != audits {
				t.Errorf("%d rows of audit, want %d", n, audits)
			}
		}
		tx := begin(t, db)
		rotate(tx)
		outside(1, 0)
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		outside(1, 0)
		tx = begin(t, db)
		rotate(tx)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		outside(2, 1)

		// A conflict leaves the transaction usable.
		tx = begin(t, db)
		inside := store.WithTx(tx)
		if _, err := inside.Load(ctx, "none"); !errors.Is(err, keyring.ErrNotFound) {
			t.Errorf("Load: %v", err)
		}
		for old, name := range []string{"app", "none"} {
			if err := inside.CompareAndSwap(ctx, name, uint64(old), keyring.Record{Revision: 9}); !errors.Is(err, keyring.ErrConflict) {
				t.Errorf("CompareAndSwap of %s: %v", name, err)
			}
		}
		rotate(tx)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		outside(3, 2)
	})
}

// Load in a transaction sees what was committed since it began, and keeps
// others away: else a change in it would conflict for ever.
func TestWithTxLocks(t *testing.T) {
	for _, s := range []site{postgres(t), maria(t)} {
		t.Run(s.dialect.String(), func(t *testing.T) {
			ctx := t.Context()
			store, db := s.migrated(t).store(t), s.open(t)
			if err := store.CompareAndSwap(ctx, "app", 0, keyring.Record{Revision: 1}); err != nil {
				t.Fatal(err)
			}
			tx := begin(t, db)
			var n int
			if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM structseal_rings").Scan(&n); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			if err := store.CompareAndSwap(ctx, "app", 1, keyring.Record{Revision: 2}); err != nil {
				t.Fatal(err)
			}
			inside := store.WithTx(tx)
			if r, err := inside.Load(ctx, "app"); err != nil || r.Revision != 2 {
				t.Fatalf("Load: revision %d, %v", r.Revision, err)
			}
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			if err := store.CompareAndSwap(short, "app", 2, keyring.Record{Revision: 3}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("another writer: %v", err)
			}
			if r, err := store.Load(ctx, "app"); err != nil || r.Revision != 2 {
				t.Errorf("a reader: revision %d, %v", r.Revision, err)
			}
			if err := inside.CompareAndSwap(ctx, "app", 2, keyring.Record{Revision: 3}); err != nil {
				t.Error(err)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			if r, err := store.Load(ctx, "app"); err != nil || r.Revision != 3 {
				t.Errorf("afterwards: revision %d, %v", r.Revision, err)
			}
		})
	}
}
