package keyring

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// retryBudget is how many calls may fail before calls are spaced. It is
	// regained, one in budgetEvery, while calls are answered: an answer now and
	// then, which is what a service that throttles gives, brings no fresh budget.
	retryBudget = 5
	budgetEvery = 12 * time.Second
	// Between calls that fail after that: exponential, with full jitter. Twice the
	// cap (a look in the background that finds the breaker still open, and the
	// next one) is less than the minute within which keys are confirmed again.
	backoffBase = time.Second
	backoffCap  = 20 * time.Second
	// failuresPerMinute is how many calls may fail within any minute, whatever is
	// answered in between and however the dice fall. Calls that are under way
	// when it is reached, at most one a key, come on top.
	failuresPerMinute = 20
)

// backoff returns how long to wait after the nth failure in a row: anything up to
// a bound that doubles. Full jitter keeps many processes from coming back at the
// same moment.
func backoff(n int) time.Duration {
	return rand.N(min(backoffCap, backoffBase<<min(n, 10))) + time.Millisecond
}

// A breaker keeps callers from calling what fails: when its budget is used up it
// answers with the last failure, and lets one call through now and then to see.
// The zero breaker is closed and has its budget. (It is a hundred lines; a library
// would bring state change callbacks and clocks of its own, and another supply
// chain.)
type breaker struct {
	mu       sync.Mutex
	failures int         // in a row
	spent    int         // of the budget
	answered time.Time   // since when calls are answered and the budget is regained; monotonic
	level    int         // of the backoff; falls back to 0 with the whole budget
	until    time.Time   // no call before; monotonic
	recent   []time.Time // when calls failed, the last failuresPerMinute of them
	probing  bool
	last     error
	opened   uint64
}

// allow returns nil when a call may be made, which must be followed by ended.
func (b *breaker) allow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.recent) == failuresPerMinute && now.Sub(b.recent[0]) < time.Minute {
		return fmt.Errorf("not asked again yet after %d failures in a minute: %w", failuresPerMinute, b.last)
	}
	if !b.spaced() {
		return nil
	}
	if b.probing || now.Before(b.until) {
		return fmt.Errorf("not asked again yet after %d failures: %w", b.failures, b.last)
	}
	b.probing = true
	return nil
}

// spaced reports whether calls are held back but for probes.
func (b *breaker) spaced() bool { return b.failures > 0 && b.spent >= retryBudget }

// ended notes how a call ended: with an answer, with a failure, or (neither) by
// its caller's leave. It reports whether that opened or closed the breaker.
func (b *breaker) ended(answered bool, failure error) (opened, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	now := time.Now()
	was := b.spaced()
	switch {
	case answered:
		if b.failures > 0 {
			b.failures, b.answered = 0, now
		}
	case failure != nil:
		if b.failures == 0 {
			b.regain(now)
		}
		b.failures++
		b.spent = min(b.spent+1, retryBudget)
		b.last = failure
		if len(b.recent) == failuresPerMinute {
			b.recent = append(b.recent[:0], b.recent[1:]...)
		}
		b.recent = append(b.recent, now)
		if b.spaced() {
			b.until = now.Add(backoff(b.level))
			b.level++
			if !was {
				b.opened++
			}
		}
	}
	return !was && b.spaced(), was && !b.spaced()
}

// regain brings the budget up to date at the end of a time of answers.
func (b *breaker) regain(now time.Time) {
	b.spent -= min(b.spent, int(min(now.Sub(b.answered)/budgetEvery, retryBudget)))
	if b.spent == 0 {
		b.level = 0
	}
}

// open reports whether calls are held back, or only probe.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spaced()
}

func (b *breaker) state() (open bool, opened uint64, last error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures == 0 {
		return false, b.opened, nil
	}
	return b.spaced(), b.opened, b.last
}
