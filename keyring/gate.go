package keyring

import (
	"context"
	"fmt"
	"sync/atomic"
)

// maxHanging bounds the calls of one kind that go on after their time is up: with
// so many, no further one begins. Those that are under way at that moment, at most
// one a key, may come on top.
const maxHanging = 32

// A gate lets callers leave when their context ends, whatever the callee does: a
// driver that doesn't heed contexts must not hold up the program. What it is left
// with is bounded.
type gate struct {
	hanging atomic.Int64 // calls that were left and still go on
	left    atomic.Int64 // calls that were left, ever
}

// guard runs fn in a goroutine of its own and waits for it or for ctx. A result
// that nobody waits for any more goes to late.
func guard[T any](ctx context.Context, g *gate, fn func(context.Context) (T, error), late func(T)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if n := g.hanging.Load(); n >= maxHanging {
		return none, fmt.Errorf("%w: %d calls have not ended when their time was up", ErrUnavailable, n)
	}
	type result struct {
		v   T
		err error
	}
	// Whoever swaps first decides: true by the waiter, that he has left; by the
	// call, that it has ended.
	var over atomic.Bool
	done := make(chan result, 1)
	go func() {
		v, err := fn(ctx)
		if over.Swap(true) {
			late(v)
			g.hanging.Add(-1)
			return
		}
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		g.hanging.Add(1)
		if over.Swap(true) {
			g.hanging.Add(-1)
			r := <-done
			return r.v, r.err
		}
		g.left.Add(1)
		return none, ctx.Err()
	}
}
