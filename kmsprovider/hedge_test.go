package kmsprovider

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// An unwrap without an answer is made a second time, once, and the first answer counts.
func TestHedge(t *testing.T) {
	slow := func(first, second time.Duration, err1, err2 error) *flaky {
		return &flaky{do: func(ctx context.Context, n int64) error {
			d, err := first, err1
			if n > 1 {
				d, err = second, err2
			}
			select {
			case <-time.After(d):
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	}
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		f     *flaky
		took  time.Duration
		calls int64
		err   error
	}{
		"fast":                        {slow(9*ms, 0, nil, nil), 9 * ms, 1, nil},
		"slow":                        {slow(time.Second, 5*ms, nil, nil), 15 * ms, 2, nil},
		"the first one after all":     {slow(20*ms, time.Second, nil, nil), 20 * ms, 2, nil},
		"refused":                     {slow(5*ms, 0, ErrDenied, nil), 5 * ms, 1, ErrDenied},
		"refused meanwhile":           {slow(20*ms, time.Second, ErrDenied, nil), 20 * ms, 2, ErrDenied},
		"the second one fails":        {slow(30*ms, 5*ms, nil, ErrThrottled), 30 * ms, 2, nil},
		"the first one fails":         {slow(20*ms, 25*ms, ErrUnavailable, nil), 35 * ms, 2, nil},
		"both fail":                   {slow(20*ms, 25*ms, ErrThrottled, ErrUnavailable), 35 * ms, 2, ErrUnavailable},
		"neither answers: the caller": {slow(time.Hour, time.Hour, nil, nil), time.Second, 2, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := NewResilient(c.f, &ResilientOptions{Attempts: 1, Hedge: 10 * ms})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			out, err := r.Unwrap(ctx, []byte("wrapped"), Context{"a": "b"})
			if d := time.Since(begin); !errors.Is(err, c.err) || d != c.took || c.f.calls.Load() != c.calls {
				t.Errorf("%s: %v after %v and %d calls; want %v, %v, %d", name, err, d, c.f.calls.Load(), c.err, c.took, c.calls)
			}
			if err == nil && string(out) != "wrapped" {
				t.Errorf("%s: %q", name, out)
			}
			if s := r.Stats(); s.Calls != 1 || s.Attempts != uint64(c.calls) || s.Hedges != uint64(c.calls-1) || s.Retries != 0 {
				t.Errorf("%s: %+v", name, s)
			}
			synctest.Wait()
			if n := r.Stats().Running; n != 0 {
				t.Errorf("%s: %d attempts still run", name, n)
			}
		})
	}
}

// Hedges are paid from the budget of retries, wraps aren't hedged, and neither is
// anything for a caller that has retries of its own.
func TestHedgesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{do: func(context.Context, int64) error { time.Sleep(time.Second); return nil }}
		r := NewResilient(f, &ResilientOptions{Hedge: time.Millisecond})
		for range 20 {
			if _, err := r.Unwrap(t.Context(), nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		// Five at once, and one in 12 of the 20 seconds.
		if s := r.Stats(); s.Hedges != retryBudget+1 || s.Exhausted != 20-retryBudget-1 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Hour)
		before := f.calls.Load()
		if _, err := r.Wrap(t.Context(), []byte("a key"), nil); err != nil || f.calls.Load() != before+1 {
			t.Errorf("Wrap: %v, %d calls", err, f.calls.Load()-before)
		}
		if _, err := r.WithoutRetry().Unwrap(t.Context(), nil, nil); err != nil || f.calls.Load() != before+2 {
			t.Errorf("WithoutRetry: %v, %d calls", err, f.calls.Load()-before-1)
		}
		time.Sleep(time.Second)
	})
}

// A secret that comes too late is wiped, and who is late has its own copy of what it
// unwraps.
func TestLateSecretsAreWiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := []byte("a secret")
		p := &answers{unwrap: func(n int64, wrapped []byte) ([]byte, error) {
			if n == 1 {
				time.Sleep(time.Minute) // it doesn't look at its context
				if string(wrapped) != "wrapped" {
					t.Errorf("unwraps %q", wrapped)
				}
				return late, nil
			}
			return []byte("a secret"), nil
		}}
		r := NewResilient(p, &ResilientOptions{Hedge: time.Second})
		wrapped := []byte("wrapped")
		out, err := r.Unwrap(t.Context(), wrapped, nil)
		if err != nil || string(out) != "a secret" {
			t.Fatalf("%q, %v", out, err)
		}
		clear(wrapped)
		time.Sleep(time.Hour)
		if !bytes.Equal(late, make([]byte, len(late))) || string(out) != "a secret" {
			t.Errorf("late %q, in time %q", late, out)
		}
	})
}

// answers is a provider whose unwraps are numbered.
type answers struct {
	unwrap func(n int64, wrapped []byte) ([]byte, error)
	n      atomic.Int64
}

func (*answers) ID() string { return "test:answers" }

func (*answers) Wrap(context.Context, []byte, Context) ([]byte, error) { return nil, ErrDenied }

func (a *answers) Unwrap(_ context.Context, wrapped []byte, _ Context) ([]byte, error) {
	return a.unwrap(a.n.Add(1), wrapped)
}
