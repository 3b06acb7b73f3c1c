package keyring

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
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
	data, header, rest []byte              // data is both
	one                [1]subjectKeyRecord // of keys, for most subjects
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
func ask[T any](ctx context.Context, c *core, g *gate, count *atomic.Uint64, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	count.Add(1)
	out, err := guard(ctx, g, call, func(T) {})
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
func (s *subjects) read(ctx context.Context, at *subjectSite, hashes []SubjectHash) (map[SubjectHash]Record, error) {
	c := s.ring.core()
	rows, err := ask(ctx, c, at.gate, &c.counts.reads, func(ctx context.Context) (map[SubjectHash]Record, error) {
		return at.LoadSubjects(ctx, s.ring.name, hashes)
	})
	if errors.Is(err, ErrConflict) {
		// Serialisable databases give up reads, too.
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return rows, err
}

// swap is a compare-and-swap.
func (s *subjects) swap(ctx context.Context, at *subjectSite, h SubjectHash, old uint64, next Record) error {
	c := s.ring.core()
	_, err := ask(ctx, c, at.gate, &c.counts.writes, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, at.CompareAndSwapSubject(ctx, s.ring.name, h, old, next)
	})
	return err
}

// a look is what the stores had of some subjects.
type look struct {
	asked         time.Time // monotonic
	turn          uint64
	rows, outside map[SubjectHash]Record
	away          error // why there is no outside
}

func (s *subjects) look(ctx context.Context, hashes []SubjectHash) (l *look, err error) {
	l = &look{asked: time.Now(), turn: s.turn.Add(1)}
	l.rows, err = s.read(ctx, s.store, hashes)
	if err == nil && s.outside != nil {
		// After the rows: a subject that is forgotten in between is seen here.
		if l.outside, l.away = s.read(ctx, s.outside, hashes); l.away != nil {
			l.away = fmt.Errorf("tombstones: %w", l.away)
		}
	}
	switch failed := cmp.Or(err, l.away); {
	case ctx.Err() != nil:
		s.breaker.ended(false, nil) // the caller's affair
	case errors.Is(failed, ErrUnavailable):
		s.breaker.ended(false, failed)
	default:
		s.breaker.ended(true, nil)
	}
	if err != nil {
		return nil, err
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
// the cache. It returns an entry for each, held by the caller; nil for one that has
// no keys, or an error of its own, which may be errOutdated.
func (s *subjects) load(ctx context.Context, list []Subject, ensure bool) (out []*subjectEntry, errs []error, err error) {
	if s.store == nil {
		return nil, nil, errNoSubjects
	}
	// A ring whose record is too old must not unwrap by it.
	if err := s.ring.current(ctx); err != nil {
		return nil, nil, err
	}
	hashes, err := s.hashes(ctx, list)
	if err != nil {
		return nil, nil, err
	}
	l, err := s.look(ctx, hashes)
	if err != nil {
		return nil, nil, err
	}
	out, errs = make([]*subjectEntry, len(list)), make([]error, len(list))
	// What is wrong with one subject is its own affair; what is away is so for all.
	sort := func(i int, e *subjectEntry, err error) error {
		out[i] = e
		if errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		errs[i] = err
		return nil
	}
	err = severally(len(list), runtime.GOMAXPROCS(0), func(i int) error {
		e, err := s.entry(ctx, list[i], hashes[i], l)
		return sort(i, e, err)
	})
	if err == nil && ensure {
		var missing []int
		for i := range list {
			if out[i] == nil && errs[i] == nil {
				missing = append(missing, i)
			}
		}
		err = severally(len(missing), storeCalls, func(n int) error {
			i := missing[n]
			e, err := s.create(ctx, list[i], hashes[i], l)
			return sort(i, e, err)
		})
	}
	for i, e := range out {
		switch {
		case e == nil:
		case err != nil:
			e.release()
		default:
			out[i], errs[i] = s.keep(list[i], e)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return out, errs, nil
}

// noRollback refuses a record older than the one that this process knows.
func (s *subjects) noRollback(subj Subject, e *subjectEntry, l *look) error {
	old, ok := s.cache.Peek(subj)
	if !ok || e.turn < old.known {
		return nil
	}
	const hint = "was a backup restored?"
	switch {
	case e.outside < old.outside && l.away == nil:
		return fmt.Errorf("%w: tombstones: revision %d of a subject, this process has seen %d; %s", ErrRollback, e.outside, old.outside, hint)
	case e.state == subjectForgotten && e.outside > 0:
		return nil // closed, whatever the row is
	case e.revision == 0 && old.revision > 0:
		return fmt.Errorf("%w: the store has lost the record of a subject; %s", ErrRollback, hint)
	case e.revision < old.revision:
		return fmt.Errorf("%w: the store has revision %d of a subject, this process has seen %d; %s", ErrRollback, e.revision, old.revision, hint)
	case e.revision == old.revision && e.digest != old.digest:
		return fmt.Errorf("%w: the store has another revision %d of a subject than this process has seen; was a backup restored and written to?", ErrRollback, e.revision)
	}
	return nil
}

// entry makes the entry of what is stored for a subject, held by the caller; nil if
// it has no keys.
func (s *subjects) entry(ctx context.Context, subj Subject, h SubjectHash, l *look) (*subjectEntry, error) {
	j, err := s.judge(ctx, h, l)
	if err != nil {
		return nil, err
	}
	e := s.newEntry(l, h, j)
	if err := s.noRollback(subj, e, l); err != nil {
		return nil, err
	}
	if e.state == subjectForgotten {
		return e, nil
	}
	if j.row == nil || len(j.row.keys) == 0 {
		return nil, nil
	}
	wrap, secrets, err := s.unwrap(ctx, h, j.row)
	if err != nil {
		return nil, err
	}
	defer clear(secrets)
	if err := e.fill(&j.row.subjectRecord, secrets, wrap); err != nil {
		return nil, err
	}
	return e, nil
}

// newEntry makes an entry without keys, held by the caller.
func (s *subjects) newEntry(l *look, h SubjectHash, j *judgement) *subjectEntry {
	e := &subjectEntry{hash: h, asked: l.asked, turn: l.turn, known: s.turn.Add(1), state: j.state}
	if j.row != nil {
		e.revision, e.digest = j.row.revision, maphash.Bytes(s.seed, j.row.data)
	}
	if j.mark != nil {
		e.outside = j.mark.revision
	}
	return e.held()
}

func (e *subjectEntry) held() *subjectEntry {
	e.refs.Store(1)
	return e
}

// A judgement says whether a subject is open, by its record and the tombstone
// outside.
type judgement struct {
	state     subjectState
	row, mark *stored // nil if there is none
}

// judge looks at the record first: that a subject is forgotten is final, also while
// the tombstones outside are away.
func (s *subjects) judge(ctx context.Context, h SubjectHash, l *look) (*judgement, error) {
	j := &judgement{state: subjectOpen}
	var bad error
	if r, ok := l.rows[h]; ok {
		if j.row, bad = s.parse(ctx, h, r); bad == nil && j.row.state == subjectRevived {
			bad = fmt.Errorf("%w: subject: state %d in the store", ErrCorrupt, j.row.state)
		}
		if bad == nil {
			j.state = j.row.state
		} else {
			j.row = nil
		}
	}
	if r, ok := l.outside[h]; ok {
		mark, err := s.parse(ctx, h, r)
		if err == nil && mark.state == subjectOpen {
			err = fmt.Errorf("%w: the record of an open subject; is it the store of the ring?", ErrCorrupt)
		}
		if err != nil && j.state != subjectForgotten {
			return nil, fmt.Errorf("tombstones: %w", err)
		}
		if err == nil {
			j.mark = mark
		}
	}
	if j.mark != nil && j.mark.state == subjectForgotten {
		j.state = subjectForgotten
	}
	switch {
	case j.state == subjectForgotten:
		return j, nil
	case l.away != nil:
		return nil, l.away
	case bad != nil:
		return nil, bad
	case j.row != nil && j.mark != nil && j.row.life < j.mark.life:
		return nil, fmt.Errorf("%w: its keys were destroyed, and the store has them again: was a backup restored? Forget it again", ErrForgotten)
	}
	return j, nil
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
func (s *subjects) create(ctx context.Context, subj Subject, h SubjectHash, l *look) (*subjectEntry, error) {
	return s.change(ctx, subj, h, l, func(now *stored, secrets []byte) (*subjectRecord, []byte, error) {
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
func (s *subjects) change(ctx context.Context, subj Subject, h SubjectHash, l *look, fn func(now *stored, secrets []byte) (*subjectRecord, []byte, error)) (e *subjectEntry, err error) {
	err = untilUncontended(ctx, func() (err error) {
		if l == nil {
			if l, err = s.look(ctx, []SubjectHash{h}); err != nil {
				return err
			}
		}
		e, err = s.changeOnce(ctx, subj, h, l, fn)
		l = nil
		return err
	})
	return e, err
}

func (s *subjects) changeOnce(ctx context.Context, subj Subject, h SubjectHash, l *look, fn func(now *stored, secrets []byte) (*subjectRecord, []byte, error)) (*subjectEntry, error) {
	j, err := s.judge(ctx, h, l)
	if err != nil {
		return nil, err
	}
	e := s.newEntry(l, h, j)
	if err := s.noRollback(subj, e, l); err != nil {
		return nil, err
	}
	if e.state == subjectForgotten {
		return e, nil
	}
	now := j.row
	var secrets []byte
	var wrap *cell
	if now != nil {
		if wrap, secrets, err = s.unwrap(ctx, h, now); err != nil {
			return nil, err
		}
		defer clear(secrets)
	}
	next, all, err := fn(now, secrets)
	if errors.Is(err, errDone) && now != nil {
		return e, e.fill(&now.subjectRecord, secrets, wrap)
	}
	if err != nil {
		return nil, err
	}
	defer clear(all)
	if j.mark != nil {
		next.life = max(next.life, j.mark.life)
	}
	key, cell, err := s.wrapKey(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	r, err := sealSubject(s.ring.name, h, next, key, all)
	if err != nil {
		return nil, err
	}
	subjectHook("wrapped")
	if err := s.swap(ctx, s.store, h, e.revision, r); err != nil {
		return nil, err
	}
	subjectHook("stored")
	e.digest, e.known = maphash.Bytes(s.seed, r.Data), s.turn.Add(1)
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
	subj = subj.clone()
	out, err := s.change(ctx, subj, hashes[0], nil, addSubjectKey)
	if err != nil {
		return err
	}
	if out.state == subjectOpen {
		*id = out.primary.ID()
	}
	out, err = s.keep(subj, out)
	if errors.Is(err, errOutdated) {
		return ErrForgotten // and maybe revived: then it has no such key
	}
	if err != nil {
		return err
	}
	defer out.release()
	if out.state == subjectForgotten {
		return ErrForgotten
	}
	return nil
}
