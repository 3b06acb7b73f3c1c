package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Keys in use are looked at again before TTL is over: the record is read, and each
// key that was used since the last time is unwrapped anew. A lookup that finds a
// warm key only sets a flag that is down; the first flag to go up wakes this
// machinery, and when none goes up, it sleeps: an idle ring calls nobody, and has
// no goroutine. All times are monotonic.
//
// Two timers, because what must end must end also while a look is under way:
// refresh looks, expiry wipes what was last confirmed MaxStale ago.
type background struct {
	ctx  context.Context // ended by Close
	stop context.CancelFunc

	stale flight  // looks that lookups wait for
	store breaker // ... while the store fails

	mu       sync.Mutex
	refresh  alarm
	expiry   alarm
	running  bool
	failures int       // looks in a row
	recordAt time.Time // when the last good read of the record began
}

// An alarm is a timer that can be set to an earlier time.
type alarm struct {
	timer *time.Timer
	at    time.Time
	set   bool
}

// by makes sure that fn runs at t or before.
func (a *alarm) by(t time.Time, fn func()) {
	if a.set && !a.at.After(t) {
		return
	}
	a.at, a.set = t, true
	if a.timer == nil {
		a.timer = time.AfterFunc(time.Until(t), fn)
		return
	}
	a.timer.Reset(time.Until(t))
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.set = false
}

// touch notes that the cell's key is used. It is called when the flag is down.
func (r *Keyring) touch(c *cell) {
	if !c.used.Swap(true) {
		r.wake()
	}
}

// wake makes sure that there will be a look in time, and at once if it is late
// because the ring was idle.
func (r *Keyring) wake() {
	c := r.core()
	b := &c.bg
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil || b.running {
		return // a look that is under way arms the next one
	}
	if b.failures > 0 && b.refresh.set {
		return // a look that failed is repeated when it is its time
	}
	b.refresh.by(b.recordAt.Add(ahead(c.opts.TTL)), r.look)
}

// ahead is when after a look the next one is made. The jitter keeps the replicas
// of a deployment apart.
func ahead(ttl time.Duration) time.Duration { return ttl*3/5 + rand.N(ttl/5+1) }

// confirmed notes a good read of the record that began at start.
func (r *Keyring) confirmed(start time.Time) {
	b := &r.core().bg
	b.mu.Lock()
	defer b.mu.Unlock()
	if start.After(b.recordAt) {
		b.recordAt = start
	}
}

// recordAge is how old the record may be.
func (c *core) recordAge() time.Duration {
	c.bg.mu.Lock()
	defer c.bg.mu.Unlock()
	return time.Since(c.bg.recordAt)
}

// look runs on the refresh timer, one at a time.
func (r *Keyring) look() {
	c := r.core()
	b := &c.bg
	b.mu.Lock()
	b.refresh.set = false
	if b.ctx.Err() != nil || b.running {
		b.mu.Unlock()
		return
	}
	b.running = true
	b.mu.Unlock()

	busy, err := r.lookOnce(b.ctx)
	looked := busy // or all keys have expired meanwhile

	b.mu.Lock()
	failures := b.failures
	defer func() {
		b.mu.Unlock()
		switch {
		case b.ctx.Err() != nil:
		case err != nil && failures == 0:
			r.teller().tell(slog.LevelWarn, EventRefreshFailed, errorAttr(err))
		case looked && err == nil && failures > 0:
			r.teller().tell(slog.LevelInfo, EventRefreshRecovered, slog.Int("failures", failures))
		}
	}()
	b.running = false
	switch {
	case b.ctx.Err() != nil:
	case err != nil:
		c.counts.refreshErrors.Add(1)
		b.refresh.by(time.Now().Add(backoff(b.failures)), r.look)
		b.failures++
	default:
		b.failures = 0
		// A flag that went up during the look found it under way and armed
		// nothing.
		if s := r.live.Load(); !busy && s != nil {
			for _, e := range s.byID {
				busy = busy || e.cell != nil && e.cell.used.Load()
			}
		}
		if busy {
			b.refresh.by(time.Now().Add(ahead(c.opts.TTL)), r.look)
		}
	}
}

// lookOnce reads the record and unwraps the keys that were used. It reports
// whether any were. On error it is to be tried again soon.
func (r *Keyring) lookOnce(ctx context.Context) (busy bool, err error) {
	c := r.core()
	s := r.live.Load()
	if s == nil {
		return false, nil
	}
	var used []*cell
	for _, e := range s.byID {
		if e.cell != nil && e.cell.used.Swap(false) {
			used = append(used, e.cell)
		}
	}
	if len(used) == 0 {
		return false, nil
	}
	defer func() {
		if err != nil { // then they are to be looked at still, as long as they last
			for _, cell := range used {
				if cell.warm() {
					cell.used.Store(true)
				}
			}
		}
	}()
	c.counts.refreshes.Add(1)
	// Whatever is wrong with the store says nothing about the keys: they go on
	// until MaxStale is over. Otherwise whoever can write the store, or cut it
	// off, could stop every program at once.
	if err := r.refresh(ctx); err != nil {
		return true, err
	}
	c.bg.store.ended(true, nil)
	if s = r.live.Load(); s == nil {
		return false, nil
	}
	waiting := make(map[*cell]bool)
	for _, cell := range used {
		waiting[cell] = true
	}
	var failed error
	for _, e := range s.byID {
		if e.cell == nil || !waiting[e.cell] || !e.cell.warm() {
			continue
		}
		keks := *c.keks.Load()
		// In the key's flight: somebody may be asking for it already, because it
		// was wiped meanwhile.
		err := e.flight.do(ctx, c.patience(), func(ctx context.Context) error {
			start := time.Now()
			secret, err := keks.unwrap(ctx, r.name, e.keyRecord)
			clear(secret)
			if err == nil {
				e.cell.confirm(start)
			}
			return err
		})
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return true, err
		case errors.Is(err, ErrUnavailable):
			if failed = err; len(keks) == 1 {
				// It won't answer for the other keys either: a service that
				// throttles isn't asked for each of them. The order is random,
				// so each has its turn.
				return true, failed
			}
		default:
			// The KMS was asked and refuses, or answers with another key: that
			// is what revoking looks like.
			c.counts.refused.Add(1)
			e.cell.refusals.ended(false, err)
			e.cell.evict()
			r.teller().tell(slog.LevelError, EventKeyRefused, keyAttrs(e.keyRecord, errorAttr(err))...)
		}
	}
	return true, failed
}

// expire runs on the expiry timer: it wipes what must not be used any longer.
func (r *Keyring) expire() {
	c := r.core()
	b := &c.bg
	var gone []*keyRecord
	b.mu.Lock()
	defer func() {
		b.mu.Unlock()
		for _, k := range gone {
			r.teller().tell(slog.LevelWarn, EventKeyExpired, keyAttrs(k)...)
		}
	}()
	b.expiry.set = false
	s := r.live.Load()
	if b.ctx.Err() != nil || s == nil {
		return
	}
	now := time.Now()
	limit := c.opts.MaxStale
	var next time.Time
	for _, e := range s.byID {
		if e.cell == nil {
			continue
		}
		at, expired := e.cell.expire(now, b.recordAt, limit)
		if expired {
			c.counts.expired.Add(1)
			gone = append(gone, e.keyRecord)
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if !next.IsZero() {
		b.expiry.by(next, r.expire)
	}
}

// warmed arms the timers for a key that was just unwrapped.
func (r *Keyring) warmed(cell *cell) {
	c := r.core()
	b := &c.bg
	b.mu.Lock()
	if b.ctx.Err() == nil {
		// No earlier than now: what is older than MaxStale already goes at once.
		b.expiry.by(cell.deadline(b.recordAt, c.opts.MaxStale), r.expire)
	}
	b.mu.Unlock()
	r.touch(cell)
}

// current makes sure that the record isn't older than MaxStale before a key is
// unwrapped by it: a key that was disabled meanwhile must not come back because
// the KMS can be reached and the store can't.
func (r *Keyring) current(ctx context.Context) error {
	c := r.core()
	if c.recordAge() < c.opts.MaxStale {
		return nil
	}
	b := &c.bg
	err := b.stale.do(ctx, c.timeout, func(ctx context.Context) error {
		if c.recordAge() < c.opts.MaxStale {
			return nil
		}
		if err := b.store.allow(); err != nil {
			return err
		}
		err := r.refresh(ctx)
		if ctx.Err() == context.Canceled {
			b.store.ended(false, nil)
		} else {
			b.store.ended(err == nil, err)
		}
		return err
	})
	switch {
	case errors.Is(err, ErrUnavailable):
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return err
}
