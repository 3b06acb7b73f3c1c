package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

func rowsSweepCommand(o *rowsFlags) *cobra.Command {
	return jobCommand(&cobra.Command{
		Use:   "sweep",
		Short: "Empty the indexes of people who were forgotten",
		Long: `Sweep writes NULL into the indexes of rows whose subject was forgotten. The sealed
values of such rows can't be opened any longer, but an index still tells which rows
had equal values, until it is empty. Run it after structseal forget.

An index is a column by which the program searches a sealed field. Name each one:
--index COLUMN=RECORD.FIELD, or "index" in the file with settings. Records without
indexes, or without a subject, are left out.

It works as reencrypt does: beside the application, by any number of workers, and
Ctrl-C ends it after the batch that it is at.`,
		Example: "  structseal rows sweep --config structseal.config.json --index email_hash=customer.email",
	}, o, rotate.Sweep)
}

// onlyIndexed leaves out the tables that have nothing to sweep.
func (w *rowsWork) onlyIndexed() error {
	w.tables = slices.DeleteFunc(w.tables, func(t *sqlrows.Table) bool {
		r := t.Record()
		person := slices.ContainsFunc(r.Binds, func(b manifest.Bind) bool { return b.Subject })
		if person && len(r.Indexes) > 0 {
			return false
		}
		w.tell.note("left out, because it has no index or no subject: %s", r.Label)
		return true
	})
	if len(w.tables) == 0 {
		return errors.New("no record has both an index and a subject: name the columns with --index COLUMN=RECORD.FIELD")
	}
	return nil
}
