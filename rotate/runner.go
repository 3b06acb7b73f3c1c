package rotate

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/structseal/structseal/keyring"
)

// A runner is one Run.
type runner struct {
	worker
	opts  Options
	job   Job
	yield func(Progress, error) bool

	p       Progress
	start   time.Time
	size    int // rows of the next batch
	pace    pace
	all     allWorkers
	tries   attempts
	failure error   // the last one
	badRows []error // the first few
}

func newRunner(ring *keyring.Keyring, kind Kind, source Source, opts *Options) (*runner, error) {
	if opts == nil {
		opts = new(Options)
	}
	if ring == nil || source == nil {
		return nil, fmt.Errorf("rotate: %w: no ring or no source", ErrMismatch)
	}
	r := &runner{opts: *opts, start: time.Now()}
	o := &r.opts
	o.To = cmp.Or(o.To, ring)
	o.BatchTime = cmp.Or(max(0, o.BatchTime), defaultBatchTime)
	o.MaxBatch = cmp.Or(max(0, o.MaxBatch), defaultMaxBatch)
	o.MaxErrorRate = cmp.Or(max(0, o.MaxErrorRate), defaultMaxErrors)
	o.MaxBad = cmp.Or(max(0, o.MaxBad), defaultMaxBad)
	o.Lease = cmp.Or(max(0, o.Lease), defaultLease)
	o.Worker = cmp.Or(o.Worker, rand.Text()[:10])
	if kind != Reencrypt && o.To != ring {
		return nil, fmt.Errorf("rotate: %w: a %v into another ring", ErrMismatch, kind)
	}
	if kind < Reencrypt || kind > Sweep {
		return nil, fmt.Errorf("rotate: %w: %v", ErrMismatch, kind)
	}
	r.worker = worker{kind: kind, source: source, from: ring, to: o.To, det: o.Deterministic || kind == Backfill, index: o.Index}
	var err error
	if r.old, err = newLayout(source.Record(), ring.Name()); err != nil {
		return nil, fmt.Errorf("rotate: %s: %w", source.Name(), err)
	}
	if r.new = r.old; o.To != ring {
		if r.new, err = newLayout(source.Record(), o.To.Name()); err != nil {
			return nil, fmt.Errorf("rotate: %s: %w", source.Name(), err)
		}
	}
	if err := checkIndexes(kind, r.old, o.Index); err != nil {
		return nil, fmt.Errorf("rotate: %s: %w", source.Name(), err)
	}
	id := kind.String() + " " + ring.Name() + "/" + r.old.record.Label
	if o.To != ring {
		id += " to " + o.To.Name()
	}
	r.job = Job{ID: id, Worker: o.Worker, Lease: o.Lease}
	r.p = Progress{Source: source.Name(), Kind: kind.String(), Worker: o.Worker, All: -1, Estimate: -1, Left: -1}
	r.size = min(cmp.Or(max(0, o.FirstBatch), firstBatch), o.MaxBatch)
	return r, nil
}

// now is the progress at this moment.
func (r *runner) now() Progress {
	p := r.p
	p.Elapsed, p.Next = time.Since(r.start), r.size
	p.Rate = r.pace.rate()
	if limit := float64(r.opts.RowsPerSecond); limit > 0 {
		p.Rate = min(p.Rate, limit) // the first batches come faster
	}
	done, rate := p.Rows, p.Rate
	if p.All > p.Rows { // others are at it, or were
		rate = cmp.Or(r.all.pace.rate(), rate)
	}
	done = max(done, p.All)
	if rate > 0 && p.Estimate >= done {
		p.Left = time.Duration(float64(p.Estimate-done) / rate * float64(time.Second))
	}
	return p
}

func (r *runner) tell() error {
	if !r.yield(r.now(), nil) {
		return errStopped
	}
	return nil
}

// run works on one part after the other.
func (r *runner) run(ctx context.Context) error {
	if n, err := r.source.Estimate(ctx); err == nil {
		r.p.Estimate = n
	}
	for {
		var part Part
		err := r.persist(ctx, func() (err error) {
			part, err = r.source.Claim(ctx, &r.job)
			return err
		})
		switch {
		case errors.Is(err, ErrDone):
			return r.end()
		case errors.Is(err, ErrBusy):
			r.countAll(ctx, 0)
			if err := r.pause(ctx, busyWait, "others work on the rest"); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		r.countAll(ctx, 0)
		err = r.work(ctx, part)
		if !errors.Is(err, ErrLost) {
			// Also when ctx has ended: the next worker needn't wait for the lease.
			free, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			_ = part.Release(free)
			cancel()
		}
		if err != nil && !errors.Is(err, ErrLost) {
			return err
		}
	}
}

// end tells that all is done, or what was left.
func (r *runner) end() error {
	if len(r.badRows) > 0 {
		return fmt.Errorf("rotate: %s: %d %w: %w", r.source.Name(), r.p.BadRows, ErrBadRows, errors.Join(r.badRows...))
	}
	r.p.Done = true
	return r.tell()
}

// work does the batches of a part.
func (r *runner) work(ctx context.Context, part Part) error {
	for {
		if err := r.wait(ctx); err != nil {
			return err
		}
		found := make(map[string]tally) // by row, of the attempt that was committed
		var done Batch
		begin := time.Now()
		err := r.persist(ctx, func() (err error) {
			clear(found)
			begin = time.Now()
			done, err = part.Batch(ctx, r.size, func(ctx context.Context, rows []Row) error {
				tallies, err := r.change(ctx, rows)
				for i := range tallies {
					found[rows[i].Key] = tallies[i] // the last time counts
				}
				return err
			})
			r.tries.add(err)
			if err != nil && !errors.Is(err, ErrLost) {
				r.failure = err
				r.size = max(leastBatch, r.size/2) // it may have been too much: locks, memory
			}
			return err
		})
		if err != nil {
			return err
		}
		r.count(done, found, time.Since(begin))
		r.countAll(ctx, done.Rows)
		if err := r.tell(); err != nil {
			return err
		}
		if r.p.BadRows >= int64(r.opts.MaxBad) {
			return fmt.Errorf("rotate: %s: stopped, %d %w: %w", r.source.Name(), r.p.BadRows, ErrBadRows, errors.Join(r.badRows...))
		}
		if done.Done {
			return nil
		}
	}
}

// count adds a batch to the progress, and chooses the size of the next one.
func (r *runner) count(done Batch, found map[string]tally, took time.Duration) {
	p := &r.p
	p.Batch = done.Rows
	p.Rows += int64(done.Rows)
	p.Written += int64(done.Written)
	p.Conflicts += int64(done.Conflicts)
	for _, t := range found {
		p.Sealed += int64(t.changed)
		p.Current += int64(t.current)
		p.Null += int64(t.null)
		p.Plaintext += int64(t.plain)
		p.Forgotten += int64(t.forgotten)
		p.Indexes += int64(t.indexes)
		if len(t.bad) > 0 {
			p.BadRows++
		}
		for _, bad := range t.bad {
			if len(r.badRows) < 5 {
				r.badRows = append(r.badRows, bad)
			}
			if r.opts.OnBad != nil {
				r.opts.OnBad(bad)
			}
		}
	}
	r.pace.add(done.Rows)
	switch {
	case took > r.opts.BatchTime:
		r.size = max(leastBatch, r.size/2)
	case took < r.opts.BatchTime/2 && done.Rows == r.size:
		r.size = min(r.opts.MaxBatch, r.size*3/2+1)
	}
}

// allWorkers is what is known of them all.
type allWorkers struct {
	pace  pace
	asked time.Time
	rows  int64 // at that time
}

// countAll adds rows of this worker to those of all, or asks the source, now and then.
// An answer that fails is left out: the next one will do.
func (r *runner) countAll(ctx context.Context, rows int) {
	if r.p.All >= 0 {
		r.p.All += int64(rows)
	}
	source, ok := r.source.(Counting)
	if !ok || time.Since(r.all.asked) < countWait {
		return
	}
	if n, err := source.Counted(ctx, &r.job); err == nil {
		r.all.pace.add(int(n - r.all.rows))
		r.all.rows, r.p.All = n, n
	}
	r.all.asked = time.Now()
}

// persist tries until fn succeeds, or has failed too often in a row. What won't go
// away by itself ends it at once.
func (r *runner) persist(ctx context.Context, fn func() error) error {
	wait := failureWait
	for n := 1; ; n++ {
		err := fn()
		if err == nil || errors.Is(err, ErrDone) || errors.Is(err, ErrBusy) || errors.Is(err, ErrLost) || errors.Is(err, ErrMismatch) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n == maxFailures {
			return fmt.Errorf("rotate: %s: given up after %d attempts: %w", r.source.Name(), n, err)
		}
		if err := r.pause(ctx, wait, err.Error()); err != nil {
			return err
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// pause waits and says why.
func (r *runner) pause(ctx context.Context, d time.Duration, why string) error {
	r.p.Paused = why
	err := r.tell()
	r.p.Paused = ""
	if err != nil {
		return err
	}
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait keeps to the rate, and waits for replicas, and for a database in trouble.
func (r *runner) wait(ctx context.Context) error {
	if rate := r.tries.rate(); rate > r.opts.MaxErrorRate {
		why := fmt.Sprintf("%.0f %% of the last %d batches failed, the last one with: %v", 100*rate, len(r.tries.failed), r.failure)
		r.tries = attempts{}
		if err := r.pause(ctx, errorWait, why); err != nil {
			return err
		}
	}
	if r.opts.RowsPerSecond > 0 {
		if d := r.pace.ahead(r.p.Rows, r.opts.RowsPerSecond, r.start); d > 0 {
			if err := sleep(ctx, d); err != nil {
				return err
			}
		}
		r.size = min(r.size, max(1, r.opts.RowsPerSecond))
	}
	replicated, ok := r.source.(Lagging)
	if !ok || r.opts.MaxLag <= 0 {
		return ctx.Err()
	}
	for {
		lag, err := replicated.Lag(ctx)
		if err != nil {
			return fmt.Errorf("rotate: %s: how far replicas are behind: %w", r.source.Name(), err)
		}
		if lag <= r.opts.MaxLag {
			return ctx.Err()
		}
		if err := r.pause(ctx, lagWait, fmt.Sprintf("a replica is %v behind", lag.Round(time.Millisecond))); err != nil {
			return err
		}
	}
}
