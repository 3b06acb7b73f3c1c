package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/spf13/cobra"

	"github.com/structseal/structseal/rotate/riverrows"
)

func workerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Work on the rows that others have handed over",
		Long: `Worker does the jobs that structseal rows reencrypt and backfill hand over with
--engine river, as one of any number of processes, on as many machines. It works on
all tables of the manifest, and goes on until it is stopped.

Start it with the settings that the verb under rows was called with: manifest, ring,
--bind and the like. What another table or ring needs is left to other workers.

Ctrl-C or SIGTERM ends it after the parts that it is at; that is exit code 0. Ctrl-C
again gives up the batches that are under way. What was written is kept, and another
worker goes on there.`,
		Example: "  structseal worker --config structseal.config.json --workers 2 --rows-per-second 5000",
	}
	o := &rowsFlags{given: newGiven(cmd, "store", "ring", "pin", "dsn", "manifest", "tombstones")}
	o.addChoice(cmd.Flags())
	workers := cmd.Flags().Int("workers", 2, "parts at once")
	var opts riverrows.WorkerOptions
	f := cmd.Flags()
	f.IntVar(&opts.RowsPerSecond, "rows-per-second", 0, "speed of this process (default no limit)")
	f.DurationVar(&opts.MaxLag, "max-lag", 0, "wait while a replica is further behind (default not looked at)")
	f.DurationVar(&opts.BatchTime, "batch-time", 200*time.Millisecond, "how long a transaction should take")
	return o.verb(cmd, func(ctx context.Context, w *rowsWork) error {
		if err := positive(cmd, map[string]bool{"workers": *workers > 0, "rows-per-second": opts.RowsPerSecond > 0, "max-lag": opts.MaxLag > 0, "batch-time": opts.BatchTime > 0}); err != nil {
			return err
		}
		if err := w.needPostgres(); err != nil {
			return err
		}
		return w.workOn(ctx, o, *workers, opts)
	})
}

// workOn works on what comes until the first interrupt.
func (w *rowsWork) workOn(ctx context.Context, o *rowsFlags, workers int, opts riverrows.WorkerOptions) error {
	w.resumable = true
	asked := draining(ctx)
	onInterrupt(ctx, func() { w.tell.note("stopping when the parts under way are done; interrupt again to give them up") })
	if err := o.open(ctx, w); err != nil {
		return err
	}
	w.db.SetMaxIdleConns(workers + 4)
	jobs, err := w.openRiver(w.db)
	if err != nil {
		return err
	}
	if _, err := w.migrateRiver(ctx, jobs); err != nil {
		return err
	}
	done := newTally(w)
	opts.OnBad, opts.OnStep, opts.OnFailure = w.tell.badRow, done.step, done.failed
	client, err := river.NewClient(riverdatabasesql.New(w.db.DB), jobs.Config(jobs.NewWorker(w.ring, w.tables, &opts), workers))
	if err != nil {
		return err
	}
	// A context that ends would stop it before the jobs are given back.
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	w.tell.note("working; %d parts at once", workers)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-tick.C:
			w.tell.stand(done.now())
		case <-asked:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	if err := client.Stop(ctx); err != nil { // the second interrupt
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := client.StopAndCancel(last); err != nil {
			return err
		}
	}
	w.tell.answer(done.text(), done.event("done"))
	return ctx.Err()
}

// workerEvent is what a worker has done.
type workerEvent struct {
	event
	Parts   int64         `json:"parts_done"`
	Rows    int64         `json:"rows"`
	Written int64         `json:"written"`
	Failed  int64         `json:"failed"` // attempts, and what was put off
	Rate    float64       `json:"rows_a_second"`
	Elapsed time.Duration `json:"elapsed_ns"`
}

// A tally is what this worker has done. It is safe for concurrent use.
type tally struct {
	w     *rowsWork
	begin time.Time

	mu     sync.Mutex
	sum    workerEvent
	before workerEvent // a while ago
	said   map[string]time.Time
}

func newTally(w *rowsWork) *tally {
	return &tally{w: w, begin: time.Now(), said: make(map[string]time.Time)}
}

func (t *tally) step(s riverrows.Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Rows += int64(s.Rows)
	t.sum.Written += int64(s.Written)
	if s.Done {
		t.sum.Parts++
	}
}

// failed says why a job is put off, or has failed: once in a while, where all jobs have
// the same to say.
func (t *tally) failed(a riverrows.Args, err error) {
	t.mu.Lock()
	t.sum.Failed++
	again := time.Since(t.said[a.Table]) < speak
	if !again {
		t.said[a.Table] = time.Now()
	}
	t.mu.Unlock()
	if !again {
		t.w.tell.note("%s, part %d: %v", a.Table, a.Part, err)
	}
}

// event is the sum, with the rate of the last few seconds.
func (t *tally) event(name string) workerEvent {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.sum
	e.event, e.Elapsed = newEvent(name), time.Since(t.begin)
	if d := e.Elapsed - t.before.Elapsed; d > 0 {
		e.Rate = float64(e.Rows-t.before.Rows) / d.Seconds()
	}
	if e.Elapsed-t.before.Elapsed > speak {
		t.before = e
	}
	return e
}

func (t *tally) now() standing {
	e := t.event("worker")
	return standing{source: "worker", rows: e.Rows, written: e.Written, rate: e.Rate, left: noAnswer, event: e}
}

func (t *tally) text() string {
	e := t.event("worker")
	return fmt.Sprintf("worker: %s, %s read, %d written; %v", count64(e.Parts, "part"), count64(e.Rows, "row"), e.Written, e.Elapsed.Round(100*time.Millisecond))
}
