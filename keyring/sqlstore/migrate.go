package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/structseal/structseal/keyring"
)

// SchemaVersion is the version of the tables that this program works with.
const SchemaVersion = 2

//go:embed schema/*.sql
var files embed.FS

// migration returns the statements that bring the tables from version n-1 to n.
// Each of them can be run again, because MySQL commits every one by itself.
func migration(d Dialect, prefix string, n int) []string {
	text, err := files.ReadFile(fmt.Sprintf("schema/%s.%d.sql", strings.ToLower(d.String()), n))
	if err != nil {
		panic(err) // it is embedded; a test reads them all
	}
	named := string(text)
	for _, table := range tables {
		named = strings.ReplaceAll(named, d.quote(DefaultTablePrefix+table), d.quote(prefix+table))
	}
	var list []string
	for statement := range strings.SplitSeq(named, ";\n") {
		if s := strings.TrimSpace(statement); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// versions returns the statements that make and fill the table that says which
// migrations were run.
func (d Dialect) versions(prefix string) (create, insert, newest string) {
	table := d.quote(prefix + "schema")
	create = "CREATE TABLE IF NOT EXISTS " + table + " (version INTEGER NOT NULL PRIMARY KEY)"
	insert = "INSERT INTO " + table + " (version) VALUES (%d) ON CONFLICT (version) DO NOTHING"
	if d == MySQL {
		create += " ENGINE = InnoDB"
		insert = "INSERT IGNORE INTO " + table + " (version) VALUES (%d)"
	}
	newest = "SELECT COALESCE(MAX(version), 0) FROM " + table
	return create, insert, newest
}

// script returns every statement that brings the tables from one version to
// SchemaVersion.
func script(d Dialect, prefix string, from int) []string {
	create, insert, _ := d.versions(prefix)
	list := []string{create}
	for n := from + 1; n <= SchemaVersion; n++ {
		list = append(list, migration(d, prefix, n)...)
		list = append(list, fmt.Sprintf(insert, n))
	}
	return list
}

// Schema returns the SQL that makes the tables, for databases whose
// administrators run it themselves. It may be run again, and on the tables of
// an earlier version. [Store.CheckSchema] tells whether it was run.
//
// Errors: ErrOptions.
func Schema(d Dialect, opts *Options) (string, error) {
	prefix, err := prefixOf(d, opts)
	if err != nil {
		return "", err
	}
	return strings.Join(script(d, prefix, 0), ";\n\n") + ";\n", nil
}

// CheckSchema returns nil if the tables are of version [SchemaVersion].
//
// Errors: ErrSchema; keyring.ErrUnavailable; ctx's own; the database's.
func (s *Store) CheckSchema(ctx context.Context) error {
	have, err := s.version(ctx, s.conn())
	if err == nil {
		err = fits(have)
	}
	if err == nil && have < SchemaVersion {
		err = fmt.Errorf("%w: version %d of the tables, want %d; run Migrate or the text of Schema", ErrSchema, have, SchemaVersion)
	}
	return s.schemaError(ctx, err)
}

// Migrate makes the tables, or brings those of an earlier version up to date.
// Call it at every start: when there is nothing to do it only reads, and needs no
// right to create tables. Programs that start together wait for each other. It
// does nothing to other tables.
//
// Errors: ErrSchema for the tables of a newer program, which it leaves alone;
// keyring.ErrUnavailable; ctx's own; the database's.
func (s *Store) Migrate(ctx context.Context) error {
	return s.schemaError(ctx, s.migrate(ctx))
}

func (s *Store) schemaError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrSchema), errors.Is(err, keyring.ErrUnavailable):
		return fmt.Errorf("sqlstore: %w", err)
	}
	return s.wrap(ctx, err)
}

func (s *Store) migrate(ctx context.Context) error {
	have, err := s.version(ctx, s.conn())
	if err != nil {
		return err
	}
	if err := fits(have); err != nil || have == SchemaVersion {
		return err
	}
	// One connection: the lock belongs to it.
	c, err := s.pool().Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return s.locked(ctx, c, func() error {
		have, err := s.version(ctx, c) // again: somebody may have been faster
		if err != nil {
			return err
		}
		if err := fits(have); err != nil {
			return err
		}
		for _, statement := range script(s.dialect, s.prefix, have) {
			if _, err := c.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// fits refuses the tables of a newer program: it may rely on rules that this one
// doesn't know.
func fits(have int) error {
	if have > SchemaVersion {
		return fmt.Errorf("%w: version %d of the tables, this program knows %d; use the newer program", ErrSchema, have, SchemaVersion)
	}
	return nil
}

// version returns the version of the tables; 0 if there are none.
func (s *Store) version(ctx context.Context, c conn) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var exists string
	switch s.dialect {
	case PostgreSQL:
		exists = "SELECT CASE WHEN to_regclass($1) IS NULL THEN 0 ELSE 1 END"
	case MySQL:
		exists = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
	default:
		exists = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
	}
	var n int
	if err := c.QueryRowContext(ctx, exists, s.prefix+"schema").Scan(&n); err != nil || n == 0 {
		return 0, err
	}
	_, _, newest := s.dialect.versions(s.prefix)
	err := c.QueryRowContext(ctx, newest).Scan(&n)
	return n, err
}

// locked runs f while no other program migrates these tables: in one transaction
// where the database has transactions for tables.
func (s *Store) locked(ctx context.Context, c *sql.Conn, f func() error) (err error) {
	begin, end, undo := "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"
	var lock string
	switch s.dialect {
	case PostgreSQL:
		// The lock's number stands for the tables' names; a clash only waits.
		h := fnv.New64a()
		h.Write([]byte("structseal/sqlstore " + s.prefix))
		// READ COMMITTED: what is read behind the lock is what the one before
		// us has committed.
		begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
		lock = fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", int64(h.Sum64()))
	case MySQL:
		// Tables aren't transactional. The lock's name is the server's: it says
		// which database, too.
		name := "CONCAT('structseal ', MD5(CONCAT(DATABASE(), ' " + s.prefix + "')))"
		begin, end, undo = "", "DO RELEASE_LOCK("+name+")", "DO RELEASE_LOCK("+name+")"
		var got sql.NullInt64
		if err := c.QueryRowContext(ctx, "SELECT GET_LOCK("+name+", 600)").Scan(&got); err != nil {
			return err
		}
		if got.Int64 != 1 {
			return fmt.Errorf("%w: another program migrates the tables", keyring.ErrUnavailable)
		}
	}
	defer func() {
		if err != nil {
			// Also when ctx has ended; if it can't be done, the connection is
			// of no more use, and database/sql drops it.
			if _, undone := c.ExecContext(context.WithoutCancel(ctx), undo); undone != nil {
				c.Raw(func(any) error { return driver.ErrBadConn })
			}
		}
	}()
	for _, statement := range []string{begin, lock} {
		if statement == "" {
			continue
		}
		if _, err := c.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if err := f(); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, end)
	return err
}
