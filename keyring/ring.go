package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/structseal/structseal/crypto"
)

// A Keyring is an open ring. It is safe for concurrent use and never prints a
// key. Make one with [Create] or [Open].
//
// Looking up a key that was used before takes a few nanoseconds, no lock and no
// allocation. Keys that are in use are confirmed in the background before
// OpenOptions.TTL is over; while the KMS and the store are away they go on working
// for OpenOptions.MaxStale. See docs/keys.md for what happens when.
type Keyring struct {
	name string
	pin  Pin
	// live is nil when the ring is closed.
	live atomic.Pointer[snapshot]
	// core is a closure, so that printers that walk unexported fields by
	// reflection don't get into the provider, the store and the MAC key.
	core func() *core
}

// core is what a Keyring does its slow work with.
type core struct {
	store   Store
	keks    atomic.Pointer[keks]
	timeout time.Duration
	opts    OpenOptions // with every default filled in

	// mu orders swaps of live and guards the MAC key against Close.
	mu     sync.Mutex
	closed bool
	macKey hidden

	gate    gate // calls to the store
	anchor  *anchorage
	counts  counts
	bg      background
	notices notices
	unknown limiter     // refreshes for unknown key ids
	suspect atomic.Bool // the last record read was bad

	subjects *subjects
}

// Name returns the ring's name.
func (r *Keyring) Name() string { return r.name }

// Pin returns the ring's pin, also when it was opened with TrustOnFirstUse.
func (r *Keyring) Pin() Pin { return r.pin }

// Primary returns the key that new ciphertexts of a purpose use: Data,
// Deterministic or SubjectWrap. The first call for a key unwraps it at the KMS,
// once for all callers; a caller whose ctx ends returns while the call goes on
// for the others. Warm calls don't look at ctx.
//
// The key belongs to the ring: ask for it each time, and don't keep it. Close,
// disabling the key, a KMS that refuses it, and MaxStale without an answer wipe it.
//
// Errors: ErrPurpose; ErrUnavailable, which ErrStale is, too; ErrKeyCheck; ErrWrongKEK; the provider's;
// ErrClosed; crypto.ErrNotApproved for Deterministic while FIPS 140 mode is
// enforced; ctx's own.
func (r *Keyring) Primary(ctx context.Context, p Purpose) (*crypto.Key, error) {
	if s := r.live.Load(); s != nil && p < MAC {
		if e := s.primary[p]; e != nil {
			if key := e.key.Load(); key != nil {
				if !e.used.Load() {
					r.touch(e.cell)
				}
				return key, nil
			}
		}
	}
	key, err := r.coldPrimary(ctx, p)
	return key, ringError(r.name, err)
}

// Key returns the key of a purpose that a ciphertext names, whether it is
// pending, primary or enabled. Other than that it is like Primary.
//
// An id that the ring doesn't have makes it look into the store, because
// another process may have rotated: for the whole ring at most once a second,
// after a burst of eight, however many ids are asked for, so that ciphertexts
// with made-up ids don't become a storm at the store. In between, and for ids of
// another purpose, the answer is ErrUnknownKey at once; or ErrUnavailable, if the
// last look failed and so nobody knows.
//
// Errors: ErrUnknownKey (also a crypto.ErrUnknownKey), ErrKeyDisabled,
// ErrKeyDestroyed, and those of Primary.
func (r *Keyring) Key(ctx context.Context, p Purpose, id uint32) (*crypto.Key, error) {
	if s := r.live.Load(); s != nil {
		if e := s.byID[id]; e != nil && e.Purpose == p && e.cell != nil {
			if key := e.key.Load(); key != nil {
				if !e.used.Load() {
					r.touch(e.cell)
				}
				return key, nil
			}
		}
	}
	key, err := r.coldKey(ctx, p, id)
	return key, ringError(r.name, err)
}

// coldPrimary is Primary for keys that aren't unwrapped yet.
func (r *Keyring) coldPrimary(ctx context.Context, p Purpose) (*crypto.Key, error) {
	if err := r.handsOut(p); err != nil {
		return nil, err
	}
	return r.warm(ctx, func(s *snapshot) (*entry, error) { return s.primary[p], nil })
}

// coldKey is Key for keys that aren't unwrapped yet, aren't usable, or aren't
// known.
func (r *Keyring) coldKey(ctx context.Context, p Purpose, id uint32) (*crypto.Key, error) {
	if err := r.handsOut(p); err != nil {
		return nil, err
	}
	if s := r.live.Load(); s != nil && s.byID[id] == nil && id != 0 {
		if err := r.refreshUnknown(ctx); err != nil {
			return nil, keyError(keyID(id), fmt.Errorf("not known here: %w", err))
		}
	}
	return r.warm(ctx, func(s *snapshot) (*entry, error) {
		e := s.byID[id]
		switch {
		case e == nil || e.Purpose != p:
			return nil, keyError(keyID(id), fmt.Errorf("purpose %s: %w", p, ErrUnknownKey))
		case e.State == Destroyed:
			return nil, keyError(keyID(id), fmt.Errorf("%w: what it sealed can't be opened any more", ErrKeyDestroyed))
		case !e.State.usable():
			return nil, keyError(keyID(id), fmt.Errorf("%w: enable it to open what it sealed", ErrKeyDisabled))
		}
		return e, nil
	})
}

func (r *Keyring) handsOut(p Purpose) error {
	if !p.hasKeys() {
		return fmt.Errorf("%w: %s keys are not handed out", ErrPurpose, p)
	}
	return nil
}

// warm unwraps the key that find picks from the current snapshot.
func (r *Keyring) warm(ctx context.Context, find func(*snapshot) (*entry, error)) (*crypto.Key, error) {
	for {
		e, err := r.fill(ctx, find)
		if err != nil {
			return nil, err
		}
		// A swap may have dropped the key in between; then the next snapshot
		// knows better.
		if key := e.key.Load(); key != nil {
			return key, nil
		}
	}
}

// fill makes sure that the entry which find picks was unwrapped.
func (r *Keyring) fill(ctx context.Context, find func(*snapshot) (*entry, error)) (*entry, error) {
	c := r.core()
	for {
		s := r.live.Load()
		if s == nil {
			return nil, ErrClosed
		}
		e, err := find(s)
		if err != nil {
			return nil, err
		}
		if e.cell.warm() {
			if !e.used.Load() {
				r.touch(e.cell)
			}
			return e, nil
		}
		if err := r.current(ctx); err != nil {
			return nil, keyError(e.ID, err)
		}
		if r.live.Load() != s {
			continue // what was read just now may have taken the key out of use
		}
		err = e.flight.do(ctx, c.patience(), func(ctx context.Context) error {
			if e.cell.warm() { // by a call that ended before this one began
				return nil
			}
			if err := e.refusals.allow(); err != nil {
				return err
			}
			start := time.Now()
			secret, err := c.keks.Load().unwrap(ctx, r.name, e.keyRecord)
			if err != nil {
				if errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
					e.refusals.ended(false, nil) // each KMS has a breaker of its own
				} else {
					e.refusals.ended(false, err)
					r.teller().tell(slog.LevelError, EventKeyRefused, keyAttrs(e.keyRecord, errorAttr(err))...)
				}
				return err
			}
			e.refusals.ended(true, nil)
			defer clear(secret)
			if err := e.cell.fill(e.keyRecord, secret, start, r.reserver(e.keyRecord)); err != nil {
				return err
			}
			r.warmed(e.cell)
			return nil
		})
		switch {
		case err == nil:
			return e, nil
		case errors.Is(err, errDropped):
			// Another snapshot is live, or the ring is closed: look again.
		default:
			return nil, keyError(e.ID, err)
		}
	}
}

// BlindIndexKey derives the key of one blind index from the ring's index root;
// see [crypto.DeriveBlindIndexKey]. Callers keep it: each call derives again.
// It stays the caller's; Close doesn't wipe it.
//
// Errors: ErrUnavailable; ErrKeyCheck; ErrWrongKEK; the provider's; ErrClosed;
// ctx's own.
func (r *Keyring) BlindIndexKey(ctx context.Context, record, field, index string) (key *crypto.BlindIndexKey, err error) {
	for {
		e, err := r.fill(ctx, func(s *snapshot) (*entry, error) { return s.primary[Index], nil })
		if err != nil {
			return nil, ringError(r.name, err)
		}
		if e.useRoot(func(root []byte) {
			key, err = crypto.DeriveBlindIndexKey(root, r.name, record, field, index)
		}) {
			return key, err
		}
	}
}

// Keys describes every key of the ring, in the order they were added. It looks
// at what this process knows; see [Keyring.Refresh]. A closed ring has none.
func (r *Keyring) Keys() []KeyInfo {
	s := r.live.Load()
	if s == nil {
		return nil
	}
	infos := make([]KeyInfo, len(s.record.Keys))
	for i, k := range s.record.Keys {
		infos[i] = KeyInfo{
			ID: uint32(k.ID), Purpose: k.Purpose, Suite: k.Suite, State: k.State,
			Created: k.Created.Time, Changed: k.Changed.Time, Messages: k.Messages,
		}
		for _, w := range k.Wraps {
			infos[i].KEKs = append(infos[i].KEKs, w.KEK)
		}
	}
	return infos
}

// Revision returns the revision of the ring's record that this process knows; 0
// when the ring is closed. It grows by one with every change.
func (r *Keyring) Revision() uint64 {
	if s := r.live.Load(); s != nil {
		return s.record.Revision
	}
	return 0
}

// Close wipes every key of the ring. Calls under way finish or return an error;
// later ones return ErrClosed. Close may be called more than once and always
// returns nil; store and provider stay open.
func (r *Keyring) Close() error {
	c := r.core()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.bg.stop()
	c.bg.mu.Lock()
	c.bg.refresh.stop()
	c.bg.expiry.stop()
	c.bg.mu.Unlock()
	r.live.Swap(nil).dropUnless(nil)
	clear(c.macKey())
	c.subjects.close()
	return nil
}

// String returns the ring's name.
func (r *Keyring) String() string {
	if r == nil {
		return "keyring.Keyring(none)"
	}
	return "keyring.Keyring(" + r.name + ")"
}

// GoString is String.
func (r *Keyring) GoString() string { return r.String() }

// Format writes String for every verb.
func (r *Keyring) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		fmt.Fprintf(f, "%q", r.String())
		return
	}
	fmt.Fprint(f, r.String())
}

// LogValue logs String.
func (r *Keyring) LogValue() slog.Value { return slog.StringValue(r.String()) }
