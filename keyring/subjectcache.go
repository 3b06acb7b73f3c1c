package keyring

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// subjects is what a Keyring knows of its subjects.
type subjects struct {
	ring    *Keyring
	store   *subjectSite // nil: it keeps none
	outside *subjectSite // of tombstones; nil: there is none
	opts    OpenOptions
	seed    maphash.Seed // of the digests of records

	cache   *lru.Cache[Subject, *subjectEntry]
	unknown limiter // reloads for unknown key ids
	breaker breaker // of the stores, for reloads that can be done without

	// turn numbers what happens, for an order that is free of clocks.
	turn atomic.Uint64
	// closings are the latest subjects that this process has forgotten or revived.
	closings *lru.Cache[SubjectHash, closing]

	mu      sync.Mutex
	flights map[flightKey]*subjectFlight
	byHash  map[SubjectHash]Subject // those in the cache
	early   struct {                // subjects to look at again in the background
		list    []*earlyLook
		running bool
	}
	sweeper *time.Timer
	closed  bool

	// When a notice was about them; doubtedAll stands for all that aren't listed.
	doubted    map[SubjectHash]uint64 // turns
	doubtedAll uint64

	strays strays

	job rewrapJob // of Maintain; guarded by mu
}

// maxClosings bounds what is remembered of subjects that were forgotten.
const maxClosings = 1 << 16

// A closing is when this process forgot or revived a subject.
type closing struct {
	turn uint64 // looks that began before are out of date
	// since is when the process knew of the tombstone first; monotonic, zero if
	// there is none.
	since time.Time
}

// A subjectSite is a store of subjects. Each has a gate of its own, so that one that
// hangs doesn't hold up the other.
type subjectSite struct {
	SubjectStore
	gate *gate
}

// flightKey: who only reads must not be answered by who creates, nor the other way
// round.
type flightKey struct {
	Subject
	ensure bool
}

// subjectFlight is one load of a subject, for all who wait for it.
type subjectFlight struct {
	flight
	waiters int
	entry   *subjectEntry // holds a reference until the last waiter has gone
}

type earlyLook struct {
	subj Subject
	old  *subjectEntry // not held
}

// errOutdated: a look began before the subject was forgotten or revived.
var errOutdated = errors.New("subject: looked up before it was forgotten or revived")

func newSubjects(r *Keyring, store Store, opts OpenOptions) *subjects {
	s := &subjects{ring: r, opts: opts, seed: maphash.MakeSeed(), flights: make(map[flightKey]*subjectFlight), byHash: make(map[SubjectHash]Subject)}
	if store, ok := store.(SubjectStore); ok {
		s.store = &subjectSite{store, &r.core().gate}
	}
	if opts.Tombstones != nil {
		s.outside = &subjectSite{opts.Tombstones, new(gate)}
	}
	var err error
	// Whatever changes the cache holds s.mu.
	if s.cache, err = lru.NewWithEvict(opts.SubjectCache, func(_ Subject, e *subjectEntry) {
		delete(s.byHash, e.hash)
		s.letGo(e)
	}); err != nil {
		panic(err) // the size is positive
	}
	if s.closings, err = lru.New[SubjectHash, closing](maxClosings); err != nil {
		panic(err)
	}
	return s
}

// checkTombstones refuses tombstones in the ring's own store, where they would take
// the place of the records.
func checkTombstones(store Store, opts *OpenOptions) error {
	if t := reflect.TypeOf(store); opts.Tombstones != nil && t != nil && t.Comparable() && any(opts.Tombstones) == any(store) {
		return fmt.Errorf("%w: OpenOptions.Tombstones is the ring's own store; give one that its backups don't restore", ErrSubject)
	}
	return nil
}

func (s *subjects) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
	for _, e := range s.cache.Values() {
		e.wipe()
	}
	s.cache.Purge()
	s.strays.wipe(nil)
}

// strays are entries that somebody holds and the cache doesn't: they must be wiped,
// too, when their subject is forgotten.
type strays struct {
	mu  sync.Mutex
	set map[*subjectEntry]bool // guarded by mu
}

// letGo is called with what leaves the cache.
func (s *subjects) letGo(e *subjectEntry) {
	if e.refs.CompareAndSwap(1, 0) {
		e.wipe()
		return
	}
	s.stray(e)
	e.release()
}

// stray notes an entry that somebody holds and the cache doesn't.
func (s *subjects) stray(e *subjectEntry) {
	s.strays.mu.Lock()
	defer s.strays.mu.Unlock()
	if s.strays.set == nil {
		s.strays.set = make(map[*subjectEntry]bool)
	}
	s.strays.set[e] = true
	e.strays.Store(&s.strays)
}

func (s *strays) drop(e *subjectEntry) {
	s.mu.Lock()
	delete(s.set, e)
	s.mu.Unlock()
}

// wipe wipes the strays of a subject; nil are all.
func (s *strays) wipe(h *SubjectHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.set {
		if h == nil || e.hash == *h {
			e.wipe()
		}
	}
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
			s.lookEarly(&earlyLook{subj.clone(), e})
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

// lookEarly looks at a subject again in the background, with others that need it
// meanwhile: a page of rows that was read at once gets old at once.
func (s *subjects) lookEarly(l *earlyLook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.early.list = append(s.early.list, l)
	if !s.early.running {
		s.early.running = true
		go s.runEarly()
	}
}

func (s *subjects) runEarly() {
	ctx := s.ring.core().bg.ctx
	for {
		s.mu.Lock()
		n := min(len(s.early.list), MaxSubjectBatch)
		if n == 0 || s.closed {
			s.early.list, s.early.running = nil, false
			s.mu.Unlock()
			return
		}
		batch := s.early.list[:n]
		s.early.list = s.early.list[n:]
		s.mu.Unlock()

		if s.breaker.allow() == nil {
			list := make([]Subject, n)
			for i, l := range batch {
				list[i] = l.subj
			}
			out, _, _ := s.load(ctx, list, false)
			for _, e := range out {
				if e != nil {
					e.release()
				}
			}
			s.breaker.ended(false, nil) // if no store was asked
		}
		for _, l := range batch {
			l.old.reloading.Store(false)
		}
	}
}

// confirm is reload for a subject whose keys are at hand: while the store fails,
// it isn't asked each time.
func (s *subjects) confirm(ctx context.Context, subj Subject, ensure bool) (*subjectEntry, error) {
	if err := s.breaker.allow(); err != nil {
		return nil, err
	}
	defer s.breaker.ended(false, nil) // if no store was asked
	return s.reload(ctx, subj, ensure)
}

// reload loads a subject, once for all who ask meanwhile, and returns the entry
// held by the caller.
func (s *subjects) reload(ctx context.Context, subj Subject, ensure bool) (*subjectEntry, error) {
	if err := subj.validate(); err != nil {
		return nil, err
	}
	key := flightKey{subj.clone(), ensure}
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
			e, err := s.loadOne(ctx, key.Subject, ensure)
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
			return e, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (s *subjects) loadOne(ctx context.Context, subj Subject, ensure bool) (*subjectEntry, error) {
	for {
		entries, errs, err := s.load(ctx, []Subject{subj}, ensure)
		switch {
		case err != nil:
			return nil, err
		case errors.Is(errs[0], errOutdated):
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		case errs[0] != nil:
			return nil, errs[0]
		case entries[0] == nil:
			return nil, fmt.Errorf("the subject has no keys: %w", ErrUnknownKey)
		default:
			return entries[0], nil
		}
	}
}

// warm loads those subjects that aren't at hand. A subject that can't be loaded
// doesn't keep the others from it; the first such error is returned.
func (s *subjects) warm(ctx context.Context, list []Subject, ensure bool) (first error) {
	cold := make([]Subject, 0, len(list))
	seen := make(map[Subject]bool, len(list))
	for _, subj := range list {
		if seen[subj] {
			continue
		}
		seen[subj] = true
		if err := subj.validate(); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
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
		entries, errs, err := s.load(ctx, cold[:n], ensure)
		if err != nil {
			return err
		}
		for i, e := range entries {
			if e != nil {
				e.release()
			} else if err := errs[i]; err != nil && first == nil && !errors.Is(err, errOutdated) && !errors.Is(err, ErrForgotten) {
				first = err
			}
		}
		cold = cold[n:]
	}
	return first
}

// keep puts an entry into the cache, which holds it besides the caller, and returns
// it; or the one that is there, held by the caller instead, if it is better.
//
// Errors: errOutdated; ErrClosed. Then nothing is held.
func (s *subjects) keep(subj Subject, e *subjectEntry) (*subjectEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		e.release()
		return nil, ErrClosed
	}
	if c, ok := s.closings.Peek(e.hash); ok && e.turn < c.turn {
		e.release()
		return nil, errOutdated
	}
	if s.doubts(e) {
		s.stray(e) // for this piece of work only
		return e, nil
	}
	if old, ok := s.cache.Peek(subj); ok {
		if old.better(e) && old.acquire() {
			e.release()
			return old, nil
		}
		s.cache.Remove(subj) // lets go of it
	}
	e.refs.Add(1)
	s.cache.Add(subj, e)
	s.byHash[e.hash] = subj
	if s.sweeper == nil {
		s.sweeper = time.AfterFunc(s.opts.MaxStale/2, s.sweep)
	}
	return e, nil
}

// better reports whether an entry is to be used rather than e. Neither is rolled
// back. Of two open ones it is the one of the higher revision: a look may begin
// later and yet see less than the writer who is at it.
func (old *subjectEntry) better(e *subjectEntry) bool {
	if old.state == subjectOpen && e.state == subjectOpen && old.revision != e.revision {
		return old.revision > e.revision
	}
	return old.turn > e.turn
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

// settle wipes what this process holds of a subject, whoever holds it, and makes
// looks that are under way begin again. next, if there is one, is what is known now.
func (s *subjects) settle(subj Subject, h SubjectHash, next *subjectEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := closing{turn: s.turn.Add(1)}
	if next != nil && next.state == subjectForgotten {
		c.since = time.Now()
		if old, ok := s.closings.Peek(h); ok && !old.since.IsZero() {
			c.since = old.since
		}
	}
	s.closings.Add(h, c)
	delete(s.flights, flightKey{subj, false})
	delete(s.flights, flightKey{subj, true})
	if e, ok := s.cache.Peek(subj); ok {
		e.wipe()
		s.cache.Remove(subj)
	}
	s.strays.wipe(&h)
	if next != nil && !s.closed {
		next.turn, next.known = s.turn.Add(1), s.turn.Load()
		s.cache.Add(subj, next)
		s.byHash[h] = subj
	}
}
