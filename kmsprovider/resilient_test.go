package kmsprovider

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// flaky is a provider that answers with what do returns.
type flaky struct {
	do      func(ctx context.Context, n int64) error
	calls   atomic.Int64
	running atomic.Int64
	most    atomic.Int64
}

func (f *flaky) ID() string { return "test:flaky" }

func (f *flaky) Wrap(ctx context.Context, secret []byte, kc Context) ([]byte, error) {
	return f.Unwrap(ctx, secret, kc)
}

func (f *flaky) Unwrap(ctx context.Context, wrapped []byte, _ Context) ([]byte, error) {
	defer f.running.Add(-1)
	if n := f.running.Add(1); n > f.most.Load() {
		f.most.Store(n)
	}
	if err := f.do(ctx, f.calls.Add(1)); err != nil {
		return nil, err
	}
	return append([]byte(nil), wrapped...), nil
}

func TestResilientRetriesByClass(t *testing.T) {
	for err, want := range map[error]int64{
		ErrUnavailable: 3, ErrThrottled: 3, context.DeadlineExceeded: 3,
		ErrRejected: 1, ErrNotFound: 1, ErrDenied: 1, ErrDisabled: 1, ErrWrongAnswer: 1, context.Canceled: 1, errors.New("no class"): 1,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{do: func(context.Context, int64) error { return fmt.Errorf("test: %w", err) }}
			r := NewResilient(f, nil)
			begin := time.Now()
			if _, got := r.Unwrap(t.Context(), nil, nil); !errors.Is(got, err) || f.calls.Load() != want {
				t.Errorf("%v: %d attempts, want %d, and then %v", err, f.calls.Load(), want, got)
			}
			// Full jitter under 100 and 200 ms.
			if d := time.Since(begin); d >= 300*time.Millisecond {
				t.Errorf("%v: took %v", err, d)
			}
			if s := r.Stats(); s.Calls != 1 || s.Errors != 1 || s.Attempts != uint64(want) || s.Retries != uint64(want-1) {
				t.Errorf("%v: %+v", err, s)
			}
		})
	}
}

func TestResilientSucceedsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{do: func(_ context.Context, n int64) error {
			if n < 3 {
				return ErrThrottled
			}
			return nil
		}}
		got, err := NewResilient(f, nil).Wrap(t.Context(), []byte("a key"), nil)
		if err != nil || string(got) != "a key" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// However many calls fail, at most ten retries are made within any minute.
func TestResilientBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{do: func(context.Context, int64) error { return ErrUnavailable }}
		r := NewResilient(f, nil)
		var at []time.Time // of retries
		for range 600 {    // ten minutes
			before := r.Stats().Retries
			r.Unwrap(t.Context(), nil, nil)
			for range r.Stats().Retries - before {
				at = append(at, time.Now())
			}
			time.Sleep(time.Second)
		}
		most, i := 0, 0
		for j := range at {
			for at[j].Sub(at[i]) >= time.Minute {
				i++
			}
			most = max(most, j-i+1)
		}
		if most > 10 || len(at) < 45 || r.Stats().Exhausted == 0 {
			t.Errorf("%d retries within a minute, %d within ten, %+v", most, len(at), r.Stats())
		}
		// Ten quiet minutes bring five back, and no more.
		time.Sleep(10 * time.Minute)
		before := r.Stats().Retries
		for range 20 {
			r.Unwrap(t.Context(), nil, nil)
		}
		if n := r.Stats().Retries - before; n != retryBudget {
			t.Errorf("%d retries after quiet minutes, want %d", n, retryBudget)
		}
	})
}

func TestResilientTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{do: func(ctx context.Context, _ int64) error { <-ctx.Done(); return ctx.Err() }}
		r := NewResilient(f, &ResilientOptions{Timeout: time.Second, Attempts: 2})
		begin := time.Now()
		_, err := r.Unwrap(t.Context(), nil, nil)
		if d := time.Since(begin); !errors.Is(err, ErrUnavailable) || d < 2*time.Second || d > 2100*time.Millisecond {
			t.Errorf("%v after %v", err, d)
		}
		// The caller's own context counts for all attempts.
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		begin = time.Now()
		if _, err := r.Unwrap(ctx, nil, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 1500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		// Nobody who has left is called for.
		calls := f.calls.Load()
		if _, err := r.Wrap(ctx, nil, nil); !errors.Is(err, context.DeadlineExceeded) || f.calls.Load() != calls {
			t.Errorf("%v, %d calls", err, f.calls.Load()-calls)
		}
	})
}

func TestResilientConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{do: func(context.Context, int64) error { time.Sleep(100 * time.Millisecond); return nil }}
		r := NewResilient(f, &ResilientOptions{Concurrency: 3})
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 30 {
			p := Provider(r)
			if i%2 == 0 {
				p = r.WithoutRetry() // the limit is the same one
			}
			wg.Go(func() {
				if _, err := p.Unwrap(t.Context(), nil, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if s := r.Stats(); s.Running != 3 || s.Waiting != 27 {
			t.Errorf("%+v", s)
		}
		// Whoever can't wait leaves, and keeps no turn.
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := r.Unwrap(ctx, nil, nil); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that had to wait: %v", err)
		}
		wg.Wait()
		if d := time.Since(begin); f.most.Load() != 3 || d != time.Second {
			t.Errorf("%d at once, %v", f.most.Load(), d)
		}
		if s := r.Stats(); s.Running != 0 || s.Waiting != 0 || s.Calls != 31 {
			t.Errorf("%+v", s)
		}
	})
}

func TestWithoutRetry(t *testing.T) {
	f := &flaky{do: func(context.Context, int64) error { return ErrUnavailable }}
	r := NewResilient(f, nil)
	if _, err := r.WithoutRetry().Unwrap(t.Context(), nil, nil); !errors.Is(err, ErrUnavailable) || f.calls.Load() != 1 {
		t.Errorf("%v after %d attempts", err, f.calls.Load())
	}
	if got := fmt.Sprintf("%v %+v", r, r); got != "kmsprovider.Resilient(test:flaky) kmsprovider.Resilient(test:flaky)" {
		t.Errorf("prints as %s", got)
	}
}

// A provider that tries again by itself is called without that: retries of retries would
// be nine calls for one, and a ring, which turns off the outer ones, would still make
// three.
func TestResilientInResilient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{do: func(context.Context, int64) error { return ErrUnavailable }}
		r := NewResilient(NewResilient(f, nil), nil)
		for p, want := range map[Provider]int64{r: 3, r.WithoutRetry(): 1} {
			f.calls.Store(0)
			if _, err := p.Unwrap(t.Context(), nil, nil); !errors.Is(err, ErrUnavailable) || f.calls.Load() != want {
				t.Errorf("%d attempts, want %d, and then %v", f.calls.Load(), want, err)
			}
		}
	})
}
