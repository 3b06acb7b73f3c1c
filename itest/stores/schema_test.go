package stores

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// Eight programs start at once on an empty database, and again.
func TestMigrateConcurrently(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		for round := range 2 {
			var wg sync.WaitGroup
			start := make(chan struct{})
			for range 8 {
				store := s.store(t)
				wg.Go(func() {
					<-start
					if err := store.Migrate(t.Context()); err != nil {
						t.Errorf("round %d: %v", round, err)
					}
					if err := store.CheckSchema(t.Context()); err != nil {
						t.Errorf("round %d: %v", round, err)
					}
				})
			}
			close(start)
			wg.Wait()
		}
		if got := count(t, s.open(t), "SELECT COUNT(*) FROM structseal_schema"); got != sqlstore.SchemaVersion {
			t.Errorf("%d rows of versions", got)
		}
	})
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// A newer program's tables are left alone; rings in them still work, because a
// program that was not restarted must go on.
func TestMigrateRefusesNewerSchema(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		store := s.migrated(t).store(t)
		db := s.open(t)
		execute(t, db, fmt.Sprintf("INSERT INTO structseal_schema (version) VALUES (%d)", sqlstore.SchemaVersion+1))
		if err := store.Migrate(t.Context()); !errors.Is(err, sqlstore.ErrSchema) {
			t.Errorf("Migrate: %v", err)
		}
		if err := store.CheckSchema(t.Context()); !errors.Is(err, sqlstore.ErrSchema) {
			t.Errorf("CheckSchema: %v", err)
		}
	})
}

// What is missing is said to be missing, and is no empty store.
func TestNoTables(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		store := s.store(t)
		if err := store.CheckSchema(t.Context()); !errors.Is(err, sqlstore.ErrSchema) {
			t.Errorf("CheckSchema: %v", err)
		}
		_, err := store.Load(t.Context(), "app")
		if err == nil || errors.Is(err, keyring.ErrNotFound) || !strings.Contains(err.Error(), "Migrate") {
			t.Errorf("Load: %v", err)
		}
		if err := store.CompareAndSwap(t.Context(), "app", 0, keyring.Record{Revision: 1}); err == nil || errors.Is(err, keyring.ErrConflict) {
			t.Errorf("CompareAndSwap: %v", err)
		}
	})
}

// The text for administrators makes the same tables, twice as well, under
// another prefix, next to the tables of others.
func TestSchemaText(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		db := s.open(t)
		execute(t, db, "CREATE TABLE rings (name INTEGER)", "CREATE TABLE structseal_rings (other INTEGER)")
		opts := &sqlstore.Options{TablePrefix: "app_keys_"}
		text, err := sqlstore.Schema(s.dialect, opts)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for statement := range strings.SplitSeq(text, ";\n") {
				if strings.TrimSpace(statement) != "" {
					execute(t, db, statement)
				}
			}
		}
		store, err := sqlstore.New(db, s.dialect, opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.CheckSchema(t.Context()); err != nil {
			t.Error(err)
		}
		if _, _, err := keyring.Create(t.Context(), "app", store, localkms.NewRandom(), nil); err != nil {
			t.Error(err)
		}
		if n := count(t, db, "SELECT COUNT(*) FROM app_keys_rings"); n != 1 {
			t.Errorf("%d rings", n)
		}
		if n := count(t, db, "SELECT COUNT(other) FROM structseal_rings") + count(t, db, "SELECT COUNT(name) FROM rings"); n != 0 {
			t.Errorf("%d rows in tables of others", n)
		}
	})
}

// A tool that runs whole scripts takes the text as it is.
func TestSchemaTextAsScript(t *testing.T) {
	for _, s := range []site{postgres(t).with("default_query_exec_mode=simple_protocol"), maria(t).with("multiStatements=true"), sqlite(t)} {
		text, err := sqlstore.Schema(s.dialect, nil)
		if err != nil {
			t.Fatal(err)
		}
		execute(t, s.open(t), text)
		if err := s.store(t).CheckSchema(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// What docs/stores.md tells to grant is enough to rotate, and to start with
// Migrate; and it is no more than that.
func TestLeastPrivileges(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		s := postgres(t).migrated(t)
		role := random()
		admin := s.open(t)
		execute(t, admin, "CREATE ROLE "+role+" LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
		execute(t, admin, grants(t, "PostgreSQL", role)...)
		app := s
		app.dsn = strings.Replace(s.dsn, "user=postgres", "user="+role, 1)
		rotateAs(t, app)
		// A program that only opens the ring, and writes for new subjects.
		few := random()
		execute(t, admin, "CREATE ROLE "+few+" LOGIN", "GRANT SELECT ON structseal_rings, structseal_subjects, structseal_schema TO "+few, "GRANT INSERT ON structseal_subjects TO "+few)
		writer := s
		writer.dsn = strings.Replace(s.dsn, "user=postgres", "user="+few, 1)
		kms := localkms.NewRandom()
		made, pin, err := keyring.Create(t.Context(), "few", app.store(t), kms, nil)
		if err != nil {
			t.Fatal(err)
		}
		made.Close()
		ring, err := keyring.Open(t.Context(), "few", writer.store(t), kms, pin, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ring.Close()
		warm(t, ring, keyring.Subject{ID: "new"})
		if _, err := ring.Forget(t.Context(), keyring.Subject{ID: "new"}, nil); err == nil {
			t.Error("a role without UPDATE forgets")
		}
		// A listener needs no right on the tables.
		deaf := random()
		execute(t, admin, "CREATE ROLE "+deaf+" LOGIN")
		hear := s
		hear.dsn = strings.Replace(s.dsn, "user=postgres", "user="+deaf, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		hear.listener(t, nil).Listen(ctx, "app", func(n keyring.Notice) {
			switch {
			case !n.Missed:
				cancel() // heard
			default: // it listens
				if err := app.store(t).CompareAndSwapSubject(ctx, "app", keyring.SubjectHash{1}, 0, keyring.Record{Revision: 1}); err != nil {
					t.Error(err)
				}
				if err := app.store(t).CompareAndSwapSubject(ctx, "app", keyring.SubjectHash{1}, 1, keyring.Record{Revision: 2}); err != nil {
					t.Error(err)
				}
			}
		})
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Error("a listener without rights heard nothing")
		}
		if _, err := hear.open(t).ExecContext(t.Context(), "SELECT * FROM structseal_rings"); err == nil {
			t.Error("the listener's role may read the rings")
		}
	})
	t.Run("MariaDB", func(t *testing.T) {
		s := maria(t).migrated(t)
		role := random()
		admin := s.open(t)
		execute(t, admin, "CREATE USER "+role)
		execute(t, admin, grants(t, "MySQL and MariaDB", role)...)
		app := s
		app.dsn = strings.Replace(s.dsn, "root@", role+"@", 1)
		rotateAs(t, app)
	})
}

// grants reads the statements under a heading of the documentation.
func grants(t *testing.T, heading, role string) (list []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "### "+heading+"\n")
	if !found {
		t.Fatalf("docs/stores.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n### ")
	for line := range strings.Lines(section) {
		if s := strings.TrimSuffix(strings.TrimSpace(line), ";"); strings.HasPrefix(s, "GRANT ") {
			list = append(list, strings.Replace(s, "TO app", "TO "+role, 1))
		}
	}
	if len(list) == 0 {
		t.Fatalf("docs/stores.md grants nothing under %q", heading)
	}
	return list
}

func rotateAs(t *testing.T, app site) {
	t.Helper()
	ctx := t.Context()
	store := app.store(t)
	if err := store.Migrate(ctx); err != nil {
		t.Errorf("Migrate with nothing to do: %v", err)
	}
	kms := localkms.NewRandom()
	ring, _, err := keyring.Create(ctx, "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Error(err)
	}
	subjectsAs(t, app, ring, kms)
	if _, ok := store.WithTx(begin(t, app.open(t))).(*sqlstore.Store); ok {
		t.Error("a store in a transaction can migrate")
	}
	db := app.open(t)
	for _, forbidden := range []string{"DELETE FROM structseal_rings", "DELETE FROM structseal_subjects", "DROP TABLE structseal_rings", "CREATE TABLE mine (n INTEGER)", "INSERT INTO structseal_schema (version) VALUES (7)"} {
		if _, err := db.ExecContext(ctx, forbidden); err == nil {
			t.Errorf("%s: allowed", forbidden)
		}
	}
}

// Migrate makes its own tables and nothing else.
func TestNoStrayTables(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		db := s.migrated(t).open(t)
		query := map[sqlstore.Dialect]string{
			sqlstore.PostgreSQL: "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
			sqlstore.MySQL:      "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
			sqlstore.SQLite:     "SELECT name FROM sqlite_master WHERE type = 'table'",
		}[s.dialect]
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var names []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"structseal_rings", "structseal_schema", "structseal_subjects"}) {
			t.Errorf("tables %v", names)
		}
	})
}
