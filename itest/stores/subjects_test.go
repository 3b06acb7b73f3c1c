package stores

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// Tables of version 1, as the programs before subjects made them, with a ring in
// them: it goes on working, before and after Migrate, and has subjects then.
func TestMigrateFromVersion1(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		ctx, kms := t.Context(), localkms.NewRandom()
		db, store := s.open(t), s.store(t)
		text, err := os.ReadFile(fmt.Sprintf("../../keyring/sqlstore/schema/%s.1.sql", strings.ToLower(s.dialect.String())))
		if err != nil {
			t.Fatal(err)
		}
		execute(t, db, "CREATE TABLE structseal_schema (version INTEGER NOT NULL PRIMARY KEY)")
		for statement := range strings.SplitSeq(string(text), ";\n") {
			if strings.TrimSpace(statement) != "" {
				execute(t, db, statement)
			}
		}
		execute(t, db, "INSERT INTO structseal_schema (version) VALUES (1)")
		made, pin, err := keyring.Create(ctx, "app", store, kms, nil)
		if err != nil {
			t.Fatal(err)
		}
		made.Close()
		open := func() *keyring.Keyring {
			t.Helper()
			ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ring.Close() })
			return ring
		}
		old := open() // runs through the migration
		if _, err := old.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
			t.Errorf("before Migrate: %v", err)
		}
		ada := keyring.Subject{ID: "ada"}
		if _, err := old.EnsureSubject(ctx, ada); err == nil || errors.Is(err, keyring.ErrUnknownKey) || !strings.Contains(err.Error(), "Migrate") {
			t.Errorf("a subject before Migrate: %v", err)
		}
		if err := store.CheckSchema(ctx); !errors.Is(err, sqlstore.ErrSchema) {
			t.Errorf("CheckSchema before Migrate: %v", err)
		}
		if err := store.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		if err := store.CheckSchema(ctx); err != nil {
			t.Error(err)
		}
		if n := count(t, db, "SELECT COUNT(*) FROM structseal_schema"); n != sqlstore.SchemaVersion {
			t.Errorf("%d rows of versions", n)
		}
		fresh := open()
		if got, want := describe(fresh), describe(old); got != want || fresh.Revision() != 2 {
			t.Errorf("the ring is %s, was %s", got, want)
		}
		warm(t, old, ada)
		warm(t, fresh, ada)
		if n := count(t, db, "SELECT COUNT(*) FROM structseal_subjects"); n != 1 {
			t.Errorf("%d subjects", n)
		}
	})
}

// What is done to subjects in the caller's transaction is there with its commit, and
// nothing of it is left after a rollback.
func TestSubjectsWithTx(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		ctx := t.Context()
		if s.dialect == sqlstore.SQLite {
			s = s.with("_txlock=immediate")
		}
		store, db, kms := s.migrated(t).store(t), s.open(t), localkms.NewRandom()
		ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ring.Close()
		ada, bob := keyring.Subject{ID: "ada"}, keyring.Subject{ID: "bob"}
		warm(t, ring, ada)
		inside := func(commit bool, work func(*keyring.Keyring)) {
			t.Helper()
			tx := begin(t, db)
			in, err := keyring.Open(ctx, "app", store.WithTx(tx), kms, pin, nil)
			if err != nil {
				t.Fatal(err)
			}
			work(in)
			in.Close()
			end := (*sql.Tx).Rollback
			if commit {
				end = (*sql.Tx).Commit
			}
			if err := end(tx); err != nil {
				t.Fatal(err)
			}
		}
		// state is what a fresh process sees of a subject.
		state := func(s keyring.Subject) error {
			t.Helper()
			outside, err := keyring.Open(ctx, "app", store, kms, pin, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer outside.Close()
			keys, err := outside.Subject(ctx, s)
			keys.Release()
			return err
		}
		change := func(in *keyring.Keyring) {
			warm(t, in, bob)
			if _, err := in.RotateSubject(ctx, bob); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Forget(ctx, ada, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Subject(ctx, ada); !errors.Is(err, keyring.ErrForgotten) {
				t.Errorf("inside: %v", err)
			}
			if err := in.WarmSubjects(ctx, []keyring.Subject{{ID: "1"}, {ID: "2"}, {ID: "3"}}, false); err != nil {
				t.Errorf("inside: %v", err)
			}
		}
		inside(false, change)
		if err := state(ada); err != nil {
			t.Errorf("after the rollback of Forget: %v", err)
		}
		if err := state(bob); !errors.Is(err, keyring.ErrUnknownKey) {
			t.Errorf("after the rollback of a creation: %v", err)
		}
		if n := count(t, db, "SELECT COUNT(*) FROM structseal_subjects"); n != 1 {
			t.Errorf("%d subjects after the rollback", n)
		}
		inside(true, change)
		if err := state(ada); !errors.Is(err, keyring.ErrForgotten) {
			t.Errorf("after the commit of Forget: %v", err)
		}
		if err := state(bob); err != nil {
			t.Errorf("after the commit of a creation: %v", err)
		}
		if n := count(t, db, "SELECT COUNT(*) FROM structseal_subjects"); n != 2 {
			t.Errorf("%d subjects after the commit", n)
		}
	})
}

// subjectsAs does to subjects what a program may, with a role's rights.
func subjectsAs(t *testing.T, app site, ring *keyring.Keyring, kms kmsprovider.Provider) {
	t.Helper()
	ctx := t.Context()
	ada := keyring.Subject{ID: "ada"}
	warm(t, ring, ada)
	if _, err := ring.RotateSubject(ctx, ada); err != nil {
		t.Error(err)
	}
	if _, err := ring.Rotate(ctx, keyring.SubjectWrap, &keyring.RotateOptions{Now: true}); err != nil {
		t.Error(err)
	}
	if m, err := ring.Maintain(ctx); err != nil || m.Subjects != 1 {
		t.Errorf("rewrapped %d subjects, %v", m.Subjects, err)
	}
	if _, err := ring.Forget(ctx, ada, nil); err != nil {
		t.Error(err)
	}
	if _, err := ring.Subject(ctx, ada); !errors.Is(err, keyring.ErrForgotten) {
		t.Error(err)
	}
	if err := ring.Revive(ctx, ada, &keyring.ReviveOptions{Now: true}); err != nil {
		t.Error(err)
	}
	tx := begin(t, app.open(t))
	in, err := keyring.Open(ctx, ring.Name(), app.store(t).WithTx(tx), kms, ring.Pin(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	warm(t, in, ada)
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
}
