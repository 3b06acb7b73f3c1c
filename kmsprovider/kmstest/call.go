package kmstest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

// testConcurrent: any number of goroutines may use one provider. Run it with -race.
func testConcurrent(e *env) {
	const workers, rounds = 12, 8
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				secret, kc := key(32), ring()
				wrapped, err := e.kms.Wrap(e.ctx, secret, kc)
				if err != nil {
					e.Errorf("Wrap beside others: %v", err)
					return
				}
				got, err := e.kms.Unwrap(e.ctx, wrapped, kc)
				if err != nil {
					e.Errorf("Unwrap beside others: %v", err)
					return
				}
				if !bytes.Equal(got, secret) {
					e.Error("Unwrap beside others returned the key of another call")
					return
				}
				clear(got)
			}
		})
	}
	wg.Wait()
}

// calls makes a Wrap and an Unwrap.
func (e *env) calls(wrapped []byte, kc kmsprovider.Context) map[string]func(ctx context.Context) ([]byte, error) {
	return map[string]func(ctx context.Context) ([]byte, error){
		"Wrap": func(ctx context.Context) ([]byte, error) { return e.kms.Wrap(ctx, key(32), maps.Clone(kc)) },
		"Unwrap": func(ctx context.Context) ([]byte, error) {
			return e.kms.Unwrap(ctx, bytes.Clone(wrapped), maps.Clone(kc))
		},
	}
}

// left checks what a call has returned whose context has ended: the context's error,
// or ErrUnavailable when time was up, which a refusal is not.
func (e *env) left(ctx context.Context, call string, out []byte, err error) {
	e.Helper()
	if len(out) > 0 {
		e.Errorf("%s when %v: %d bytes", call, ctx.Err(), len(out))
	}
	outOfTime := ctx.Err() == context.DeadlineExceeded && errors.Is(err, kmsprovider.ErrUnavailable)
	if !errors.Is(err, ctx.Err()) && !outOfTime {
		e.Errorf("%s when %v: error %v, want that (or ErrUnavailable if time was up)", call, ctx.Err(), err)
	}
	for _, class := range classes {
		if class != kmsprovider.ErrUnavailable && errors.Is(err, class) {
			e.Errorf("%s when %v: error %v, which is also %q", call, ctx.Err(), err, class)
		}
	}
}

// testEnded: a context that has ended before the call ends the call.
func testEnded(e *env) {
	cancelled, cancel := context.WithCancel(e.ctx)
	cancel()
	expired, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
	defer cancel()
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	for _, ctx := range []context.Context{cancelled, expired} {
		for name, do := range e.calls(wrapped, kc) {
			out, err := do(ctx)
			e.left(ctx, name, out, err)
		}
	}
	e.unwraps(e.kms, wrapped, kc, secret)
}

// testLeft: a call that is left in the middle disturbs no other one, and none gets its
// answer.
func testLeft(e *env) {
	const rounds = 60
	kc := ring()
	var secrets, wraps [4][]byte
	for i := range secrets {
		secrets[i] = key(32)
		wraps[i] = e.wrap(e.kms, secrets[i], kc)
	}
	begin := time.Now()
	e.unwraps(e.kms, wraps[0], kc, secrets[0])
	took := time.Since(begin)
	for n := range rounds {
		ctx, cancel := context.WithCancel(e.ctx)
		timer := time.AfterFunc(rand.N(took+1), cancel)
		mine, other := n%len(secrets), (n+1)%len(secrets)
		secret, wrapped := bytes.Clone(secrets[mine]), bytes.Clone(wraps[mine])
		var out []byte
		var err error
		unwrap := n%3 > 0
		if unwrap {
			out, err = e.kms.Unwrap(ctx, wrapped, maps.Clone(kc))
		} else {
			out, err = e.kms.Wrap(ctx, secret, maps.Clone(kc))
		}
		clear(secret) // which are the caller's again: see Run with -race
		clear(wrapped)
		switch {
		case err != nil && ctx.Err() != nil:
			e.left(ctx, "a call that is left", out, err)
		case err != nil:
			e.Errorf("a call that is about to be left: %v", err)
		case unwrap && !bytes.Equal(out, secrets[mine]):
			e.Error("Unwrap returned the key of another call, which was left")
		case !unwrap:
			e.unwraps(e.kms, out, kc, secrets[mine])
		}
		timer.Stop()
		cancel()
		if n%2 == 0 {
			e.unwraps(e.kms, e.wrap(e.kms, secrets[other], kc), kc, secrets[other])
		}
		e.unwraps(e.kms, wraps[other], kc, secrets[other])
		if e.Failed() {
			return
		}
	}
}

// grace is how long a call may take to return after its context has ended.
const grace = 5 * time.Second

// testEndless: a call returns when its context ends, whatever the service does.
func testEndless(e *env, mode Mode) {
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	undo := e.enter(mode)
	e.settle(wrapped, kc, stall)
	for how, start := range map[string]func() (context.Context, context.CancelFunc){
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(e.ctx, stall)
		},
		"cancel": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(e.ctx)
			timer := time.AfterFunc(stall, cancel)
			return ctx, func() { timer.Stop(); cancel() }
		},
	} {
		for name, do := range e.calls(wrapped, kc) {
			ctx, cancel := start()
			call := name + ", " + how
			out, err := e.leaves(ctx, call, do)
			if ctx.Err() == nil {
				e.Errorf("%s: error %v before the context's end: the service ends its answer", call, err)
			} else {
				e.left(ctx, call, out, err)
			}
			cancel()
		}
	}
	undo()
	e.recovers(wrapped, kc, secret)
}

// stall is how long a call waits for what doesn't come.
const stall = 60 * time.Millisecond

// settle makes a call whose answer doesn't matter: connections that were closed when
// the service went into a mode are noticed, and made anew.
func (e *env) settle(wrapped []byte, kc kmsprovider.Context, patience time.Duration) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, patience)
	defer cancel()
	e.leaves(ctx, "Unwrap", e.calls(wrapped, kc)["Unwrap"])
}

// leaves makes a call, which must return soon after the end of its context.
func (e *env) leaves(ctx context.Context, call string, do func(context.Context) ([]byte, error)) ([]byte, error) {
	e.Helper()
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := do(ctx)
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.out, r.err
	case <-timer.C:
		e.Fatalf("%s: no return within %v after the context's end", call, grace)
		return nil, nil
	}
}
