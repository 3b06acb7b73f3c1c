package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/riverrows"
	"github.com/structseal/structseal/rotate/sqlrows"
)

const (
	engineRiver = "river"
	// riverSchema is where the tool has River's tables. Other River clients of the database
	// don't know its jobs, and would discard some.
	riverSchema = "structseal_river"
	watchEvery  = time.Second
	watchPast   = time.Minute // that a database may be away
)

// riverOptions are those of a job that is handed to River.
type riverOptions struct {
	engine         string
	rowsPerJob     int
	detach, attach bool
}

func (o *riverOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.engine, "engine", "", "river: hand the work to structseal worker, through PostgreSQL (default does it here)")
	f.IntVar(&o.rowsPerJob, "rows-per-job", 1000, "with --engine river: rows of a part")
	f.BoolVar(&o.detach, "detach", false, "with --engine river: hand over, and watch nothing")
	f.BoolVar(&o.attach, "attach", false, "with --engine river: only watch what was handed over, or tell how it ended")
}

// check refuses flags that are for something else.
func (o *riverOptions) check(cmd *cobra.Command) error {
	var wrong []string
	switch o.engine {
	case "":
		for _, name := range []string{"rows-per-job", "detach", "attach"} {
			if cmd.Flags().Changed(name) {
				return usageError{fmt.Errorf("--%s is for --engine river", name)}
			}
		}
		return nil
	case engineRiver:
		wrong = []string{"rows-per-second", "max-lag", "max-error-rate", "batch-time", "part-rows", "worker"}
	default:
		return usageError{fmt.Errorf("--engine %q: there is only river", o.engine)}
	}
	for _, name := range wrong {
		if cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s isn't for --engine river, which does no work here: structseal worker has what is like it", name)}
		}
	}
	if o.attach && o.detach {
		return usageError{errors.New("--attach watches, and --detach doesn't: give one of them")}
	}
	if o.rowsPerJob <= 0 {
		return usageError{fmt.Errorf("--rows-per-job \"%d\": it is to be more than nothing", o.rowsPerJob)}
	}
	return nil
}

// needPostgres refuses a database that River doesn't know.
func (w *work) needPostgres() error {
	if w.DSN == "" {
		return missing("dsn")
	}
	if _, d, _, err := dataSource(w.DSN, false); err == nil && d != sqlstore.PostgreSQL {
		return usageError{errors.New("for River the rows have to be in PostgreSQL, and --dsn names another database: start rows reencrypt or rows backfill several times there, without River")}
	}
	return nil
}

// openRiver returns the jobs in the database of the rows.
func (w *rowsWork) openRiver(db *database) (*riverrows.Jobs, error) {
	log := slog.New(slog.NewTextHandler(w.cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	return riverrows.New(db.DB, &riverrows.Options{Schema: riverSchema, Logger: log})
}

// migrateRiver makes River's tables if they aren't there, and says so then.
func (w *rowsWork) migrateRiver(ctx context.Context, jobs *riverrows.Jobs) (made bool, err error) {
	done, err := jobs.Migrated(ctx)
	if err == nil && !done {
		if err = jobs.Migrate(ctx); err == nil {
			w.tell.note("made the schema %s, with River's tables and two of structseal", riverSchema)
		}
	}
	if err != nil {
		return false, fmt.Errorf("the schema %s can't be used, or made; let a role that may run structseal rows migrate --engine river, and grant USAGE on it, all on its tables and USAGE on its sequences: %w", riverSchema, err)
	}
	return !done, nil
}

// riverEvent is how far a run is, or how it ended.
type riverEvent struct {
	event
	Source string `json:"source"`
	Record string `json:"record"`
	Kind   string `json:"kind"`
	Engine string `json:"engine"` // "river"

	Run       int64         `json:"run"`
	Rows      int64         `json:"rows"`
	Written   int64         `json:"written"`
	Conflicts int64         `json:"conflicts"`
	BadRows   int64         `json:"bad_rows"`
	Estimate  int64         `json:"estimate"`
	Rate      float64       `json:"rows_a_second"`
	Elapsed   time.Duration `json:"elapsed_ns"`
	Left      time.Duration `json:"time_left_ns"`
	Paused    string        `json:"paused"`
	Done      bool          `json:"done"`

	Handed  bool  `json:"handed"` // all rows are in parts
	Parts   int64 `json:"parts"`
	Ended   int64 `json:"parts_done"`
	Running int64 `json:"parts_running"`
	Ready   int64 `json:"parts_ready"`
	Waiting int64 `json:"parts_waiting"`
	Failed  int64 `json:"parts_failed"`
}

// enqueuedEvent tells that all of a table was handed over.
type enqueuedEvent struct {
	event
	Source  string `json:"source"`
	Record  string `json:"record"`
	Kind    string `json:"kind"`
	Run     int64  `json:"run"`
	Parts   int64  `json:"parts"`
	Joined  bool   `json:"joined"`
	Revived int64  `json:"revived"`
}

// failedEvent is a part that was given up.
type failedEvent struct {
	event
	Source string `json:"source"`
	Part   int64  `json:"part"`
	State  string `json:"state"`
	Error  string `json:"error"`
}

// A handover hands the work on some tables to River.
type handover struct {
	*rowsWork
	kind  rotate.Kind
	opts  riverrows.EnqueueOptions
	jobs  *riverrows.Jobs
	begun []chan int64 // of each table: the number of its run
}

// river does a job on all tables through River.
func (w *rowsWork) river(ctx context.Context, kind rotate.Kind, j jobOptions) error {
	asked := draining(ctx)
	onInterrupt(ctx, func() {}) // what it leaves is said at the end
	if err := w.needPostgres(); err != nil {
		return err
	}
	if err := j.openFor(ctx, w, kind); err != nil {
		return err
	}
	h := &handover{rowsWork: w, kind: kind, opts: riverrows.EnqueueOptions{RowsPerJob: j.river.rowsPerJob, Deterministic: j.run.Deterministic, MaxBad: int64(j.run.MaxBad)}}
	var err error
	if h.jobs, err = w.openRiver(w.db); err != nil {
		return err
	}
	if _, err := w.migrateRiver(ctx, h.jobs); err != nil {
		return err
	}
	for range w.tables {
		h.begun = append(h.begun, make(chan int64, 1))
	}
	ctx, cancel := context.WithCancel(ctx)
	handed := make(chan error, 1)
	var enqueuer sync.WaitGroup // whose last word comes before the end
	defer enqueuer.Wait()
	defer cancel()
	if j.river.attach {
		handed <- h.find(ctx)
	} else {
		enqueuer.Go(func() { handed <- h.enqueue(ctx) })
	}
	if j.river.detach {
		return h.handOver(handed, asked, cancel)
	}
	return h.watch(ctx, handed, asked, cancel)
}

// find finds the runs that are there.
func (h *handover) find(ctx context.Context) error {
	for i, t := range h.tables {
		p, err := h.jobs.Progress(ctx, h.ring.Name(), h.kind, t, &h.opts)
		if errors.Is(err, riverrows.ErrNoRun) {
			return fmt.Errorf("table %s: nothing was handed over: call it without --attach", t.Name())
		}
		if err != nil {
			return err
		}
		if !p.Handed {
			h.tell.note("%s: whoever handed it over has not come to its end: if nobody is at it, call this without --attach", t.Name())
		}
		h.begun[i] <- p.Run
	}
	return nil
}

// enqueue hands over all tables.
func (h *handover) enqueue(ctx context.Context) error {
	for i, t := range h.tables {
		told := false
		tell := func(r riverrows.Run) {
			if !told {
				h.begun[i] <- r.ID
			}
			told = true
		}
		opts := h.opts
		opts.Inserted = tell
		run, err := h.jobs.Enqueue(ctx, h.ring.Name(), h.kind, t, &opts)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%s: %s handed over in %s", t.Name(), h.kind, count64(run.Parts, "part"))
		if run.Joined {
			text += ", some of them before"
		}
		if run.Revived > 0 {
			text += fmt.Sprintf("; %d of them had failed", run.Revived)
		}
		h.tell.answer(text, enqueuedEvent{newEvent("enqueued"), t.Name(), t.Record().Label, h.kind.String(), run.ID, run.Parts, run.Joined, run.Revived})
		tell(*run)
	}
	return nil
}

// handOver waits until all is handed over.
func (h *handover) handOver(handed <-chan error, asked <-chan struct{}, cancel func()) error {
	select {
	case err := <-handed:
		if err == nil {
			h.tell.note("structseal worker does it; to look on: the same with --attach instead of --detach")
		}
		return err
	case <-asked:
		cancel()
		return h.halt(<-handed)
	}
}

// halt says what an interrupt leaves.
func (h *handover) halt(err error) error {
	h.stopped, h.resumable = "stopped watching; the workers go on", true
	if err != nil {
		h.stopped = "stopped before all was handed over: the workers do what was, and the rest waits for the same call"
	}
	return errDrained
}

// watch tells how far the workers are, until all tables are done.
func (h *handover) watch(ctx context.Context, handed <-chan error, asked <-chan struct{}, cancel func()) error {
	var failures []error
	for i, t := range h.tables {
		run, pause := int64(0), watchEvery
		w := watched{handover: h, table: t, begin: time.Now()}
		for !w.ended {
			select {
			case err := <-handed:
				if err != nil {
					return err
				}
				handed = nil // nothing more comes from there
				continue
			case <-asked:
				cancel()
				var err error
				if handed != nil {
					err = <-handed
				}
				return h.halt(err)
			case run = <-h.begun[i]:
			case <-time.After(pause):
			}
			if run == 0 {
				continue
			}
			begin := time.Now()
			if err := w.look(ctx, run); err != nil {
				return err
			}
			pause = max(watchEvery, 10*time.Since(begin)) // it costs a run of many parts little, too
		}
		failures = append(failures, w.failure)
	}
	if handed != nil {
		if err := <-handed; err != nil {
			return err
		}
	}
	return errors.Join(failures...)
}

// A watched table is one that workers are at.
type watched struct {
	*handover
	table   *sqlrows.Table
	begin   time.Time
	away    time.Time // since when the database doesn't answer
	last    riverrows.Progress
	ended   bool
	failure error
}

// look tells how far a run is, and how it ended.
func (w *watched) look(ctx context.Context, run int64) error {
	p, err := w.jobs.Progress(ctx, w.ring.Name(), w.kind, w.table, &w.opts)
	if err != nil && ctx.Err() == nil && !errors.Is(err, riverrows.ErrNoRun) {
		if w.away.IsZero() {
			w.away = time.Now()
		}
		if time.Since(w.away) < watchPast {
			w.tell.stand(w.standing("the database: " + err.Error()))
			return nil
		}
		return fmt.Errorf("%w: %w; the workers go on when they can", keyring.ErrUnavailable, err)
	}
	if err != nil {
		return err
	}
	w.away = time.Time{}
	if p.Run != run {
		return fmt.Errorf("%s: another call has begun anew: this one's run %d is over", w.table.Name(), run)
	}
	w.last = *p
	switch {
	case p.Done:
		w.end("done")
		if p.BadRows > 0 {
			w.failure = fmt.Errorf("%s: %s left: a value of theirs can't be done", w.table.Name(), count64(p.BadRows, "row"))
		}
	case p.Stopped:
		w.end("stopped")
		w.failure = fmt.Errorf("%s: %s failed, and the others are done; the same call has them tried again", w.table.Name(), count64(p.Failed, "part"))
	default:
		w.tell.stand(w.standing(w.paused()))
	}
	return nil
}

// paused says why nothing goes on, "" if it does.
func (w *watched) paused() string {
	p := &w.last
	switch {
	case p.Rate > 0 && p.Running > 0:
		return ""
	case p.Why != "" && p.Waiting > 0:
		return p.Why
	case p.Running == 0 && p.Ready > 0 && time.Since(w.begin) > 5*time.Second:
		return "no worker is at it: start structseal worker"
	}
	return ""
}

func (w *watched) standing(paused string) standing {
	p := &w.last
	return standing{
		source: w.table.Name(), rows: p.Rows, estimate: p.Estimate, written: p.Written, bad: p.BadRows,
		rate: p.Rate, left: p.Left, paused: paused, event: w.event("progress", paused),
	}
}

func (w *watched) event(name, paused string) riverEvent {
	p := &w.last
	return riverEvent{
		event: newEvent(name), Source: w.table.Name(), Record: w.table.Record().Label, Kind: w.kind.String(), Engine: engineRiver,
		Run: p.Run, Rows: p.Rows, Written: p.Written, Conflicts: p.Conflicts, BadRows: p.BadRows, Estimate: p.Estimate,
		Rate: p.Rate, Elapsed: p.Elapsed, Left: p.Left, Paused: paused, Done: p.Done && p.BadRows == 0,
		Handed: p.Handed, Parts: p.Parts, Ended: p.Ended, Running: p.Running, Ready: p.Ready, Waiting: p.Waiting, Failed: p.Failed,
	}
}

// end tells how a run ended.
func (w *watched) end(name string) {
	w.ended = true
	p := &w.last
	for _, b := range p.Bad {
		id, _ := strconv.ParseUint(b.Key, 16, 32) // 0 for none
		w.tell.badRow(&rotate.RowError{Source: w.table.Name(), Row: b.Row, Field: b.Field, KeyID: uint32(id), Err: errors.New(b.Error)})
	}
	for _, f := range p.Failures {
		why := cmp.Or(f.Error, "its job was "+f.State)
		w.tell.failedPart(fmt.Sprintf("failed: %s, part %d: %s", w.table.Name(), f.Part, why), failedEvent{newEvent("failed"), w.table.Name(), f.Part, f.State, f.Error})
	}
	w.tell.answer(fmt.Sprintf("%s: %s %s: %d rows read, %d written, %d left as they are; %d of %s done; %v",
		w.table.Name(), w.kind, name, p.Rows, p.Written, p.BadRows, p.Ended, count64(p.Parts, "part"), p.Elapsed.Round(100*time.Millisecond)), w.event(name, ""))
}
