package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// rowsFlags are what the verbs under rows share.
type rowsFlags struct {
	*given
	choice            choice
	bind, bindColumns []string
	index             []string
}

func rowsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rows",
		Short: "Work through the rows of live tables",
		Long: `Rows re-encrypts the values of live tables, encrypts what is still plaintext,
empties the indexes of people who were forgotten, and counts which keys are in use.
The application goes on meanwhile.

What is sealed in which table comes from the manifest that structseal inventory
writes: structseal.json, unless --manifest names another file. Without --record all
of its records that have a table are worked on, one table after the other.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usageError{errors.New("a verb is missing")} },
	}
	o := &rowsFlags{given: newGiven(cmd, "store", "ring", "pin", "dsn", "manifest", "tombstones")}
	cmd.AddCommand(rowsPlanCommand(o), rowsReencryptCommand(o), rowsBackfillCommand(o), rowsVerifyCommand(o), rowsSweepCommand(o), rowsMigrateCommand(o))
	for _, verb := range cmd.Commands() {
		if verb.Name() != "migrate" {
			o.addChoice(verb.Flags())
		}
	}
	return cmd
}

// addChoice adds the flags that choose.
func (o *rowsFlags) addChoice(f *pflag.FlagSet) {
	f.StringArrayVar(&o.choice.records, "record", nil, "label of a record; again for further ones (default all with a table)")
	f.StringVar(&o.choice.table, "table", "", "table of the record (default the manifest's)")
	f.StringArrayVar(&o.bind, "bind", nil, "LABEL=VALUE that the program binds in all rows (require=LABEL)")
	f.StringArrayVar(&o.bindColumns, "bind-column", nil, "LABEL=COLUMN that has what the program binds")
	f.StringArrayVar(&o.index, "index", nil, "COLUMN=RECORD.FIELD: a column by which the field is searched")
	f.StringArrayVar(&o.choice.without, "without", nil, "RECORD.FIELD to leave out; again for further ones")
	f.StringSliceVar(&o.choice.key, "key", nil, "columns of a unique key to go by (default the primary key)")
}

// rowsWork is what a verb under rows works with.
type rowsWork struct {
	*work
	*rowTables
	tell *teller
	ring *keyring.Keyring

	resumable bool   // it goes on where it was stopped
	stopped   string // what an interrupt leaves, "" for what was written
}

// verb makes a cobra function of a verb. It tells by events instead of one object.
func (o *rowsFlags) verb(cmd *cobra.Command, do func(ctx context.Context, w *rowsWork) error) *cobra.Command {
	cmd.Args = cobra.NoArgs
	return o.run(cmd, func(ctx context.Context, w *work, _ []string) error {
		r := &rowsWork{work: w, tell: newTeller(cmd.OutOrStdout(), cmd.ErrOrStderr(), w.asJSON)}
		return r.end(ctx, do(ctx, r))
	})
}

// open opens ring, database and tables.
func (o *rowsFlags) open(ctx context.Context, w *rowsWork) (err error) {
	c := o.choice
	if c.bind, err = byLabel("bind", o.bind); err != nil {
		return err
	}
	if c.columns, err = byLabel("bind-column", o.bindColumns); err != nil {
		return err
	}
	if c.index, err = byLabel("index", o.index); err != nil {
		return err
	}
	if w.Manifest == "" {
		w.Manifest = manifest.FileName
	}
	if w.rowTables, err = w.work.choose(ctx, c); err != nil {
		return err
	}
	if len(w.apart) > 0 {
		w.tell.note("left out, because the manifest knows no table of them: %s", strings.Join(w.apart, ", "))
	}
	w.ring, err = w.openRing(ctx)
	return err
}

// resume is the command line that goes on with what this one began.
func resume(cmd *cobra.Command) string {
	parts := []string{cmd.CommandPath()}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			if f.Value.Type() == "bool" && v == "true" {
				parts = append(parts, "--"+f.Name)
				continue
			}
			parts = append(parts, "--"+f.Name, shellQuote(v))
		}
	})
	return strings.Join(parts, " ")
}

// shellQuote writes an argument so that a shell reads it again.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@+%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// counted is a source whose scans are told.
type counted struct {
	rotate.Source
	scanned func(rows int)
}

// Scan implements [rotate.Source].
func (c counted) Scan(ctx context.Context, after string, limit int) ([]rotate.Row, string, error) {
	rows, next, err := c.Source.Scan(ctx, after, limit)
	c.scanned(len(rows))
	return rows, next, err
}

// watch returns the table as a source that tells how far a scan of it is.
func (w *rowsWork) watch(ctx context.Context, t *sqlrows.Table) rotate.Source {
	s := newScan(ctx, t)
	return counted{t, func(rows int) { w.tell.stand(s.add(rows)) }}
}
