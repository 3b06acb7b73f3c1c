package kmsprovider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// ResilientOptions are optional: nil and the zero value are the defaults.
type ResilientOptions struct {
	// Timeout bounds one attempt. Default: 10 seconds.
	Timeout time.Duration

	// Attempts is how often a call may be tried in all; 1 turns retries off.
	// Default: 3.
	Attempts int

	// Concurrency is how many attempts may be under way at once; further calls wait
	// for their turn as long as their context lasts. Default: no limit.
	Concurrency int

	// Hedge is how long an attempt to unwrap may go without an answer before a
	// second one is made beside it; the first answer counts, unless it is a failure
	// that may pass. Hedges are paid from the budget of retries, and take turns like
	// other attempts. Choose a little more than the 99th percentile of the service's
	// time: one that is too early doubles the calls just when they are slow.
	// Default: none.
	Hedge time.Duration
}

const (
	// retryBudget is how many retries and hedges there may be at once, all calls
	// together, and budgetEvery how long it takes to regain one: at most ten within
	// a minute.
	retryBudget = 5
	budgetEvery = 12 * time.Second
	// Before a retry: exponential, with full jitter.
	backoffBase = 100 * time.Millisecond
	backoffCap  = 2 * time.Second
)

// Resilient is a provider that calls another one with a time limit, no more than some
// calls at once, and once more when the error says that this may help (see
// [Retryable]). It is safe for concurrent use.
//
// Package keyring has a time limit, retries and a circuit breaker of its own, with a
// budget that counts every call: it turns the retries of a Resilient off, so that the
// two don't multiply, and keeps the limits. So a Resilient is for programs that call
// a provider without a ring, and for services with a quota on calls at once.
//
// Hedging is off unless asked for, and off under a ring: a ring with several KMSs asks
// the next one when the first one is slow, where a second call to the same one would
// spend its quota when it is short.
type Resilient struct {
	inner  Provider
	opts   ResilientOptions
	shared *resilience
}

// resilience is what the views of a Resilient share.
type resilience struct {
	turns chan struct{} // nil: no limit

	mu      sync.Mutex
	spent   int       // of the retry budget
	updated time.Time // when spent was; monotonic

	calls, attempts, retries, hedges, exhausted, errors atomic.Uint64
	running, waiting                                    atomic.Int64
}

// ResilientStats are what a [Resilient] has done. Counters only grow.
type ResilientStats struct {
	Calls     uint64 // of Wrap and Unwrap
	Attempts  uint64 // that were made for them
	Retries   uint64 // of the attempts, those after a first one
	Hedges    uint64 // of the attempts, those beside one that was slow
	Exhausted uint64 // retries and hedges that the budget has refused
	Errors    uint64 // calls that failed
	Running   int    // attempts under way
	Waiting   int    // calls that wait for their turn
}

var _ Provider = (*Resilient)(nil)

// NewResilient returns a provider that calls p, with p's own retries off if it has a
// WithoutRetry.
func NewResilient(p Provider, opts *ResilientOptions) *Resilient {
	if r, ok := p.(interface{ WithoutRetry() Provider }); ok {
		p = r.WithoutRetry()
	}
	r := &Resilient{inner: p, shared: &resilience{}}
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.Timeout <= 0 {
		r.opts.Timeout = 10 * time.Second
	}
	if r.opts.Attempts <= 0 {
		r.opts.Attempts = 3
	}
	if r.opts.Concurrency > 0 {
		r.shared.turns = make(chan struct{}, r.opts.Concurrency)
	}
	return r
}

// WithoutRetry returns the same provider, with the same limits, for a caller that
// tries again by itself. It doesn't hedge either. Package keyring asks for it.
func (r *Resilient) WithoutRetry() Provider {
	once := *r
	once.opts.Attempts, once.opts.Hedge = 1, 0
	return &once
}

// ID returns the other provider's ID.
func (r *Resilient) ID() string { return r.inner.ID() }

// Wrap calls the other provider.
//
// Errors: its own; ErrUnavailable when time was up; ctx's own.
func (r *Resilient) Wrap(ctx context.Context, secret []byte, kc Context) ([]byte, error) {
	wrap := func(ctx context.Context) ([]byte, error) { return r.inner.Wrap(ctx, secret, kc) }
	return r.call(ctx, func(ctx context.Context) ([]byte, error) { return r.attempt(ctx, wrap) })
}

// Unwrap calls the other provider.
//
// Errors: its own; ErrUnavailable when time was up; ctx's own.
func (r *Resilient) Unwrap(ctx context.Context, wrapped []byte, kc Context) ([]byte, error) {
	if r.opts.Hedge > 0 {
		// An attempt may still go on when this call has returned.
		wrapped, kc = bytes.Clone(wrapped), maps.Clone(kc)
	}
	unwrap := func(ctx context.Context) ([]byte, error) { return r.inner.Unwrap(ctx, wrapped, kc) }
	return r.call(ctx, func(ctx context.Context) ([]byte, error) { return r.hedged(ctx, unwrap) })
}

// call tries until something helps or it is enough.
func (r *Resilient) call(ctx context.Context, try func(context.Context) ([]byte, error)) ([]byte, error) {
	s := r.shared
	s.calls.Add(1)
	for n := 1; ; n++ {
		out, err := try(ctx)
		if err == nil {
			return out, nil
		}
		if n >= r.opts.Attempts || ctx.Err() != nil || !Retryable(err) || !s.spend() || !pause(ctx, n) {
			s.errors.Add(1)
			return nil, err
		}
		s.retries.Add(1)
	}
}

// hedged makes an attempt, and another one beside it when no answer comes.
func (r *Resilient) hedged(ctx context.Context, fn func(context.Context) ([]byte, error)) ([]byte, error) {
	if r.opts.Hedge <= 0 {
		return r.attempt(ctx, fn)
	}
	type answer struct {
		out []byte
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the one that is too late
	answers := make(chan answer, 2)
	ask := func() {
		out, err := r.attempt(ctx, fn)
		answers <- answer{out, err}
	}
	go ask()
	under := 1
	timer := time.NewTimer(r.opts.Hedge)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if r.shared.spend() {
				r.shared.hedges.Add(1)
				under++
				go ask()
			}
		case a := <-answers:
			under--
			if under > 0 && a.err != nil && Retryable(a.err) {
				continue // the other one may know better
			}
			if under > 0 {
				go func() { clear((<-answers).out) }() // nobody else wipes it
			}
			return a.out, a.err
		}
	}
}

// attempt waits for its turn and makes one call.
func (r *Resilient) attempt(ctx context.Context, fn func(context.Context) ([]byte, error)) ([]byte, error) {
	s := r.shared
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.turns != nil {
		s.waiting.Add(1)
		select {
		case s.turns <- struct{}{}:
			s.waiting.Add(-1)
			defer func() { <-s.turns }()
		case <-ctx.Done():
			s.waiting.Add(-1)
			return nil, fmt.Errorf("kmsprovider: %s: %w: %d calls are under way: %w", r.ID(), ErrUnavailable, cap(s.turns), ctx.Err())
		}
	}
	s.attempts.Add(1)
	s.running.Add(1)
	defer s.running.Add(-1)
	callCtx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	out, err := fn(callCtx)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("kmsprovider: %s: %w: no answer within %v: %w", r.ID(), ErrUnavailable, r.opts.Timeout, err)
	}
	return out, err
}

// spend takes a retry out of the budget, if there is one.
func (s *resilience) spend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if regained := int(now.Sub(s.updated) / budgetEvery); s.spent == 0 || regained >= s.spent {
		s.spent, s.updated = 0, now
	} else {
		s.spent -= regained
		s.updated = s.updated.Add(time.Duration(regained) * budgetEvery)
	}
	if s.spent == retryBudget {
		s.exhausted.Add(1)
		return false
	}
	s.spent++
	return true
}

// pause waits before the nth retry. It reports whether ctx lasted.
func pause(ctx context.Context, n int) bool {
	timer := time.NewTimer(rand.N(min(backoffCap, backoffBase<<min(n-1, 10))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stats returns the counters. They are shared with the providers of WithoutRetry.
func (r *Resilient) Stats() ResilientStats {
	s := r.shared
	return ResilientStats{
		Calls: s.calls.Load(), Attempts: s.attempts.Load(), Retries: s.retries.Load(), Hedges: s.hedges.Load(),
		Exhausted: s.exhausted.Load(), Errors: s.errors.Load(), Running: int(s.running.Load()), Waiting: int(s.waiting.Load()),
	}
}

// String returns the type and the ID.
func (r *Resilient) String() string { return "kmsprovider.Resilient(" + r.ID() + ")" }

// GoString is String.
func (r *Resilient) GoString() string { return r.String() }
