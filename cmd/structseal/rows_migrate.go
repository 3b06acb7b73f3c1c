package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/rotate/sqlrows"
)

func rowsMigrateCommand(o *rowsFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make the tables that jobs remember in",
		Long: `Migrate makes the tables structseal_jobs and structseal_parts in the database of
the rows, or does nothing. They hold positions of keys and counts, no values.

The jobs make them themselves where they may. This verb is for databases where
another role makes tables: run it as that one, then give SELECT, INSERT, UPDATE and
DELETE on both tables to the role of the jobs.

With --engine river it makes, in PostgreSQL, the schema structseal_river instead, with
the tables of River and two of structseal. The role of the jobs needs USAGE on it,
SELECT, INSERT, UPDATE and DELETE on all of its tables, and USAGE on all sequences.`,
		Example: "  STRUCTSEAL_DSN=postgres://owner@db/crm structseal rows migrate",
	}
	engine := cmd.Flags().String("engine", "", "river: for jobs that are handed to structseal worker")
	return o.verb(cmd, func(ctx context.Context, w *rowsWork) error {
		if *engine != "" && *engine != engineRiver {
			return usageError{fmt.Errorf("--engine %q: there is only river", *engine)}
		}
		if *engine == engineRiver {
			if err := w.needPostgres(); err != nil {
				return err
			}
		}
		db, err := w.openRows(ctx)
		if err != nil {
			return err
		}
		if *engine == engineRiver {
			jobs, err := w.openRiver(db)
			if err != nil {
				return err
			}
			made, err := w.migrateRiver(ctx, jobs)
			if err == nil && !made {
				w.tell.note("the schema %s is there already", riverSchema)
			}
			return err
		}
		made, err := w.migrate(ctx, db)
		if err == nil && !made {
			w.tell.note("the tables structseal_jobs and structseal_parts are there already")
		}
		return err
	})
}

// migrate makes the tables of jobs if they aren't there, and says so then. Whether they are
// is asked first: where a role may make none, making none that exists fails, too.
func (w *rowsWork) migrate(ctx context.Context, db *database) (made bool, err error) {
	for _, table := range []string{"structseal_jobs", "structseal_parts"} {
		rows, err := db.QueryContext(ctx, "SELECT * FROM "+table+" WHERE 1 = 0")
		if err == nil {
			rows.Close()
			continue
		}
		if err := sqlrows.Migrate(ctx, db.DB, db.dialect, nil); err != nil {
			return false, err
		}
		w.tell.note("made the tables structseal_jobs and structseal_parts")
		return true, nil
	}
	return false, nil
}
