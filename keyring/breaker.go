package keyring

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// retryBudget is how many calls in a row may fail before calls are spaced.
	retryBudget = 5
	// Between calls that fail after that: exponential, with full jitter.
	backoffBase = time.Second
	backoffCap  = 30 * time.Second
)

// backoff returns how long to wait after the nth failure in a row: anything up to
// a bound that doubles. Full jitter keeps many processes from coming back at the
// same moment.
func backoff(n int) time.Duration {
	return rand.N(min(backoffCap, backoffBase<<min(n, 10))) + time.Millisecond
}

// A breaker keeps callers from calling what fails: after retryBudget failures in a
// row it answers with the last one, and lets one call through now and then to see.
// The zero breaker is closed. (It is sixty lines; a library would bring state
// change callbacks and clocks of its own, and another supply chain.)
type breaker struct {
	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // no call before; monotonic
	probing  bool
	last     error
	opened   uint64
}

// allow returns nil when a call may be made, which must be followed by ended.
func (b *breaker) allow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < retryBudget {
		return nil
	}
	if b.probing || time.Now().Before(b.until) {
		return fmt.Errorf("not asked again yet after %d failures: %w", b.failures, b.last)
	}
	b.probing = true
	return nil
}

// ended notes how a call ended: with an answer, with a failure, or (neither) by
// its caller's leave.
func (b *breaker) ended(answered bool, failure error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch {
	case answered:
		b.failures, b.last = 0, nil
	case failure != nil:
		b.failures++
		b.last = failure
		if b.failures >= retryBudget {
			b.until = time.Now().Add(backoff(b.failures - retryBudget))
			if b.failures == retryBudget {
				b.opened++
			}
		}
	}
}

// open reports whether calls are held back, or only probe.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= retryBudget
}

func (b *breaker) state() (open bool, opened uint64, last error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= retryBudget, b.opened, b.last
}
