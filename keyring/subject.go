package keyring

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/structseal/structseal/crypto"
)

// A Subject is whose data it is: a person, or a tenant. Records of a subject are
// sealed under keys of its own, so that it can be forgotten; see
// [Keyring.Forget]. The same subject has the same keys in all records of a ring.
type Subject struct {
	// Kind tells persons from tenants that have the same id: at most 64 of
	// A-Z a-z 0-9 . _ -, or empty.
	Kind string
	// ID is 1 to 1,024 bytes. Stores see only a keyed hash of it.
	ID string
}

func (s Subject) validate() error {
	if len(s.ID) == 0 || len(s.ID) > 1024 {
		return fmt.Errorf("%w: an id of %d bytes; use 1 to 1024", ErrSubject, len(s.ID))
	}
	ok := len(s.Kind) <= 64
	for _, c := range []byte(s.Kind) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.')
	}
	if !ok {
		return fmt.Errorf("%w: kind %.64q; use at most 64 of A-Z a-z 0-9 . _ -", ErrSubject, s.Kind)
	}
	return nil
}

// clone is for keeping: callers may have put s over memory of their own.
func (s Subject) clone() Subject { return Subject{strings.Clone(s.Kind), strings.Clone(s.ID)} }

// SubjectKeys are the keys of one subject, for one piece of work: call Release
// when it is done. The keys are wiped when nobody holds them any more and the
// cache has let go of them; when the subject is forgotten by this process or the
// ring is closed, at once. Not safe for concurrent use, its keys are. The zero
// SubjectKeys has none.
type SubjectKeys struct {
	ring *Keyring
	subj Subject
	held *subjectEntry
	more []*subjectEntry
}

// Subject returns the keys of a subject that has some: to open what was sealed
// for it. Keys that were used before are at hand without a call; they are looked
// at again after OpenOptions.TTL, and work for OpenOptions.MaxStale while the
// store is away.
//
// Errors: ErrUnknownKey if the subject has no keys; ErrForgotten; ErrSubject;
// ErrUnavailable, also while the outside tombstones are away; ErrCorrupt,
// ErrFormat, ErrTampered, ErrRollback for its record; those of Key for the key
// that wraps it; ErrClosed; ctx's own.
func (r *Keyring) Subject(ctx context.Context, s Subject) (SubjectKeys, error) {
	return r.subject(ctx, s, false)
}

// EnsureSubject is Subject, and creates the keys of a subject that has none: to
// seal for it. Of all who create at once one survives, and everyone uses it.
//
// Errors: those of Subject but ErrUnknownKey; ErrConflict.
func (r *Keyring) EnsureSubject(ctx context.Context, s Subject) (SubjectKeys, error) {
	return r.subject(ctx, s, true)
}

func (r *Keyring) subject(ctx context.Context, s Subject, ensure bool) (SubjectKeys, error) {
	e, err := r.core().subjects.acquire(ctx, s, ensure)
	if err != nil {
		return SubjectKeys{}, ringError(r.name, err)
	}
	return SubjectKeys{ring: r, subj: s, held: e}, nil
}

// WarmSubjects loads the keys of many subjects with few calls to the store, so
// that Subject and EnsureSubject have them at hand: one call for up to 1,000.
// With ensure it creates those that are missing. Subjects that are forgotten or
// have no keys are no error here. It is of use for as many subjects as
// OpenOptions.SubjectCache holds.
//
// Errors: those of Subject but ErrForgotten and ErrUnknownKey.
func (r *Keyring) WarmSubjects(ctx context.Context, subjects []Subject, ensure bool) error {
	return ringError(r.name, r.core().subjects.warm(ctx, subjects, ensure))
}

// Primary returns the key that new ciphertexts of the subject use.
//
// Errors: ErrUnknownKey if there is none.
func (k *SubjectKeys) Primary() (*crypto.Key, error) {
	if k.held != nil && k.held.primary != nil {
		return k.held.primary, nil
	}
	return nil, fmt.Errorf("keyring: subject: no primary: %w", ErrUnknownKey)
}

// Key returns the subject's key that a ciphertext names. Other keys are unknown,
// whoever has them. An id that isn't known makes it look into the store, because
// another process may have rotated; that is limited as it is for the ring's keys.
//
// Errors: ErrUnknownKey; those of Subject.
func (k *SubjectKeys) Key(ctx context.Context, id uint32) (*crypto.Key, error) {
	if k.held == nil {
		return nil, keyError(keyID(id), ErrUnknownKey)
	}
	if key := k.held.find(id); key != nil {
		return key, nil
	}
	for _, e := range k.more {
		if key := e.find(id); key != nil {
			return key, nil
		}
	}
	subjects := k.ring.core().subjects
	if ok, err := subjects.unknown.take(); !ok {
		if err == nil {
			err = fmt.Errorf("subject: %w", ErrUnknownKey)
		}
		return nil, ringError(k.ring.name, keyError(keyID(id), err))
	}
	e, err := subjects.reload(ctx, k.subj, false)
	if err == nil {
		e, err = e.usable()
	}
	// Others are told how the store is, not how this subject or this caller fares.
	switch {
	case errors.Is(err, ErrUnavailable) && ctx.Err() == nil:
		subjects.unknown.result(err)
	case err == nil:
		subjects.unknown.result(nil)
	}
	if err != nil {
		return nil, ringError(k.ring.name, keyError(keyID(id), err))
	}
	if key := e.find(id); key != nil {
		k.more = append(k.more, e)
		return key, nil
	}
	e.release()
	return nil, ringError(k.ring.name, keyError(keyID(id), fmt.Errorf("subject: %w", ErrUnknownKey)))
}

// Release lets go of the keys. It may be called more than once.
func (k *SubjectKeys) Release() {
	if k.held != nil {
		k.held.release()
	}
	for _, e := range k.more {
		e.release()
	}
	*k = SubjectKeys{}
}

// subjectEntry is what was loaded of a subject. It never changes, but for who
// holds it.
type subjectEntry struct {
	hash     SubjectHash
	revision uint64 // 0: there is no record
	digest   uint64 // of the record, under the process's seed
	outside  uint64 // revision of the outside tombstone; 0 if there is none
	state    subjectState
	asked    time.Time // when the store was asked; monotonic
	turn     uint64    // when the look began
	known    uint64    // when it was over: looks that begin later see as much
	keys     []*crypto.Key
	one      [1]*crypto.Key // of keys, for most subjects
	primary  *crypto.Key
	wrap     *cell // of the key that wraps them: when it goes, so do they

	refs      atomic.Int64 // the cache's, and each SubjectKeys'; wiped at 0
	strays    atomic.Pointer[strays]
	reloading atomic.Bool
}

// acquire reports whether the entry may be used; then release must follow.
func (e *subjectEntry) acquire() bool {
	for {
		n := e.refs.Load()
		if n <= 0 {
			return false
		}
		if e.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (e *subjectEntry) release() {
	if e.refs.Add(-1) == 0 {
		e.wipe()
		if s := e.strays.Load(); s != nil {
			s.drop(e)
		}
	}
}

// wipe is for good, whoever holds the entry.
func (e *subjectEntry) wipe() {
	for _, k := range e.keys {
		k.Wipe()
	}
}

func (e *subjectEntry) find(id uint32) *crypto.Key {
	for _, k := range e.keys {
		if k.ID() == id {
			return k
		}
	}
	return nil
}
