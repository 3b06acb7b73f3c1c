package keyring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// subjects is what a Keyring knows of its subjects.
type subjects struct {
	ring  *Keyring
	store SubjectStore // nil: it keeps none
	opts  OpenOptions

	cache   *lru.Cache[Subject, *subjectEntry]
	unknown limiter // reloads for unknown key ids
	breaker breaker // of the stores, for reloads that can be done without

	mu      sync.Mutex
	flights map[Subject]*subjectFlight
	sweeper *time.Timer
	closed  bool

	job struct { // of Maintain
		primary uint32
		after   SubjectHash
		done    bool
	}
}

// subjectFlight is one load of a subject, for all who wait for it.
type subjectFlight struct {
	flight
	waiters int
	entry   *subjectEntry // holds a reference until the last waiter has gone
}

func newSubjects(r *Keyring, store Store, opts OpenOptions) *subjects {
	s := &subjects{ring: r, opts: opts, flights: make(map[Subject]*subjectFlight)}
	s.store, _ = store.(SubjectStore)
	var err error
	if s.cache, err = lru.NewWithEvict(opts.SubjectCache, func(_ Subject, e *subjectEntry) { e.release() }); err != nil {
		panic(err) // the size is positive
	}
	return s
}

func (s *subjects) close() {
	s.mu.Lock()
	s.closed = true
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
	s.mu.Unlock()
	for _, e := range s.cache.Values() {
		e.wipe()
	}
	s.cache.Purge()
}

// cached returns a usable entry, held, and how fresh it is; nil if there is none.
func (s *subjects) cached(subj Subject) (e *subjectEntry, age time.Duration) {
	e, ok := s.cache.Get(subj)
	if !ok || !e.acquire() {
		return nil, 0
	}
	age = time.Since(e.asked)
	if e.state == subjectForgotten {
		return e, age
	}
	if age >= s.opts.MaxStale || !e.wrap.warm() {
		e.release()
		return nil, 0
	}
	if !e.wrap.used.Load() {
		s.ring.touch(e.wrap)
	}
	return e, age
}

// acquire returns the entry of a subject that has keys, held by the caller.
func (s *subjects) acquire(ctx context.Context, subj Subject, ensure bool) (*subjectEntry, error) {
	if e, age := s.cached(subj); e != nil && age < s.opts.TTL*3/5 {
		return e.usable()
	} else if e != nil && age < s.opts.TTL {
		// Fresh enough, and in use: so that nobody has to wait for it later.
		if !e.reloading.Swap(true) {
			go s.ahead(subj.clone(), e)
		}
		return e.usable()
	} else if e != nil {
		fresh, err := s.confirm(ctx, subj, ensure)
		if err == nil {
			e.release()
			return fresh.usable()
		}
		if errors.Is(err, ErrUnavailable) || ctx.Err() != nil && e.state == subjectOpen {
			return e.usable() // until MaxStale
		}
		e.release()
		return nil, err
	}
	fresh, err := s.reload(ctx, subj, ensure)
	if err != nil {
		return nil, err
	}
	return fresh.usable()
}

// usable gives the reference away, or the reason why there are no keys.
func (e *subjectEntry) usable() (*subjectEntry, error) {
	if e.state == subjectForgotten {
		e.release()
		return nil, ErrForgotten
	}
	return e, nil
}

// ahead looks at a subject again in the background.
func (s *subjects) ahead(subj Subject, e *subjectEntry) {
	defer e.reloading.Store(false)
	if fresh, err := s.confirm(s.ring.core().bg.ctx, subj, false); err == nil {
		fresh.release()
	}
}

// confirm is reload for a subject whose keys are at hand: while the store fails,
// it isn't asked each time.
func (s *subjects) confirm(ctx context.Context, subj Subject, ensure bool) (*subjectEntry, error) {
	if err := s.breaker.allow(); err != nil {
		return nil, err
	}
	e, err := s.reload(ctx, subj, ensure)
	switch {
	case err == nil || !errors.Is(err, ErrUnavailable):
		s.breaker.ended(true, nil)
	case ctx.Err() == context.Canceled:
		s.breaker.ended(false, nil)
	default:
		s.breaker.ended(false, err)
	}
	return e, err
}

// reload loads a subject, once for all who ask meanwhile, and returns the entry
// held by the caller.
func (s *subjects) reload(ctx context.Context, subj Subject, ensure bool) (*subjectEntry, error) {
	if err := subj.validate(); err != nil {
		return nil, err
	}
	key := subj.clone()
	s.mu.Lock()
	f := s.flights[key]
	if f == nil {
		f = new(subjectFlight)
		s.flights[key] = f
	}
	f.waiters++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if f.waiters--; f.waiters == 0 {
			if s.flights[key] == f {
				delete(s.flights, key)
			}
			if f.entry != nil {
				f.entry.release()
				f.entry = nil
			}
		}
	}()
	c := s.ring.core()
	for {
		// Twice the patience: of the KMS for the key that wraps, and the stores.
		err := f.do(ctx, c.patience()+2*c.timeout, func(ctx context.Context) error {
			e, err := s.loadOne(ctx, key, ensure)
			if err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if f.waiters == 0 {
				e.release()
				return errDropped
			}
			if f.entry != nil {
				f.entry.release()
			}
			f.entry = e
			return nil
		})
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		e := f.entry
		held := e != nil && e.acquire()
		s.mu.Unlock()
		if held {
			if ensure && e.state == subjectOpen && e.primary == nil {
				// The flight was one that doesn't create.
				e.release()
				continue
			}
			return e, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (s *subjects) loadOne(ctx context.Context, subj Subject, ensure bool) (*subjectEntry, error) {
	entries, err := s.load(ctx, []Subject{subj}, ensure)
	if err != nil {
		return nil, err
	}
	e := entries[0]
	if e == nil {
		return nil, fmt.Errorf("the subject has no keys: %w", ErrUnknownKey)
	}
	return e, nil
}

// warm loads those subjects that aren't at hand.
func (s *subjects) warm(ctx context.Context, list []Subject, ensure bool) error {
	cold := make([]Subject, 0, len(list))
	seen := make(map[Subject]bool, len(list))
	for _, subj := range list {
		if seen[subj] {
			continue
		}
		if err := subj.validate(); err != nil {
			return err
		}
		seen[subj] = true
		if e, age := s.cached(subj); e != nil {
			// What is old and can't be confirmed is looked at one by one.
			e.release()
			if age < s.opts.TTL {
				continue
			}
		}
		cold = append(cold, subj)
	}
	for len(cold) > 0 {
		n := min(len(cold), MaxSubjectBatch)
		entries, err := s.load(ctx, cold[:n], ensure)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e != nil {
				e.release()
			}
		}
		cold = cold[n:]
	}
	return nil
}

// keep puts an entry into the cache, which holds it from then on.
func (s *subjects) keep(subj Subject, e *subjectEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if old, ok := s.cache.Peek(subj); ok {
		if old.asked.After(e.asked) || old.revision > e.revision && e.state != subjectForgotten {
			return // somebody knows better
		}
		s.cache.Remove(subj) // releases it
	}
	e.refs.Add(1)
	s.cache.Add(subj, e)
	if s.sweeper == nil {
		s.sweeper = time.AfterFunc(s.opts.MaxStale/2, s.sweep)
	}
}

// sweep lets go of what may no longer be used, also if nobody asks for it.
func (s *subjects) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, subj := range s.cache.Keys() {
		e, ok := s.cache.Peek(subj)
		if ok && e.state == subjectOpen && (time.Since(e.asked) >= s.opts.MaxStale || !e.wrap.warm()) {
			s.cache.Remove(subj)
		}
	}
	if s.cache.Len() == 0 {
		s.sweeper = nil
		return
	}
	s.sweeper.Reset(s.opts.MaxStale / 2)
}

// forgotten wipes what is known of a subject, whoever holds it.
func (s *subjects) forgotten(subj Subject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.cache.Peek(subj); ok {
		e.wipe()
		s.cache.Remove(subj)
	}
}
