package keyring

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A flight runs one function at a time, for all callers that ask while it is
// under way. The zero flight is ready.
type flight struct {
	mu  sync.Mutex
	cur *call // guarded by mu
}

type call struct {
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // written before done is closed
	waiters int   // guarded by flight.mu
}

// do joins the call under way or starts fn. The call lives on its own context,
// with the first caller's values and the time limit: a caller that leaves doesn't
// take the others' call with it. The last one to leave cancels it.
func (f *flight) do(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	f.mu.Lock()
	c := f.cur
	if c == nil {
		c = &call{done: make(chan struct{})}
		c.ctx, c.cancel = context.WithTimeout(context.WithoutCancel(ctx), limit)
		f.cur = c
		go f.run(c, fn)
	}
	c.waiters++
	f.mu.Unlock()

	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		f.mu.Lock()
		defer f.mu.Unlock()
		if c.waiters--; c.waiters == 0 {
			if f.cur == c {
				f.cur = nil
			}
			c.cancel()
		}
		return waitError(context.Cause(ctx))
	case <-c.ctx.Done():
		// Normally run is about to say so itself. A function that doesn't heed
		// its context must not hold up its callers; later ones don't start
		// another.
		select {
		case <-c.done:
			return c.err
		default:
			return fmt.Errorf("%w: no answer within %v: %w", ErrUnavailable, limit, context.DeadlineExceeded)
		}
	}
}

func (f *flight) run(c *call, fn func(context.Context) error) {
	err := fn(c.ctx)
	f.mu.Lock()
	c.err = err
	if f.cur == c {
		f.cur = nil
	}
	f.mu.Unlock()
	close(c.done)
	c.cancel() // after done, so that waiters see the result first
}
