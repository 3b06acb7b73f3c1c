package keyring

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/structseal/structseal/crypto"
)

// subjectHook is told each step of a change by name, for tests that kill the
// process there.
var subjectHook = func(step string) {}

// stored is a record as it came from the store: its header and what is behind, the
// sealed keys or the tag.
type stored struct {
	subjectRecord
	header, rest []byte
	one          [1]subjectKeyRecord // of keys, for most subjects
}

var errNoSubjects = fmt.Errorf("%w: the ring's store keeps none; see SubjectStore", ErrSubject)

// root runs fn on the bytes of the subject-hash key.
func (s *subjects) root(ctx context.Context, fn func(root []byte) error) error {
	for {
		e, err := s.ring.fill(ctx, func(snap *snapshot) (*entry, error) { return snap.primary[HashSubjects], nil })
		if err != nil {
			return err
		}
		if e.useRoot(func(root []byte) { err = fn(root) }) {
			return err
		}
	}
}

// hashes returns the keyed hashes of subjects.
func (s *subjects) hashes(ctx context.Context, list []Subject) ([]SubjectHash, error) {
	out := make([]SubjectHash, len(list))
	err := s.root(ctx, func(root []byte) error {
		hash := newSubjectHasher(root, s.ring.name)
		for i, subj := range list {
			out[i] = hash.sum(subj)
		}
		return nil
	})
	return out, err
}

// ask makes one bounded call to a store, and counts it.
func ask[T any](ctx context.Context, c *core, count *atomic.Uint64, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	count.Add(1)
	out, err := guard(ctx, &c.gate, call, func(T) {})
	if err == nil {
		return out, nil
	}
	if !errors.Is(err, ErrConflict) {
		c.counts.storeErrors.Add(1)
	}
	var none T
	return none, storeError(err)
}

// read asks a store for records.
func (s *subjects) read(ctx context.Context, store SubjectStore, hashes []SubjectHash) (map[SubjectHash]Record, error) {
	c := s.ring.core()
	return ask(ctx, c, &c.counts.reads, func(ctx context.Context) (map[SubjectHash]Record, error) {
		return store.LoadSubjects(ctx, s.ring.name, hashes)
	})
}

// swap is a compare-and-swap.
func (s *subjects) swap(ctx context.Context, store SubjectStore, h SubjectHash, old uint64, next Record) error {
	c := s.ring.core()
	_, err := ask(ctx, c, &c.counts.writes, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, store.CompareAndSwapSubject(ctx, s.ring.name, h, old, next)
	})
	return err
}

// a look is what the stores had of some subjects.
type look struct {
	asked         time.Time // monotonic
	rows, outside map[SubjectHash]Record
}

func (s *subjects) look(ctx context.Context, hashes []SubjectHash) (l *look, err error) {
	l = &look{asked: time.Now()}
	if l.rows, err = s.read(ctx, s.store, hashes); err != nil {
		return nil, err
	}
	if s.opts.Tombstones != nil {
		// After the rows: a subject that is forgotten in between is seen here.
		if l.outside, err = s.read(ctx, s.opts.Tombstones, hashes); err != nil {
			return nil, fmt.Errorf("tombstones: %w", err)
		}
	}
	return l, nil
}

// parse reads a record and, if it is a tombstone, authenticates it.
func (s *subjects) parse(ctx context.Context, h SubjectHash, r Record) (*stored, error) {
	rec, err := parseSubject(r)
	if err != nil {
		return nil, err
	}
	if rec.state != subjectOpen {
		err := s.root(ctx, func(root []byte) error { return verifyTombstone(root, s.ring.name, h, rec.header, rec.rest) })
		if err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// load loads subjects from the stores, in two calls at most, and puts them into
// the cache. It returns an entry for each, held by the caller; nil for one that
// has no keys.
func (s *subjects) load(ctx context.Context, list []Subject, ensure bool) (out []*subjectEntry, err error) {
	if s.store == nil {
		return nil, errNoSubjects
	}
	// A ring whose record is too old must not unwrap by it.
	if err := s.ring.current(ctx); err != nil {
		return nil, err
	}
	hashes, err := s.hashes(ctx, list)
	if err != nil {
		return nil, err
	}
	l, err := s.look(ctx, hashes)
	if err != nil {
		return nil, err
	}
	out = make([]*subjectEntry, len(list))
	defer func() {
		if err != nil {
			for _, e := range out {
				if e != nil {
					e.release()
				}
			}
			out = nil
		}
	}()
	err = severally(len(hashes), runtime.GOMAXPROCS(0), func(i int) (err error) {
		out[i], err = s.entry(ctx, hashes[i], l)
		return err
	})
	if err != nil {
		return out, err
	}
	var missing []int
	for i, e := range out {
		if e.state == subjectForgotten || e.primary != nil {
			continue
		}
		e.release()
		out[i] = nil
		if ensure {
			missing = append(missing, i)
		}
	}
	if err := s.createAll(ctx, hashes, l, missing, out); err != nil {
		return out, err
	}
	for i, e := range out {
		if e != nil {
			if err := s.noRollback(list[i], e); err != nil {
				return out, err
			}
			s.keep(list[i], e)
		}
	}
	return out, nil
}

// noRollback refuses a record older than the one that this process knows.
func (s *subjects) noRollback(subj Subject, e *subjectEntry) error {
	old, ok := s.cache.Peek(subj)
	if ok && e.state != subjectForgotten && old.revision > e.revision && e.asked.After(old.asked) {
		return fmt.Errorf("%w: the store has revision %d of a subject, this process has seen %d; was a backup restored?", ErrRollback, e.revision, old.revision)
	}
	return nil
}

// entry makes the entry of what is stored for a subject, held by the caller.
func (s *subjects) entry(ctx context.Context, h SubjectHash, l *look) (*subjectEntry, error) {
	rec, state, err := s.judge(ctx, h, l)
	if err != nil {
		return nil, err
	}
	e := newSubjectEntry(l, h, state)
	if rec == nil {
		return e, nil
	}
	wrap, secrets, err := s.unwrap(ctx, h, rec)
	if err != nil {
		return nil, err
	}
	defer clear(secrets)
	return e, e.fill(&rec.subjectRecord, secrets, wrap)
}

// newSubjectEntry makes an entry without keys, held by the caller.
func newSubjectEntry(l *look, h SubjectHash, state subjectState) *subjectEntry {
	e := &subjectEntry{asked: l.asked, state: state, revision: l.rows[h].Revision}
	e.refs.Store(1)
	return e
}

// judge says whether a subject is open, by its record and the tombstone outside.
// The record returned is that of an open one, nil if it has none.
func (s *subjects) judge(ctx context.Context, h SubjectHash, l *look) (*stored, subjectState, error) {
	var mark *stored
	if r, ok := l.outside[h]; ok {
		var err error
		if mark, err = s.parse(ctx, h, r); err != nil {
			return nil, 0, fmt.Errorf("tombstones: %w", err)
		}
		switch mark.state {
		case subjectOpen:
			return nil, 0, fmt.Errorf("tombstones: %w: the record of an open subject", ErrCorrupt)
		case subjectForgotten:
			return nil, subjectForgotten, nil
		}
	}
	r, ok := l.rows[h]
	if !ok {
		return nil, subjectOpen, nil
	}
	rec, err := s.parse(ctx, h, r)
	if err != nil {
		return nil, 0, err
	}
	switch rec.state {
	case subjectForgotten:
		return nil, subjectForgotten, nil
	case subjectOpen:
	default:
		return nil, 0, fmt.Errorf("%w: subject: state %d in the store", ErrCorrupt, rec.state)
	}
	if mark != nil {
		for _, k := range rec.keys {
			if mark.isRetired(k.id) {
				return nil, 0, fmt.Errorf("%w: its keys were destroyed, and the store has them again: was a backup restored? Forget it again", ErrForgotten)
			}
		}
	}
	return rec, subjectOpen, nil
}

// fill makes the keys.
func (e *subjectEntry) fill(rec *subjectRecord, secrets []byte, wrap *cell) error {
	e.revision, e.wrap, e.keys = rec.revision, wrap, e.one[:0]
	for i, k := range rec.keys {
		key, err := crypto.NewKey(crypto.Default, k.id, secrets[i*subjectSecret:(i+1)*subjectSecret])
		if err != nil {
			e.wipe()
			return err
		}
		e.keys = append(e.keys, key)
		if k.state == Primary {
			e.primary = key
		}
	}
	return nil
}

// unwrap returns the secrets of an open subject, which the caller wipes, and the
// cell of the key that wraps them.
func (s *subjects) unwrap(ctx context.Context, h SubjectHash, rec *stored) (*cell, []byte, error) {
	id, err := crypto.KeyID(rec.rest)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: subject: its keys: %w", ErrCorrupt, err)
	}
	key, cell, err := s.wrapKey(ctx, id)
	if err != nil {
		return nil, nil, fmt.Errorf("subject: %w", err)
	}
	secrets, err := openSubject(s.ring.name, h, &rec.subjectRecord, rec.header, rec.rest, key)
	return cell, secrets, err
}

// wrapKey returns the subject-wrap key of an id; 0 is the primary.
func (s *subjects) wrapKey(ctx context.Context, id uint32) (*crypto.Key, *cell, error) {
	for {
		var key *crypto.Key
		var err error
		if id == 0 {
			key, err = s.ring.coldPrimary(ctx, SubjectWrap)
		} else {
			key, err = s.ring.coldKey(ctx, SubjectWrap, id)
		}
		if err != nil {
			return nil, nil, err
		}
		snap := s.ring.live.Load()
		if e := snap.lookup(key.ID()); e != nil && e.cell != nil && e.key.Load() == key {
			return key, e.cell, nil
		}
		if snap == nil {
			return nil, nil, ErrClosed
		}
	}
}

// createAll creates the keys of subjects that have none.
func (s *subjects) createAll(ctx context.Context, hashes []SubjectHash, l *look, missing []int, out []*subjectEntry) error {
	return severally(len(missing), storeCalls, func(n int) (err error) {
		i := missing[n]
		out[i], err = s.create(ctx, hashes[i], l)
		return err
	})
}

// storeCalls is how many calls to a store are under way at once where there are
// many to make.
const storeCalls = 8

// severally calls fn for 0 to n-1, so many at once. After an error no further call
// begins; it returns the first.
func severally(n, atOnce int, fn func(i int) error) error {
	if n == 1 {
		return fn(0)
	}
	var next atomic.Int64
	var failed atomic.Bool
	var once sync.Once
	var first error
	var wg sync.WaitGroup
	for range min(atOnce, n) {
		wg.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := fn(i); err != nil {
					failed.Store(true)
					once.Do(func() { first = err })
				}
			}
		})
	}
	wg.Wait()
	return first
}

// create gives a subject its first key, or takes what somebody else gave it.
func (s *subjects) create(ctx context.Context, h SubjectHash, l *look) (*subjectEntry, error) {
	return s.change(ctx, h, l, func(now *stored, secrets []byte) (*subjectRecord, []byte, error) {
		if now != nil && len(now.keys) > 0 {
			return nil, nil, errDone
		}
		return addSubjectKey(now, secrets)
	})
}

// addSubjectKey returns the next record with a fresh primary.
func addSubjectKey(now *stored, secrets []byte) (*subjectRecord, []byte, error) {
	var rec *subjectRecord
	if now != nil {
		rec = &now.subjectRecord
	}
	next := rec.next()
	if len(next.keys) >= maxSubjectKeys {
		return nil, nil, fmt.Errorf("%w: a subject has %d keys", ErrTooLarge, len(next.keys))
	}
	id := uint32(0)
	for taken := true; taken; {
		var b [4]byte
		rand.Read(b[:])
		id = binary.BigEndian.Uint32(b[:])
		taken = id == 0 || next.isRetired(id)
		for i := range next.keys {
			taken = taken || next.keys[i].id == id
			next.keys[i].state = Enabled
		}
	}
	next.keys = append(next.keys, subjectKeyRecord{id: id, state: Primary, created: unixNow()})
	all := make([]byte, len(secrets)+subjectSecret)
	copy(all, secrets)
	rand.Read(all[len(secrets):])
	return next, all, nil
}

// change brings an open subject to its next record: fn gets the current one (nil
// if there is none) with its secrets and returns the next one with its own, which
// change wipes; errDone if there is nothing to do. It starts from l, or looks if
// that is nil; tried again on a fresh look while others write first. It returns
// the entry of what is stored then, held; that of a forgotten subject has no keys.
func (s *subjects) change(ctx context.Context, h SubjectHash, l *look, fn func(now *stored, secrets []byte) (*subjectRecord, []byte, error)) (e *subjectEntry, err error) {
	err = untilUncontended(ctx, func() (err error) {
		if l == nil {
			if l, err = s.look(ctx, []SubjectHash{h}); err != nil {
				return err
			}
		}
		e, err = s.changeOnce(ctx, h, l, fn)
		l = nil
		return err
	})
	return e, err
}

func (s *subjects) changeOnce(ctx context.Context, h SubjectHash, l *look, fn func(now *stored, secrets []byte) (*subjectRecord, []byte, error)) (*subjectEntry, error) {
	now, state, err := s.judge(ctx, h, l)
	if err != nil {
		return nil, err
	}
	e := newSubjectEntry(l, h, state)
	if state == subjectForgotten {
		return e, nil
	}
	var secrets []byte
	var wrap *cell
	old := uint64(0)
	if now != nil {
		if wrap, secrets, err = s.unwrap(ctx, h, now); err != nil {
			return nil, err
		}
		defer clear(secrets)
		old = now.revision
	}
	next, all, err := fn(now, secrets)
	if errors.Is(err, errDone) && now != nil {
		return e, e.fill(&now.subjectRecord, secrets, wrap)
	}
	if err != nil {
		return nil, err
	}
	defer clear(all)
	key, cell, err := s.wrapKey(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	r, err := sealSubject(s.ring.name, h, next, key, all)
	if err != nil {
		return nil, err
	}
	subjectHook("wrapped")
	if err := s.swap(ctx, s.store, h, old, r); err != nil {
		return nil, err
	}
	subjectHook("stored")
	return e, e.fill(next, all, cell)
}

// untilUncontended calls fn again while it ends with ErrConflict and ctx lasts.
func untilUncontended(ctx context.Context, fn func() error) error {
	for try := 0; ; try++ {
		err := fn()
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if cause := pause(ctx, try); cause != nil {
			return fmt.Errorf("%w (gave up after %d tries: %w)", err, try+1, cause)
		}
	}
}

// RotateSubject gives a subject a fresh primary; what is sealed opens with the old
// keys. Processes that hold the old ones find the new one when they meet its id,
// if they can reach the store then.
//
// Errors: those of EnsureSubject; ErrTooLarge at 64 keys.
func (r *Keyring) RotateSubject(ctx context.Context, subj Subject) (id uint32, err error) {
	s := r.core().subjects
	err = s.rotate(ctx, subj, &id)
	return id, ringError(r.name, err)
}

func (s *subjects) rotate(ctx context.Context, subj Subject, id *uint32) error {
	if err := subj.validate(); err != nil {
		return err
	}
	if s.store == nil {
		return errNoSubjects
	}
	hashes, err := s.hashes(ctx, []Subject{subj})
	if err != nil {
		return err
	}
	out, err := s.change(ctx, hashes[0], nil, addSubjectKey)
	if err != nil {
		return err
	}
	defer out.release()
	if out.state == subjectForgotten {
		return ErrForgotten
	}
	*id = out.primary.ID()
	s.keep(subj.clone(), out)
	return nil
}
