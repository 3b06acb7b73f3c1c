package keyring

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/structseal/structseal/crypto"
)

// subjectHook is told each step of a change by name, for tests that kill the
// process there.
var subjectHook = func(step string) {}

// stored is a record as it came from the store, authentic.
type stored struct {
	*subjectRecord
	header, rest []byte
}

var errNoSubjects = fmt.Errorf("%w: the ring's store keeps none; see SubjectStore", ErrSubject)

// root runs fn on the bytes of the subject-hash key.
func (s *subjects) root(ctx context.Context, fn func(root []byte) error) error {
	for {
		e, err := s.ring.fill(ctx, func(snap *snapshot) (*entry, error) { return snap.primary[HashSubjects], nil })
		if err != nil {
			return errors.Unwrap(err) // it names the ring again
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
		for i, subj := range list {
			out[i] = hashSubject(root, s.ring.name, subj)
		}
		return nil
	})
	return out, err
}

// read asks a store for records, within the call timeout.
func (s *subjects) read(ctx context.Context, store SubjectStore, hashes []SubjectHash) (map[SubjectHash]Record, error) {
	c := s.ring.core()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	c.counts.reads.Add(1)
	out, err := guard(ctx, &c.gate, func(ctx context.Context) (map[SubjectHash]Record, error) {
		return store.LoadSubjects(ctx, s.ring.name, hashes)
	}, func(map[SubjectHash]Record) {})
	if err != nil {
		c.counts.storeErrors.Add(1)
		return nil, storeError(err)
	}
	return out, nil
}

// swap is one bounded compare-and-swap.
func (s *subjects) swap(ctx context.Context, store SubjectStore, h SubjectHash, old uint64, next Record) error {
	c := s.ring.core()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	c.counts.writes.Add(1)
	_, err := guard(ctx, &c.gate, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, store.CompareAndSwapSubject(ctx, s.ring.name, h, old, next)
	}, func(struct{}) {})
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrConflict) {
		c.counts.storeErrors.Add(1)
	}
	return storeError(err)
}

// parse reads a record and, if it is a tombstone, authenticates it.
func (s *subjects) parse(ctx context.Context, h SubjectHash, r Record) (*stored, error) {
	rec, header, rest, err := parseSubject(r)
	if err != nil {
		return nil, err
	}
	if rec.state != subjectOpen {
		err := s.root(ctx, func(root []byte) error { return verifyTombstone(root, s.ring.name, h, header, rest) })
		if err != nil {
			return nil, err
		}
	}
	return &stored{rec, header, rest}, nil
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
	asked := time.Now()
	rows, err := s.read(ctx, s.store, hashes)
	if err != nil {
		return nil, err
	}
	var outside map[SubjectHash]Record
	if s.opts.Tombstones != nil {
		// After the rows: a subject that is forgotten in between is seen here.
		if outside, err = s.read(ctx, s.opts.Tombstones, hashes); err != nil {
			return nil, fmt.Errorf("tombstones: %w", err)
		}
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
	var missing []int
	for i, h := range hashes {
		e, err := s.entry(ctx, h, rows, outside, asked)
		if err != nil {
			return out, err
		}
		if e.state == subjectForgotten || e.primary != nil {
			out[i] = e
			continue
		}
		e.release()
		if ensure {
			missing = append(missing, i)
		}
	}
	if err := s.createAll(ctx, hashes, missing, out); err != nil {
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
func (s *subjects) entry(ctx context.Context, h SubjectHash, rows, outside map[SubjectHash]Record, asked time.Time) (*subjectEntry, error) {
	e := &subjectEntry{hash: h, asked: asked, state: subjectOpen}
	e.refs.Store(1)
	var mark *stored
	if r, ok := outside[h]; ok {
		var err error
		if mark, err = s.parse(ctx, h, r); err != nil {
			return nil, fmt.Errorf("tombstones: %w", err)
		}
		if mark.state == subjectOpen {
			return nil, fmt.Errorf("tombstones: %w: the record of an open subject", ErrCorrupt)
		}
	}
	r, ok := rows[h]
	if mark != nil && mark.state == subjectForgotten {
		e.state, e.revision = subjectForgotten, r.Revision
		return e, nil
	}
	if !ok {
		return e, nil
	}
	rec, err := s.parse(ctx, h, r)
	if err != nil {
		return nil, err
	}
	e.revision = rec.revision
	switch rec.state {
	case subjectForgotten:
		e.state = subjectForgotten
		return e, nil
	case subjectOpen:
	default:
		return nil, fmt.Errorf("%w: subject: state %d in the store", ErrCorrupt, rec.state)
	}
	if mark != nil {
		for _, k := range rec.keys {
			if mark.isRetired(k.id) {
				return nil, fmt.Errorf("%w: its keys were destroyed, and the store has them again: was a backup restored? Forget it again", ErrForgotten)
			}
		}
	}
	wrap, secrets, err := s.unwrap(ctx, h, rec)
	if err != nil {
		return nil, err
	}
	defer clear(secrets)
	return e, e.fill(rec.subjectRecord, secrets, wrap)
}

// fill makes the keys.
func (e *subjectEntry) fill(rec *subjectRecord, secrets []byte, wrap *cell) error {
	e.revision, e.wrap = rec.revision, wrap
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
	secrets, err := openSubject(s.ring.name, h, rec.subjectRecord, rec.header, rec.rest, key)
	return cell, secrets, err
}

// wrapKey returns the subject-wrap key of an id; 0 is the primary.
func (s *subjects) wrapKey(ctx context.Context, id uint32) (*crypto.Key, *cell, error) {
	for {
		var key *crypto.Key
		var err error
		if id == 0 {
			key, err = s.ring.Primary(ctx, SubjectWrap)
		} else {
			key, err = s.ring.Key(ctx, SubjectWrap, id)
		}
		if err != nil {
			return nil, nil, errors.Unwrap(err)
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

// createAll creates the keys of subjects that have none, several at once because
// each waits for the store.
func (s *subjects) createAll(ctx context.Context, hashes []SubjectHash, missing []int, out []*subjectEntry) error {
	if len(missing) == 0 {
		return nil
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	next := make(chan int, len(missing))
	for _, i := range missing {
		next <- i
	}
	close(next)
	for range min(8, len(missing)) {
		wg.Go(func() {
			for i := range next {
				e, err := s.create(ctx, hashes[i])
				mu.Lock()
				out[i] = e
				if first == nil {
					first = err
				}
				stop := first != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}

// create gives a subject its first key, or takes what somebody else gave it.
func (s *subjects) create(ctx context.Context, h SubjectHash) (*subjectEntry, error) {
	var out *subjectEntry
	err := s.change(ctx, h, func(now *stored, secrets []byte) (*subjectRecord, []byte, error) {
		if now != nil && len(now.keys) > 0 {
			return nil, nil, errDone
		}
		return addSubjectKey(now, secrets)
	}, func(e *subjectEntry) { out = e })
	return out, err
}

// addSubjectKey returns the next record with a fresh primary.
func addSubjectKey(now *stored, secrets []byte) (*subjectRecord, []byte, error) {
	var rec *subjectRecord
	if now != nil {
		rec = now.subjectRecord
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
// change wipes; errDone if there is nothing to do. Tried again while others write
// first. done gets the entry of what is stored then, held.
func (s *subjects) change(ctx context.Context, h SubjectHash, fn func(now *stored, secrets []byte) (*subjectRecord, []byte, error), done func(*subjectEntry)) error {
	for try := 0; ; try++ {
		asked := time.Now()
		rows, err := s.read(ctx, s.store, []SubjectHash{h})
		if err != nil {
			return err
		}
		var outside map[SubjectHash]Record
		if s.opts.Tombstones != nil {
			if outside, err = s.read(ctx, s.opts.Tombstones, []SubjectHash{h}); err != nil {
				return fmt.Errorf("tombstones: %w", err)
			}
		}
		e, err := s.entry(ctx, h, rows, outside, asked)
		if err != nil {
			return err
		}
		if e.state == subjectForgotten {
			done(e)
			return nil
		}
		e.release()
		entry, err := s.changeOnce(ctx, h, rows, asked, fn)
		if err == nil {
			done(entry)
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return fmt.Errorf("%w (gave up after %d tries: %w)", ErrConflict, try+1, err)
		}
	}
}

func (s *subjects) changeOnce(ctx context.Context, h SubjectHash, rows map[SubjectHash]Record, asked time.Time, fn func(now *stored, secrets []byte) (*subjectRecord, []byte, error)) (*subjectEntry, error) {
	var now *stored
	var secrets []byte
	var wrap *cell
	if r, ok := rows[h]; ok {
		var err error
		if now, err = s.parse(ctx, h, r); err != nil {
			return nil, err
		}
		if wrap, secrets, err = s.unwrap(ctx, h, now); err != nil {
			return nil, err
		}
		defer clear(secrets)
	}
	e := &subjectEntry{hash: h, asked: asked, state: subjectOpen}
	e.refs.Store(1)
	next, all, err := fn(now, secrets)
	if errors.Is(err, errDone) && now != nil {
		return e, e.fill(now.subjectRecord, secrets, wrap)
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
	old := uint64(0)
	if now != nil {
		old = now.revision
	}
	subjectHook("wrapped")
	if err := s.swap(ctx, s.store, h, old, r); err != nil {
		return nil, err
	}
	subjectHook("stored")
	return e, e.fill(next, all, cell)
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
	var out *subjectEntry
	if err := s.change(ctx, hashes[0], addSubjectKey, func(e *subjectEntry) { out = e }); err != nil {
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
