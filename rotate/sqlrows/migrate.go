package sqlrows

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/structseal/structseal/keyring/sqlstore"
)

// Migrate makes the two tables that jobs remember in, if they aren't there: PREFIXjobs
// and PREFIXparts. They hold positions of keys and counts, no values. Drop them when no
// job is under way, and nothing is lost.
//
// Errors: the database's.
func Migrate(ctx context.Context, db *sql.DB, d sqlstore.Dialect, opts *Options) error {
	prefix := defaultPrefix
	if opts != nil && opts.TablePrefix != "" {
		prefix = opts.TablePrefix
	}
	text, end := "text", ""
	if d == sqlstore.MySQL { // keys compare by their bytes
		text, end = "longtext", " ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	}
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS ` + dialect{d}.quote(prefix+"jobs") + ` (
			job varchar(300) NOT NULL PRIMARY KEY,
			run bigint NOT NULL,
			frontier ` + text + `,
			handed int NOT NULL,
			finished int NOT NULL
		)` + end,
		`CREATE TABLE IF NOT EXISTS ` + dialect{d}.quote(prefix+"parts") + ` (
			job varchar(300) NOT NULL,
			run bigint NOT NULL,
			part bigint NOT NULL,
			reached ` + text + `,
			upto ` + text + `,
			owner varchar(100) NOT NULL,
			lease bigint NOT NULL,
			done int NOT NULL,
			seen bigint NOT NULL,
			written bigint NOT NULL,
			PRIMARY KEY (job, run, part)
		)` + end,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("sqlrows: %w", err)
		}
	}
	return nil
}
