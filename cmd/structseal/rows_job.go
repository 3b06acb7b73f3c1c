package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// jobOptions are those of the verbs that write rows.
type jobOptions struct {
	*rowsFlags
	run      rotate.Options
	partRows int
	river    riverOptions
}

// jobEvent is how far a job is with a table, or that it is done.
type jobEvent struct {
	event
	Record string `json:"record"`
	rotate.Progress
}

// jobCommand completes the verb of a job.
func jobCommand(cmd *cobra.Command, o *rowsFlags, kind rotate.Kind) *cobra.Command {
	j := jobOptions{rowsFlags: o}
	f := cmd.Flags()
	f.IntVar(&j.run.RowsPerSecond, "rows-per-second", 0, "speed of this worker (default no limit)")
	f.DurationVar(&j.run.MaxLag, "max-lag", 0, "wait while a replica is further behind (PostgreSQL; default not looked at)")
	f.IntVar(&j.run.MaxBad, "max-bad", 1000, "rows that can't be done and are left, before it stops")
	f.Float64Var(&j.run.MaxErrorRate, "max-error-rate", 0.25, "wait when more than this share of the last 20 batches had to be done again")
	f.DurationVar(&j.run.BatchTime, "batch-time", 200*time.Millisecond, "how long a transaction should take")
	f.IntVar(&j.partRows, "part-rows", 20_000, "rows that a worker claims at once")
	f.StringVar(&j.run.Worker, "worker", "", "name of this worker, no other's (default a random one)")
	j.river.flags(cmd)
	if kind == rotate.Reencrypt {
		f.BoolVar(&j.run.Deterministic, "deterministic", false, "fields tagged det=DOMAIN, too: equal values differ meanwhile")
	}
	return o.verb(cmd, func(ctx context.Context, w *rowsWork) error {
		if err := j.check(cmd); err != nil {
			return err
		}
		if j.river.engine != "" {
			return w.river(ctx, kind, j)
		}
		return w.jobs(ctx, kind, j)
	})
}

// check refuses numbers that make no sense, where the library would take its default.
func (j *jobOptions) check(cmd *cobra.Command) error {
	err := positive(cmd, map[string]bool{
		"rows-per-second": j.run.RowsPerSecond > 0,
		"max-lag":         j.run.MaxLag > 0,
		"max-bad":         j.run.MaxBad > 0,
		"max-error-rate":  j.run.MaxErrorRate > 0,
		"batch-time":      j.run.BatchTime > 0,
		"part-rows":       j.partRows > 0,
		"worker":          j.run.Worker != "",
	})
	if err != nil {
		return err
	}
	return j.river.check(cmd)
}

// openFor opens what a job needs: for a sweep only the tables that have something to sweep.
func (j *jobOptions) openFor(ctx context.Context, w *rowsWork, kind rotate.Kind) error {
	if err := j.open(ctx, w); err != nil || kind != rotate.Sweep {
		return err
	}
	return w.onlyIndexed()
}

// positive refuses flags that were given and aren't more than nothing.
func positive(cmd *cobra.Command, ok map[string]bool) error {
	for name, ok := range ok {
		if f := cmd.Flags().Lookup(name); f.Changed && !ok {
			return usageError{fmt.Errorf("--%s %q: it is to be more than nothing", name, f.Value)}
		}
	}
	return nil
}

// jobs does a job on all tables.
func (w *rowsWork) jobs(ctx context.Context, kind rotate.Kind, j jobOptions) error {
	w.resumable = true
	asked := draining(ctx)
	onInterrupt(ctx, func() { w.tell.note("stopping when this batch is written; interrupt again to give it up") })
	j.choice.perPart = j.partRows
	if err := j.openFor(ctx, w, kind); err != nil {
		return err
	}
	if _, err := w.migrate(ctx, w.db); err != nil {
		return fmt.Errorf("structseal_jobs and structseal_parts can't be used, or made; let a role that may run structseal rows migrate, and grant SELECT, INSERT, UPDATE and DELETE on them: %w", err)
	}
	bad := int64(0)
	for _, t := range w.tables {
		left, err := w.job(ctx, kind, j, t, asked)
		if err != nil {
			return err
		}
		bad += left
	}
	if bad > 0 {
		return fmt.Errorf("%s left: a value of theirs can't be done", count64(bad, "row"))
	}
	return nil
}

// job does a job on a table, and returns how many rows it had to leave.
func (w *rowsWork) job(ctx context.Context, kind rotate.Kind, j jobOptions, t *sqlrows.Table, asked <-chan struct{}) (bad int64, err error) {
	opts := j.run
	opts.OnBad = w.tell.badRow
	record := t.Record().Label
	var last rotate.Progress
	tellEnd := func(name string) {
		w.tell.answer(jobText(last, name), jobEvent{newEvent(name), record, last})
	}
	for p, err := range rotate.Run(ctx, w.ring, kind, t, &opts) {
		last = p
		switch {
		case errors.Is(err, rotate.ErrBadRows) && p.BadRows < int64(opts.MaxBad):
			tellEnd("done")
			return p.BadRows, nil
		case err != nil:
			tellEnd("stopped")
			if errors.Is(err, rotate.ErrBadRows) {
				return 0, fmt.Errorf("%s: %s left, as many as --max-bad allows", t.Name(), count64(p.BadRows, "row"))
			}
			return 0, err
		case p.Done:
			tellEnd("done")
			return 0, nil
		}
		w.tell.stand(standingOf(record, p))
		select {
		case <-asked:
			tellEnd("stopped")
			return 0, errDrained
		default:
		}
	}
	return 0, errors.New("the job has ended without saying why")
}

// standingOf is how far a job is: all of its workers, where that is known.
func standingOf(record string, p rotate.Progress) standing {
	s := standing{
		source: p.Source, rows: p.Rows, estimate: p.Estimate, written: p.Written, bad: p.BadRows,
		rate: p.Rate, left: p.Left, paused: p.Paused, event: jobEvent{newEvent("progress"), record, p},
	}
	if p.All >= 0 {
		s.rows = p.All
	}
	return s
}

// jobText says for people what a job did with a table.
func jobText(p rotate.Progress, state string) string {
	if p.Kind == rotate.Sweep.String() {
		return fmt.Sprintf("%s: %s %s: %d rows read, %d indexes emptied in %d rows; %v",
			p.Source, p.Kind, state, p.Rows, p.Indexes, p.Written, p.Elapsed.Round(100*time.Millisecond))
	}
	text := fmt.Sprintf("%s: %s %s: %d rows read, %d written, %d left as they are; values: %d sealed, %d current, %d NULL, %d plaintext, %d of forgotten subjects; %v",
		p.Source, p.Kind, state, p.Rows, p.Written, p.BadRows, p.Sealed, p.Current, p.Null, p.Plaintext, p.Forgotten, p.Elapsed.Round(100*time.Millisecond))
	if p.Plaintext > 0 {
		text += fmt.Sprintf("\n%s: plaintext is what `structseal rows backfill` encrypts", p.Source)
	}
	return text
}
