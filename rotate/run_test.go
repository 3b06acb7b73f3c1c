package rotate_test

import (
	"context"
	"crypto/fips140"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
)

// inTime runs a test in virtual time, on a source of plaintext.
func inTime(t *testing.T, rows int, f func(t *testing.T, ring *keyring.Keyring, m *memory)) {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("randomness of fips140=only isn't for virtual time")
	}
	synctest.Test(t, func(t *testing.T) {
		ring, _, err := keyring.Create(t.Context(), "app", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ring.Close()
		f(t, ring, &memory{values: slices.Repeat([]string{"text"}, rows)})
	})
}

func backfill(t *testing.T, ring *keyring.Keyring, m *memory, opts *rotate.Options) (list []rotate.Progress, err error) {
	t.Helper()
	for p, e := range rotate.Run(t.Context(), ring, rotate.Backfill, m, opts) {
		list, err = append(list, p), e
	}
	return list, err
}

// A limit of rows a second holds over the whole job, from the first batch on.
func TestRowsPerSecond(t *testing.T) {
	inTime(t, 5000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		begin := time.Now()
		list, err := backfill(t, ring, m, &rotate.Options{RowsPerSecond: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			if allowed := 100 * (p.Elapsed.Seconds() + 1); float64(p.Rows) > allowed {
				t.Fatalf("%d rows after %v", p.Rows, p.Elapsed)
			}
		}
		if d := time.Since(begin); d < 48*time.Second || d > 51*time.Second {
			t.Errorf("5,000 rows took %v", d)
		}
		if p := list[len(list)-2]; p.Rate < 90 || p.Rate > 110 {
			t.Errorf("rate %v", p.Rate)
		}
		if p := list[len(list)/2]; p.Left < 20*time.Second || p.Left > 30*time.Second {
			t.Errorf("halfway: %v left", p.Left)
		}
	})
}

// A database that fails now and then has others who suffer: the job pauses, though each
// batch is done at the second attempt.
func TestErrorRate(t *testing.T) {
	inTime(t, 3000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		deadlock := errors.New("deadlock detected")
		m.before = func(attempt int) error {
			if attempt%2 == 1 {
				return deadlock
			}
			return nil
		}
		paused := func(max float64) (pauses int, took time.Duration) {
			m.values, m.reached, m.batch = slices.Repeat([]string{"text"}, 3000), 0, 0
			begin := time.Now()
			list, err := backfill(t, ring, m, &rotate.Options{MaxErrorRate: max, MaxBatch: 60})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list {
				if strings.Contains(p.Paused, "% of the last 20 batches failed") && strings.Contains(p.Paused, "deadlock") {
					pauses++
				}
			}
			return pauses, time.Since(begin)
		}
		if n, took := paused(0); n < 4 || took < time.Duration(n)*10*time.Second {
			t.Errorf("%d pauses in %v", n, took)
		}
		if n, took := paused(0.6); n != 0 || took > time.Minute {
			t.Errorf("half may fail: %d pauses, %v", n, took)
		}
	})
}

// How long it will take is sane from the first batches on, which are small and come fast.
func TestTimeLeft(t *testing.T) {
	inTime(t, 3000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		list, err := backfill(t, ring, m, &rotate.Options{RowsPerSecond: 300})
		if err != nil {
			t.Fatal(err)
		}
		known := 0
		for _, p := range list[:len(list)-1] {
			if p.Rate == 0 {
				continue
			}
			known++
			if want := time.Duration(3000-p.Rows) * time.Second / 300; p.Left < want*9/10-time.Second/2 || p.Left > want*11/10+time.Second/2 {
				t.Errorf("%v left after %d rows, at %.0f a second", p.Left, p.Rows, p.Rate)
			}
		}
		if known < 8 {
			t.Errorf("known %d times of %d", known, len(list))
		}
	})
}

// Batches grow until they take as long as they may, and shrink when they take longer.
func TestBatchesAdapt(t *testing.T) {
	inTime(t, 20_000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		perRow := time.Millisecond
		m.before = func(batch int) error {
			if batch == 40 {
				perRow = 10 * time.Millisecond // somebody else is busy
			}
			time.Sleep(time.Duration(m.rows) * perRow)
			return nil
		}
		list, err := backfill(t, ring, m, &rotate.Options{BatchTime: 200 * time.Millisecond, MaxBatch: 500})
		if err != nil {
			t.Fatal(err)
		}
		most, least := 0, 1<<30
		for i, p := range list[:len(list)-2] {
			if i > 5 && i < 38 {
				most = max(most, p.Batch)
			}
			if i > 50 {
				least = min(least, p.Batch)
			}
		}
		if most < 100 || most > 200 || least > 20 || least < 5 {
			t.Errorf("batches of up to %d rows at 1 ms each, down to %d at 10 ms", most, least)
		}
	})
}

// The job waits while a replica is behind, and says so.
func TestWaitsForReplicas(t *testing.T) {
	inTime(t, 1000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		begin := time.Now()
		m.lag = func() time.Duration {
			if d := time.Since(begin); d < time.Minute {
				return time.Minute - d
			}
			return 0
		}
		list, err := backfill(t, ring, m, &rotate.Options{MaxLag: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d < 50*time.Second || d > 52*time.Second || !strings.Contains(list[0].Paused, "behind") || list[0].Rows != 0 {
			t.Errorf("took %v; first %+v", d, list[0])
		}
	})
}

// A source that fails now and then is asked again, with smaller batches; one that goes
// on failing ends the job, which can be resumed.
func TestSourcesThatFail(t *testing.T) {
	broken := errors.New("connection refused")
	inTime(t, 1000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		m.before = func(batch int) error {
			if batch%3 == 0 {
				return broken
			}
			return nil
		}
		list, err := backfill(t, ring, m, nil)
		if last := list[len(list)-1]; err != nil || !last.Done || last.Written != 1000 || last.Sealed != 1000 {
			t.Fatalf("%+v, %v", list[len(list)-1], err)
		}
	})
	inTime(t, 1000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		m.before = func(batch int) error {
			if batch > 2 {
				return broken
			}
			return nil
		}
		begin := time.Now()
		list, err := backfill(t, ring, m, nil)
		if !errors.Is(err, broken) || list[len(list)-1].Done || m.batch != 10 {
			t.Fatalf("%d batches, %v", m.batch, err)
		}
		if d := time.Since(begin); d < 10*time.Second || d > time.Minute {
			t.Errorf("given up after %v", d)
		}
		m.before = nil
		done := list[len(list)-1].Written
		list, err = backfill(t, ring, m, nil)
		if last := list[len(list)-1]; err != nil || last.Written != 1000-done {
			t.Errorf("%+v, %v", last, err)
		}
	})
}

// Leaving the loop ends the job after a batch that is durable; a context that ends
// rolls the batch back.
func TestStops(t *testing.T) {
	inTime(t, 1000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		for p, err := range rotate.Run(t.Context(), ring, rotate.Backfill, m, nil) {
			if err != nil || p.Written != 100 {
				t.Fatalf("%+v, %v", p, err)
			}
			break
		}
		if m.reached != 100 {
			t.Errorf("%d rows are done", m.reached)
		}
		ctx, cancel := context.WithCancel(t.Context())
		m.before = func(int) error { cancel(); return ctx.Err() }
		var last error
		for _, err := range rotate.Run(ctx, ring, rotate.Backfill, m, nil) {
			last = err
		}
		if !errors.Is(last, context.Canceled) || m.reached != 100 {
			t.Errorf("%v; %d rows are done", last, m.reached)
		}
	})
}

func TestJobsThatCantBe(t *testing.T) {
	ctx := t.Context()
	ring, _, err := keyring.Create(ctx, "app", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	other, _, err := keyring.Create(ctx, "other", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	m := &memory{values: []string{"text"}}
	for what, run := range map[string]func() error{
		"no ring":             func() error { return first(rotate.Run(ctx, nil, rotate.Backfill, m, nil)) },
		"no source":           func() error { return first(rotate.Run(ctx, ring, rotate.Backfill, nil, nil)) },
		"no kind":             func() error { return first(rotate.Run(ctx, ring, 0, m, nil)) },
		"backfill, elsewhere": func() error { return first(rotate.Run(ctx, ring, rotate.Backfill, m, &rotate.Options{To: other})) },
		"many":                func() error { return first(rotate.Run(ctx, ring, rotate.Reencrypt, many{m}, nil)) },
	} {
		if err := run(); !errors.Is(err, rotate.ErrMismatch) || m.claims != 0 {
			t.Errorf("%s: %v, %d claims", what, err, m.claims)
		}
	}
}

func first(seq func(func(rotate.Progress, error) bool)) (err error) {
	for _, err = range seq {
		break
	}
	return err
}

// many is a source with a column of several values.
type many struct{ *memory }

func (many) Record() *manifest.Record {
	r := described
	r.Fields = slices.Clone(r.Fields)
	r.Fields[0].Many = true
	return &r
}

// counting is a source that says what all workers have done.
type counting struct{ *memory }

func (c counting) Counted(context.Context, *rotate.Job) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(c.reached), nil
}

// A job that goes on knows what was done before, and says how much time is left for the
// rest.
func TestTimeLeftOfTheRest(t *testing.T) {
	inTime(t, 5000, func(t *testing.T, ring *keyring.Keyring, m *memory) {
		opts := &rotate.Options{RowsPerSecond: 100}
		for p, err := range rotate.Run(t.Context(), ring, rotate.Backfill, counting{m}, opts) {
			if err != nil {
				t.Fatal(err)
			}
			if p.Rows >= 3000 {
				break
			}
		}
		var list []rotate.Progress
		for p, err := range rotate.Run(t.Context(), ring, rotate.Backfill, counting{m}, opts) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, p)
		}
		if p := list[0]; p.All != p.Rows+3000 {
			t.Errorf("of all %d rows, of this worker %d", p.All, p.Rows)
		}
		p := list[10]
		if rest := float64(5000 - p.All); p.Left.Seconds() < 0.8*rest/100 || p.Left.Seconds() > 1.2*rest/100 {
			t.Errorf("%v left for %v rows", p.Left, rest)
		}
	})
}
