package rows

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/riverrows"
	"github.com/structseal/structseal/rotate/sqlrows"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

const riverSchema = "structseal_river"

// river returns the jobs in the database of a site, with their tables.
func (s *site) river(t testing.TB) *riverrows.Jobs {
	t.Helper()
	jobs, err := riverrows.New(s.db, &riverrows.Options{Schema: riverSchema, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing is to do
		if err := jobs.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return jobs
}

// hasten makes of a configuration one for tests, in which the job of a killed worker is
// given to another one soon.
func hasten(c *river.Config) *river.Config {
	c.FetchPollInterval, c.TestOnly = 50*time.Millisecond, true
	return c
}

// start starts a River client, until the test ends or stop is called.
func (s *site) start(t testing.TB, c *river.Config) (stop func()) {
	t.Helper()
	client, err := river.NewClient(riverdatabasesql.New(s.db), hasten(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := client.StopAndCancel(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// until polls the progress of a job until it is as wanted.
func until(t testing.TB, jobs *riverrows.Jobs, kind rotate.Kind, table *sqlrows.Table, deadline time.Duration, is func(*riverrows.Progress) bool) *riverrows.Progress {
	t.Helper()
	end := time.Now().Add(deadline)
	for {
		p, err := jobs.Progress(t.Context(), "app", kind, table, nil)
		if err != nil && time.Now().After(end) {
			t.Fatal(err)
		}
		if err == nil && is(p) {
			return p
		}
		if time.Now().After(end) {
			t.Fatalf("not in %v: %+v", deadline, p)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func isDone(p *riverrows.Progress) bool { return p.Done }

func enqueue(t testing.TB, jobs *riverrows.Jobs, kind rotate.Kind, table *sqlrows.Table, opts *riverrows.EnqueueOptions) *riverrows.Run {
	t.Helper()
	run, err := jobs.Enqueue(t.Context(), "app", kind, table, opts)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// rotated makes a new primary key, and returns the one before.
func rotated(t testing.TB, ring *keyring.Keyring) uint32 {
	t.Helper()
	old, err := ring.Primary(t.Context(), keyring.Data)
	if err == nil {
		_, err = ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	return old.ID()
}

// none fails if a value names a key.
func none(t testing.TB, ring *keyring.Keyring, table *sqlrows.Table, key uint32) {
	t.Helper()
	report, census, err := rotate.Verify(t.Context(), ring, []rotate.Source{table}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if left := census.Counted(key); left != 0 {
		t.Errorf("%d values name the old key:\n%v", left, report)
	}
}

func (s *site) count(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A quiet table: enqueued twice, which is once; worked on, done; then anew, which writes
// nothing. A backfill is a job of its own.
func TestRiver(t *testing.T) {
	const n = 2500
	s := postgres(t)
	ctx, ring, jobs, table := t.Context(), s.ring(t), s.river(t), s.table(t, nil)
	if _, err := jobs.Progress(ctx, "app", rotate.Reencrypt, table, nil); !errors.Is(err, riverrows.ErrNoRun) {
		t.Errorf("before the first run: %v", err)
	}
	s.fill(t, ring, 1, n)
	old := rotated(t, ring)
	opts := &riverrows.EnqueueOptions{RowsPerJob: 200}
	first, again := enqueue(t, jobs, rotate.Reencrypt, table, opts), enqueue(t, jobs, rotate.Reencrypt, table, opts)
	if first.Joined || first.Parts != 13 || first.Revived != 0 || !again.Joined || again.Revived != 0 || again.ID != first.ID || again.Parts != first.Parts {
		t.Errorf("%+v, and again %+v", first, again)
	}
	if queued := s.count(t, "SELECT count(*) FROM structseal_river.river_job"); queued != 13 {
		t.Errorf("%d jobs of River", queued)
	}
	p, err := jobs.Progress(ctx, "app", rotate.Reencrypt, table, nil)
	if err != nil || !p.Handed || p.Done || p.Stopped || p.Ready != 13 || p.Rows != 0 || p.Ended != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	var told, begun atomic.Int64 // rows, transactions that weren't the last ones of their parts
	step := func(step riverrows.Step) {
		told.Add(int64(step.Rows))
		if !step.Done {
			begun.Add(1)
			return
		}
		// The transaction is over, and the worker hasn't returned: the job is completed already.
		var state string
		err := s.db.QueryRow("SELECT state FROM structseal_river.river_job WHERE (args->>'run')::bigint = $1 AND (args->>'part')::bigint = $2", step.Run, step.Part).Scan(&state)
		if err != nil || state != "completed" {
			t.Errorf("part %d is done, and its job %s, %v", step.Part, state, err)
		}
	}
	stop := s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, &riverrows.WorkerOptions{OnStep: step, MaxBatch: 200, BatchTime: time.Hour}), 4))
	p = until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone)
	if p.Rows != n || p.Written != n || p.BadRows != 0 || p.Parts != 13 || p.Ended != 13 || p.Running+p.Ready+p.Waiting+p.Failed != 0 || p.Elapsed <= 0 || told.Load() != n {
		t.Errorf("%+v; told of %d rows", p, told.Load())
	}
	if begun.Load() != 0 {
		t.Errorf("%d parts of a batch's size took more than one transaction", begun.Load())
	}
	s.check(t, ring, n, func(int64) int { return 0 })
	none(t, ring, table, old)
	// River's cleaner has deleted what it completed: nothing is forgotten.
	execute(t, s.db, "DELETE FROM structseal_river.river_job WHERE state = 'completed'")
	if p, err := jobs.Progress(ctx, "app", rotate.Reencrypt, table, nil); err != nil || !p.Done || p.Rows != n {
		t.Errorf("%+v, %v", p, err)
	}
	anew := enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 1000})
	if anew.Joined || anew.ID == first.ID || anew.Parts != 3 {
		t.Errorf("%+v", anew)
	}
	if p := until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone); p.Run != anew.ID || p.Written != 0 || p.Rows != n {
		t.Errorf("%+v", p)
	}
	s.insertPlain(t, n+1, n+50)
	enqueue(t, jobs, rotate.Backfill, table, nil)
	if p := until(t, jobs, rotate.Backfill, table, time.Minute, isDone); p.Written != 50 || p.Rows != n+50 {
		t.Errorf("%+v", p)
	}
	stop()
	s.check(t, ring, n+50, func(int64) int { return 0 })
	if open := s.count(t, "SELECT count(*) FROM structseal_river.structseal_river_parts WHERE done IS NULL"); open != 0 {
		t.Errorf("%d parts are open", open)
	}
}

// The rows, the part and the River job are one transaction: where it is rolled back,
// none of them is done.
func TestRiverIsOneTransaction(t *testing.T) {
	const n = 300
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	s.fill(t, ring, 1, n)
	old := rotated(t, ring)
	// The second part's COMMIT fails, after all has been written.
	execute(t, s.db,
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM refusing) THEN RAISE 'refused'; END IF; RETURN NULL; END $$`,
		`CREATE TABLE refusing (x int)`, `INSERT INTO refusing VALUES (1)`,
		`CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON structseal_river.structseal_river_parts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.part = 2) EXECUTE FUNCTION refuse()`)
	enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 100, MaxAttempts: 1})
	s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, nil), 2))
	p := until(t, jobs, rotate.Reencrypt, table, 2*time.Minute, func(p *riverrows.Progress) bool { return p.Stopped })
	if p.Failed != 1 || p.Ended != 3 || p.Rows != 200 || len(p.Failures) != 1 || p.Failures[0].Part != 2 || p.Failures[0].State != "discarded" || !strings.Contains(p.Failures[0].Error, "refused") {
		t.Errorf("%+v", p)
	}
	_, census, err := rotate.Verify(t.Context(), ring, []rotate.Source{table}, nil)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for id, row := range s.read(t) {
		values, err := structseal.Inspect(row)
		if err != nil {
			t.Fatal(err)
		}
		key := values[0].KeyID
		if in := id > 100 && id <= 200; in != (key == old) {
			t.Fatalf("row %d is under key %08x", id, key)
		}
		if key == old {
			left++
		}
	}
	if left != 100 || census.Counted(old) == 0 {
		t.Errorf("%d rows under the old key", left)
	}
	if done := s.count(t, "SELECT count(*) FROM structseal_river.river_job WHERE state = 'completed'"); done != 3 {
		t.Errorf("%d jobs completed", done)
	}
	// The reason is gone: the next enqueuer gives the part a new job.
	execute(t, s.db, "DELETE FROM refusing")
	if run := enqueue(t, jobs, rotate.Reencrypt, table, nil); !run.Joined || run.Revived != 1 {
		t.Errorf("%+v", run)
	}
	if p := until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone); p.Rows != n || p.Written != n {
		t.Errorf("%+v", p)
	}
	none(t, ring, table, old)
}

// Jobs that were deleted or cancelled leave their parts open, and the run isn't called
// done. The next enqueuer finds them.
func TestRiverLostJobs(t *testing.T) {
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	s.fill(t, ring, 1, 1000)
	old := rotated(t, ring)
	enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 100})
	execute(t, s.db, "DELETE FROM structseal_river.river_job WHERE id % 3 = 0",
		"UPDATE structseal_river.river_job SET state = 'cancelled', finalized_at = now() WHERE id % 3 = 1")
	s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, nil), 2))
	p := until(t, jobs, rotate.Reencrypt, table, time.Minute, func(p *riverrows.Progress) bool { return p.Stopped })
	if p.Done || p.Failed != 7 || p.Ended != 4 || len(p.Failures) != 5 {
		t.Errorf("%+v", p)
	}
	if run := enqueue(t, jobs, rotate.Reencrypt, table, nil); run.Revived != 7 {
		t.Errorf("%+v", run)
	}
	if p := until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone); p.Written != 1000 {
		t.Errorf("%+v", p)
	}
	none(t, ring, table, old)
}

// Bad rows are left and told, by key and not by value; too many of them stop the run.
func TestRiverBadRows(t *testing.T) {
	const n = 1000
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	s.fill(t, ring, 1, n)
	rotated(t, ring)
	for id := int64(10); id <= 300; id += 10 { // of another row
		execute1(t, s, "UPDATE customers SET email = (SELECT email FROM customers WHERE id = ?) WHERE id = ?", id+1, id)
	}
	var told sync.Map
	enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 100})
	s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, &riverrows.WorkerOptions{OnBad: func(e *rotate.RowError) { told.Store(e.Row, true) }}), 2))
	p := until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone)
	if p.BadRows != 30 || p.Written != n-30 || p.Rows != n || len(p.Bad) != 20 || p.Failed != 0 {
		t.Errorf("%+v", p)
	}
	for _, b := range p.Bad {
		if !strings.HasSuffix(b.Row, "0") || b.Field != "customer.email" || b.Key == "" || b.Error == "" || strings.Contains(b.Error, "s1.") {
			t.Errorf("%+v", b)
		}
	}
	rows := 0
	told.Range(func(any, any) bool { rows++; return true })
	if rows != 30 {
		t.Errorf("told of %d rows", rows)
	}
	// The same in River's own table.
	if out := s.count(t, "SELECT sum((metadata->'output'->>'bad_rows')::int) FROM structseal_river.river_job"); out != 30 {
		t.Errorf("%d bad rows in the outputs of the jobs", out)
	}
	if out := s.count(t, "SELECT count(*) FROM structseal_river.river_job, jsonb_array_elements(metadata->'output'->'bad') AS b WHERE b->>'field' = 'customer.email'"); out != 30 {
		t.Errorf("%d values in the outputs of the jobs", out)
	}
	// Ten may be, of thirty.
	enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 100, MaxBad: 10})
	p = until(t, jobs, rotate.Reencrypt, table, time.Minute, func(p *riverrows.Progress) bool { return p.Done || p.Stopped })
	if p.Done || p.Failed == 0 || p.BadRows < 10 || !strings.Contains(p.Failures[0].Error, rotate.ErrBadRows.Error()) {
		t.Errorf("%+v", p)
	}
	if run := enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{MaxBad: 100}); run.Revived != p.Failed {
		t.Errorf("%+v", run)
	}
	until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone)
}

// faulty is a KMS that is away, refuses or hangs.
type faulty struct {
	kmsprovider.Provider
	fault atomic.Pointer[error]
	hangs atomic.Bool
	asked atomic.Int64
}

func (f *faulty) Unwrap(ctx context.Context, wrapped []byte, b kmsprovider.Context) ([]byte, error) {
	f.asked.Add(1)
	if f.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := f.fault.Load(); err != nil {
		return nil, *err
	}
	return f.Provider.Unwrap(ctx, wrapped, b)
}

// A KMS that is away, hangs or refuses puts jobs off, doesn't use up their attempts, and
// leaves no row as bad.
func TestRiverOutage(t *testing.T) {
	away, denied := error(kmsprovider.ErrUnavailable), error(kmsprovider.ErrDenied)
	for name, c := range map[string]struct {
		fault *error
		hangs bool
		says  string
	}{
		"away":    {&away, false, "unavailable"},
		"refuses": {&denied, false, "refuses"},
		"hangs":   {nil, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait
			const n = 399
			s := postgres(t)
			ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
			s.fill(t, ring, 1, n)
			old := rotated(t, ring)
			kms := &faulty{Provider: s.kms}
			cold, err := keyring.Open(t.Context(), "app", s.store, kms, s.pin, &keyring.OpenOptions{CallTimeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cold.Close() })
			kms.fault.Store(c.fault)
			kms.hangs.Store(c.hangs)
			enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 100, MaxAttempts: 1})
			s.start(t, jobs.Config(jobs.NewWorker(cold, []*sqlrows.Table{table}, nil), 2))
			p := until(t, jobs, rotate.Reencrypt, table, 2*time.Minute, func(p *riverrows.Progress) bool { return p.Waiting >= 2 && p.Why != "" })
			if p.Failed != 0 || p.BadRows != 0 || p.Rows != 0 || !strings.Contains(p.Why, c.says) || strings.Contains(p.Why, rotate.ErrLost.Error()) {
				t.Errorf("%+v", p)
			}
			kms.fault.Store(nil)
			kms.hangs.Store(false)
			p = until(t, jobs, rotate.Reencrypt, table, 2*time.Minute, isDone)
			if p.Failed != 0 || p.BadRows != 0 || p.Written != n {
				t.Errorf("%+v", p)
			}
			none(t, ring, table, old)
		})
	}
}

// What won't go away by itself ends a job at once, and says why.
func TestRiverMismatch(t *testing.T) {
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	s.fill(t, ring, 1, 300)
	rotated(t, ring)
	enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 100})
	execute(t, s.db, "UPDATE structseal_river.structseal_river_parts SET reached = '[1,2]' WHERE part = 2")
	stop := s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, nil), 2))
	p := until(t, jobs, rotate.Reencrypt, table, time.Minute, func(p *riverrows.Progress) bool { return p.Stopped })
	if p.Failed != 1 || p.Failures[0].State != "cancelled" || !strings.Contains(p.Failures[0].Error, "position") {
		t.Errorf("%+v", p)
	}
	stop()
	// A worker of another program leaves it to others.
	execute(t, s.db, "DELETE FROM structseal_river.structseal_river_runs")
	enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 100})
	stop = s.start(t, jobs.Config(jobs.NewWorker(ring, nil, nil), 2))
	p = until(t, jobs, rotate.Reencrypt, table, time.Minute, func(p *riverrows.Progress) bool { return p.Waiting >= 2 })
	if !strings.Contains(p.Why, "customers") || p.Failed != 0 {
		t.Errorf("%+v", p)
	}
	stop()
	s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, nil), 2))
	until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone)
}

// A worker that leaves fields out doesn't call a part done that has them, and a run isn't
// joined by who wants other fields done.
func TestRiverFields(t *testing.T) {
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	s.fill(t, ring, 1, 300)
	old := rotated(t, ring)
	enqueue(t, jobs, rotate.Reencrypt, table, nil)
	fewer := s.table(t, &sqlrows.Options{Without: []string{"phone"}})
	stop := s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{fewer}, nil), 1))
	p := until(t, jobs, rotate.Reencrypt, table, time.Minute, func(p *riverrows.Progress) bool { return p.Waiting == 1 })
	if !strings.Contains(p.Why, "customer.phone") || p.Rows != 0 {
		t.Errorf("%+v", p)
	}
	stop()
	if _, err := jobs.Enqueue(t.Context(), "app", rotate.Reencrypt, fewer, nil); !errors.Is(err, rotate.ErrMismatch) {
		t.Errorf("enqueued with fewer fields: %v", err)
	}
	stop = s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, nil), 1))
	until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone)
	none(t, ring, table, old)
	// The other way round is fine: the worker does more.
	enqueue(t, jobs, rotate.Reencrypt, fewer, nil)
	until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone)
	stop()
}

// Workers that begin together in a new database make the tables once.
func TestRiverMigrateAtOnce(t *testing.T) {
	s := postgres(t)
	jobs, err := riverrows.New(s.db, &riverrows.Options{Schema: riverSchema, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if err := jobs.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if done, err := jobs.Migrated(t.Context()); err != nil || !done {
		t.Errorf("%v, %v", done, err)
	}
}

// The rate is that of a worker, all of its jobs together, and a job that takes longer than
// a batch goes on where it was.
func TestRiverRate(t *testing.T) {
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	s.fill(t, ring, 1, 600)
	rotated(t, ring)
	enqueue(t, jobs, rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 150})
	worker := func(rate int) *river.Config {
		return jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, &riverrows.WorkerOptions{RowsPerSecond: rate}), 4)
	}
	begin := time.Now()
	stop := s.start(t, worker(100))
	p := until(t, jobs, rotate.Reencrypt, table, time.Minute, func(p *riverrows.Progress) bool { return p.Rows >= 200 })
	if took := time.Since(begin); took < time.Second {
		t.Errorf("%d rows in %v", p.Rows, took)
	}
	stop() // in the middle of parts
	// So does one that takes longer than its time: it isn't counted as failed, and not put off.
	stop = s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, &riverrows.WorkerOptions{RowsPerSecond: 100, MaxBatch: 10, Timeout: 300 * time.Millisecond}), 1))
	slow := until(t, jobs, rotate.Reencrypt, table, time.Minute, func(q *riverrows.Progress) bool { return q.Rows >= p.Rows+100 })
	stop()
	if slow.Waiting+slow.Failed != 0 || s.count(t, "SELECT count(*) FROM structseal_river.river_job WHERE metadata->>'snoozes' <> '' AND attempt <= 1") == 0 {
		t.Errorf("%+v", slow)
	}
	before, err := jobs.Progress(t.Context(), "app", rotate.Reencrypt, table, nil)
	if err != nil || before.Running != 0 || before.Failed != 0 {
		t.Fatalf("%+v, %v", before, err)
	}
	s.start(t, worker(0))
	if p := until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone); p.Rows != 600 || p.Written != 600 {
		t.Errorf("%+v", p) // none is read twice
	}
}

// Rows that are added behind the last one while a run is under way are done with it, and
// so is an empty table.
func TestRiverLastPartIsOpen(t *testing.T) {
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	enqueue(t, jobs, rotate.Reencrypt, table, nil)
	s.fill(t, ring, 1, 5000)
	old := rotated(t, ring)
	s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, &riverrows.WorkerOptions{MaxBatch: 300}), 2))
	if p := until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone); p.Parts != 1 || p.Written != 5000 {
		t.Errorf("%+v", p)
	}
	none(t, ring, table, old)
	s.check(t, ring, 5000, func(int64) int { return 0 })
}

// Enqueuers at the same time make one run, each part once.
func TestRiverEnqueuersAtOnce(t *testing.T) {
	s := postgres(t)
	ring, jobs, table := s.ring(t), s.river(t), s.table(t, nil)
	s.fill(t, ring, 1, 5000)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := jobs.Enqueue(t.Context(), "app", rotate.Reencrypt, table, &riverrows.EnqueueOptions{RowsPerJob: 10}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.parts(t)
	if n := s.count(t, "SELECT count(*) FROM structseal_river.river_job"); n != 501 {
		t.Errorf("%d jobs", n)
	}
	s.start(t, jobs.Config(jobs.NewWorker(ring, []*sqlrows.Table{table}, nil), 4))
	if p := until(t, jobs, rotate.Reencrypt, table, time.Minute, isDone); p.Rows != 5000 || p.Parts != 501 {
		t.Errorf("%+v", p)
	}
}

// parts fails if the parts of the only run leave something out, or overlap: each begins
// where the one before ends, the first one at the begin, the last one without an end.
func (s *site) parts(t testing.TB) {
	t.Helper()
	list, err := s.db.QueryContext(t.Context(), "SELECT p.part, p.reached, p.upto, count(j.id) FROM structseal_river.structseal_river_parts p LEFT JOIN structseal_river.river_job j ON (j.args->>'run')::bigint = p.run AND (j.args->>'part')::bigint = p.part GROUP BY 1, 2, 3 ORDER BY p.part")
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	end, n := "", int64(0)
	for list.Next() {
		var part int64
		var reached, upto string
		var jobs int
		if err := list.Scan(&part, &reached, &upto, &jobs); err != nil {
			t.Fatal(err)
		}
		if n++; part != n || reached != end || jobs != 1 || n > 1 && reached == "" {
			t.Fatalf("part %d from %q to %q with %d jobs, behind part %d to %q", part, reached, upto, jobs, n-1, end)
		}
		end = upto
	}
	if err := list.Err(); err != nil || end != "" || n == 0 {
		t.Fatalf("%d parts, the last one to %q: %v", n, end, err)
	}
}
