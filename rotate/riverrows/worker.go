package riverrows

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// WorkerOptions are optional: nil and the zero value are the defaults.
type WorkerOptions struct {
	// RowsPerSecond bounds the speed of this worker, all jobs that it is at together.
	// Default: no limit.
	RowsPerSecond int

	// BatchTime is how long a transaction should take; see rotate.Options. Default: 200 ms.
	BatchTime time.Duration

	// MaxBatch bounds the rows of a transaction. A part with no more rows is done in one.
	// Default: 2,000.
	MaxBatch int

	// MaxLag waits while a replica is further behind. Default: replicas aren't looked at.
	MaxLag time.Duration

	// Timeout is how long a job may take before it is put off. What it has done until then
	// is kept, and the next attempt goes on behind it. It is less than the
	// RescueStuckJobsAfter of all River clients in the schema. Default: 1 minute.
	Timeout time.Duration

	// Index is what a Reindex asks; see rotate.Options. Without it such jobs are cancelled.
	Index rotate.Indexer

	// OnBad is told of each value that is left, when that is durable, from many
	// goroutines.
	OnBad func(*rotate.RowError)

	// OnStep is told of each transaction that is durable, from many goroutines.
	OnStep func(Step)

	// OnFailure is told of each job that is put off, or has failed, from many goroutines.
	OnFailure func(Args, error)
}

// A Step is a transaction of a worker.
type Step struct {
	Args
	rotate.Batch // Done: of the part
}

const (
	defaultMaxBatch = 2000
	defaultTimeout  = time.Minute
)

// A Worker does the River jobs of one ring and some tables: it is a river.Worker. It is
// safe for concurrent use.
type Worker struct {
	river.WorkerDefaults[Args]
	jobs   *Jobs
	ring   *keyring.Keyring
	tables map[string]*sqlrows.Table
	opts   WorkerOptions
	limit  limiter
	batch  atomic.Int64 // rows of the next one
}

// NewWorker returns a worker for river.AddWorker, or for [Jobs.Config]. The tables are
// those of the program: of records and tables that it doesn't have it leaves the jobs to
// other workers.
func (j *Jobs) NewWorker(ring *keyring.Keyring, tables []*sqlrows.Table, opts *WorkerOptions) *Worker {
	w := &Worker{jobs: j, ring: ring, tables: make(map[string]*sqlrows.Table, len(tables))}
	if opts != nil {
		w.opts = *opts
	}
	w.opts.MaxBatch = cmp.Or(max(0, w.opts.MaxBatch), defaultMaxBatch)
	w.opts.Timeout = cmp.Or(max(0, w.opts.Timeout), defaultTimeout)
	w.limit.rate = max(0, w.opts.RowsPerSecond)
	w.batch.Store(int64(w.opts.MaxBatch))
	for _, t := range tables {
		w.tables[tableKey(t.Record().Label, t.Name())] = t
	}
	return w
}

func tableKey(record, table string) string { return record + " in " + table }

// Timeout implements [river.Worker].
func (w *Worker) Timeout(*river.Job[Args]) time.Duration { return w.opts.Timeout }

// NextRetry implements [river.Worker].
func (w *Worker) NextRetry(job *river.Job[Args]) time.Time {
	return time.Now().Add(backoff(job.Attempt - 1))
}

// Output is what a River job tells of its part.
type Output struct {
	Rows      int64    `json:"rows"`              // read
	Written   int64    `json:"written"`           // of them
	Conflicts int64    `json:"conflicts"`         // of them, that somebody else wrote meanwhile
	BadRows   int64    `json:"bad_rows"`          // left as they are
	Bad       []BadRow `json:"bad,omitempty"`     // the first 20 values of them
	Waiting   string   `json:"waiting,omitempty"` // why it was put off
}

// A BadRow is a value that was left as it is. It never holds the value.
type BadRow struct {
	Row   string `json:"row"`           // primary key
	Field string `json:"field"`         // path of labels
	Key   string `json:"key,omitempty"` // that the value names
	Error string `json:"error"`
}

const maxTold = 20

// state is what is known of a part.
type state struct {
	reached, upto string
	fields        []string // that the run does
	done          bool
	out           Output
}

// Work implements [river.Worker].
//
// A KMS, a store or a database that is away puts the job off, for up to a minute, and
// doesn't count as an attempt. rotate.ErrMismatch cancels it. Rows that can't be done
// are left, and told in its output.
func (w *Worker) Work(ctx context.Context, job *river.Job[Args]) error {
	err := w.work(ctx, job)
	var put *putOff
	if err != nil && w.opts.OnFailure != nil && !errors.Is(ctx.Err(), context.Canceled) && !(errors.As(err, &put) && put.soon) {
		w.opts.OnFailure(job.Args, err)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled): // stopped; what the driver says of it varies
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	case errors.As(err, &put) && put.soon:
		return river.JobSnooze(0)
	case errors.As(err, &put):
	case errors.Is(err, rotate.ErrMismatch), errors.Is(err, ErrNoRun), errors.Is(err, rotate.ErrBadRows):
		return river.JobCancel(err)
	case transient(err) || ctx.Err() != nil:
		put = &putOff{error: err}
	default:
		return err
	}
	if err := river.RecordOutput(ctx, Output{Waiting: put.Error()}); err != nil {
		return err
	}
	return river.JobSnooze(backoff(snoozes(job.Metadata)))
}

// A putOff is why a job has to wait: it isn't its fault.
type putOff struct {
	error
	soon bool // it only takes long
}

func (p *putOff) Unwrap() error { return p.error }

func (w *Worker) work(ctx context.Context, job *river.Job[Args]) error {
	a := job.Args
	if _, err := river.ClientFromContextSafely[*sql.Tx](ctx); err != nil {
		return &putOff{error: errors.New("the River client of this worker has no database/sql transactions: make it with the driver riverdatabasesql")}
	}
	table := w.tables[tableKey(a.Record, a.Table)]
	if table == nil || w.ring.Name() != a.Ring {
		return &putOff{error: fmt.Errorf("a worker has got the job that doesn't have record %s in table %s, or not in ring %s", a.Record, a.Table, a.Ring)}
	}
	kind, err := a.kind()
	if err != nil {
		return err
	}
	s, err := w.load(ctx, a)
	if err != nil || s.done {
		return err
	}
	if lacks := without(s.fields, fieldsOf(table)); len(lacks) > 0 {
		return &putOff{error: fmt.Errorf("a worker has got the job that leaves %s of table %s out", strings.Join(lacks, ", "), a.Table)}
	}
	p := &part{w: w, job: job, state: s}
	if p.Part, err = table.Steps(sqlrows.Range{After: s.reached, UpTo: s.upto}, p.note); err != nil {
		return err
	}
	size, paused := int(w.batch.Load()), ""
	for progress, e := range rotate.RunPart(ctx, w.ring, kind, table, p, &rotate.Options{
		Deterministic: a.Deterministic,
		Index:         w.opts.Index,
		BatchTime:     w.opts.BatchTime,
		MaxBatch:      w.opts.MaxBatch,
		FirstBatch:    size,
		MaxLag:        w.opts.MaxLag,
		MaxBad:        math.MaxInt, // that is the run's affair
		OnBad:         w.opts.OnBad,
	}) {
		err = e
		if e == nil {
			paused = progress.Paused
		}
		if e == nil && progress.Paused == "" && progress.Next > 0 {
			w.batch.Store(int64(progress.Next))
		}
	}
	switch {
	case p.state.done:
		return nil
	case err == nil:
		return errors.New("the part has ended without being done")
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && p.state.reached != s.reached:
		return &putOff{error: err, soon: true}
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && paused != "":
		return &putOff{error: errors.New(paused)}
	case errors.As(err, new(refusal)):
		return &putOff{error: err}
	case errors.Is(err, rotate.ErrLost):
		// Another one is at it, because this one was slow; or this one has committed and
		// doesn't know.
		if s, err = w.load(ctx, a); err == nil && !s.done {
			err = &putOff{error: errors.New("another worker has been at the same part")}
		}
		return err
	}
	return err
}

// load reads what is known of a part.
func (w *Worker) load(ctx context.Context, a Args) (s state, err error) {
	var told, fields string
	var bad, mayBe int64
	err = w.jobs.db.QueryRowContext(ctx, "SELECT p.reached, p.upto, p.done IS NOT NULL, p.seen, p.written, p.conflicts, p.bad, p.told, r.fields, r.bad, r.max_bad FROM "+
		w.jobs.parts+" p JOIN "+w.jobs.runs+" r ON r.run = p.run WHERE p.run = $1 AND p.part = $2", a.Run, a.Part).
		Scan(&s.reached, &s.upto, &s.done, &s.out.Rows, &s.out.Written, &s.out.Conflicts, &s.out.BadRows, &told, &fields, &bad, &mayBe)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s, fmt.Errorf("%w: %s, part %d of run %d isn't in the table of parts", ErrNoRun, a.name(), a.Part, a.Run)
	case err != nil:
		return s, fmt.Errorf("riverrows: %w", err)
	case bad >= mayBe && !s.done:
		return s, fmt.Errorf("stopped: %d %w, and %d may be; enqueue again to go on", bad, rotate.ErrBadRows, mayBe)
	}
	if err = json.Unmarshal([]byte(fields), &s.fields); err == nil && told != "" {
		err = json.Unmarshal([]byte(told), &s.out.Bad)
	}
	return s, err
}

// A part is one that a worker is at.
type part struct {
	rotate.Part
	w     *Worker
	job   *river.Job[Args]
	state state // that is durable
	next  state // that will be
}

// A refusal is that of a KMS, which isn't the fault of the rows. To rotate.RunPart it is
// as if the part were lost, so that it isn't tried again there.
type refusal struct{ error }

func (r refusal) Error() string { return "a KMS refuses a key: " + r.error.Error() }

func (r refusal) Unwrap() error { return r.error }

func (r refusal) Is(target error) bool { return target == rotate.ErrLost }

// Batch implements [rotate.Part].
func (p *part) Batch(ctx context.Context, limit int, change func(context.Context, []rotate.Row) error) (rotate.Batch, error) {
	limit, err := p.w.limit.wait(ctx, limit)
	if err != nil {
		return rotate.Batch{}, err
	}
	b, err := p.Part.Batch(ctx, limit, func(ctx context.Context, rows []rotate.Row) error {
		if err := change(ctx, rows); err != nil {
			return err
		}
		for i := range rows {
			for _, bad := range rows[i].Bad {
				if refused(bad) {
					return refusal{bad}
				}
			}
		}
		return nil
	})
	p.w.limit.giveBack(limit - b.Rows)
	if err != nil {
		return b, err
	}
	p.state = p.next
	if p.w.opts.OnStep != nil {
		p.w.opts.OnStep(Step{p.job.Args, b})
	}
	return b, nil
}

// note writes what a batch has done, in its transaction, and completes the job with the
// last one.
func (p *part) note(ctx context.Context, tx *sql.Tx, s sqlrows.Step) error {
	n := p.state
	n.reached, n.done = s.Reached, s.Done
	bad := n.add(s)
	told := ""
	if len(n.out.Bad) > 0 {
		text, err := json.Marshal(n.out.Bad)
		if err != nil {
			return err
		}
		told = string(text)
	}
	a, jobs := p.job.Args, p.w.jobs
	if bad > 0 { // the run before the part, as enqueuers lock them
		if _, err := tx.ExecContext(ctx, "UPDATE "+jobs.runs+" SET bad = bad + $2 WHERE run = $1", a.Run, bad); err != nil {
			return err
		}
	}
	result, err := tx.ExecContext(ctx, "UPDATE "+jobs.parts+" SET reached = $3, seen = $4, written = $5, conflicts = $6, bad = $7, told = $8, done = CASE WHEN $9 THEN clock_timestamp() END"+
		" WHERE run = $1 AND part = $2 AND reached = $10 AND done IS NULL", a.Run, a.Part, n.reached, n.out.Rows, n.out.Written, n.out.Conflicts, n.out.BadRows, told, n.done, p.state.reached)
	if err != nil {
		return err
	}
	switch met, err := result.RowsAffected(); {
	case err != nil:
		return err
	case met != 1:
		return rotate.ErrLost
	}
	if n.done {
		if err := river.RecordOutput(ctx, n.out); err != nil {
			return err
		}
		if _, err := river.JobCompleteTx[*riverdatabasesql.Driver](ctx, tx, p.job); err != nil {
			return err
		}
	}
	p.next = n
	return nil
}

// add adds a batch to the output, and returns how many rows of it were bad.
func (s *state) add(b sqlrows.Step) (bad int64) {
	o := &s.out
	o.Rows += int64(b.Rows)
	o.Written += int64(b.Written)
	o.Conflicts += int64(b.Conflicts)
	o.Bad = append([]BadRow{}, o.Bad...)
	last := ""
	for _, e := range b.Bad {
		if bad == 0 || e.Row != last { // those of a row are together
			bad++
			last = e.Row
		}
		if len(o.Bad) < maxTold {
			o.Bad = append(o.Bad, badRow(e))
		}
	}
	o.BadRows += bad
	return bad
}

func badRow(e *rotate.RowError) BadRow {
	b := BadRow{Row: e.Row, Field: e.Field, Error: strings.ToValidUTF8(strings.ReplaceAll(e.Err.Error(), "\x00", ""), "")}
	if e.KeyID != 0 {
		b.Key = fmt.Sprintf("%08x", e.KeyID)
	}
	return b
}

// backoff is how long to wait after so many failures: 1 s, 2 s and so on, up to a minute,
// with jitter.
func backoff(failures int) time.Duration {
	d := min(time.Second<<min(max(0, failures), 6), time.Minute)
	return d/2 + rand.N(d/2)
}

// snoozes is how often River has put a job off.
func snoozes(metadata []byte) int {
	var m struct {
		Snoozes int `json:"snoozes"`
	}
	_ = json.Unmarshal(metadata, &m) // 0, if it isn't there
	return m.Snoozes
}
