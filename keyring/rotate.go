package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/structseal/structseal/crypto"
)

// RotateOptions are optional: nil and the zero value are the defaults.
type RotateOptions struct {
	// Suite of the new key; for Data keys crypto.Default or crypto.Compact.
	// Default: the suite of the primary that it replaces.
	Suite crypto.Suite
}

// Rotate adds a fresh random key and makes it the primary of its purpose (Data
// or Deterministic); the old primary stays enabled and opens what it sealed. It
// returns the new key's id when the key is durable. Stored ciphertexts aren't
// touched.
//
// The change is one compare-and-swap, tried again on a fresh record as long as
// others write first and ctx lasts.
//
// Errors: ErrPurpose; ErrSuite; ErrTooLarge; ErrRewrap; ErrConflict when ctx
// ended in contention; those of Refresh; the provider's. After ErrUnavailable
// from the store the ring may have been rotated nevertheless: Refresh tells.
func (r *Keyring) Rotate(ctx context.Context, p Purpose, opts *RotateOptions) (uint32, error) {
	id, err := r.rotate(ctx, p, opts)
	return id, ringError(r.name, err)
}

func (r *Keyring) rotate(ctx context.Context, p Purpose, opts *RotateOptions) (uint32, error) {
	switch p {
	case Data, Deterministic:
	case SubjectWrap, Index, MAC:
		return 0, fmt.Errorf("%w: rotating %s keys means rewriting what hangs on them, which is not possible yet", ErrPurpose, p)
	default:
		return 0, fmt.Errorf("%w: %s", ErrPurpose, p)
	}
	if opts != nil && opts.Suite != 0 && !p.fits(opts.Suite.String()) {
		return 0, fmt.Errorf("%w: %s for %s keys", ErrSuite, opts.Suite, p)
	}
	c := r.core()
	var m keyMaterial
	var added keyRecord
	defer func() {
		if m.secret != nil {
			clear(m.secret())
		}
	}()
	for try := 0; ; try++ {
		rec, data, err := r.read(ctx)
		if err != nil {
			return 0, err
		}
		if k := rec.find(uint32(added.ID)); k != nil && m.secret != nil && k.Check == added.Check {
			// A store that retries by itself may report a conflict with its own
			// first attempt.
			return m.id, r.rotated(rec, data, &m)
		}
		old := rec.primary(p)
		if m.secret == nil || rec.find(m.id) != nil {
			// The first round, or somebody took our id: 2^-32.
			suite := old.Suite
			if opts != nil && opts.Suite != 0 {
				suite = opts.Suite.String()
			}
			if len(rec.Keys) >= MaxKeys {
				return 0, fmt.Errorf("%w: it holds %d keys; destroy keys that nothing uses", ErrTooLarge, len(rec.Keys))
			}
			if m.secret != nil {
				clear(m.secret())
			}
			m = newMaterial(p, suite)
			m.id = newID(&rec.body, nil)
			if added, err = c.kek.newKey(ctx, r.name, &m); err != nil {
				return 0, err
			}
		}
		next := rec.body
		next.Revision++
		next.Keys = slices.Clone(next.Keys)
		was := next.find(uint32(old.ID))
		was.State, was.Changed = Enabled, now()
		next.Keys = append(next.Keys, added)

		var signed *record
		if err := r.withMAC(func(macKey hidden) (err error) {
			signed, data, err = next.sign(macKey)
			return err
		}); err != nil {
			return 0, err
		}
		err = c.swap(ctx, rec.Revision, r.name, Record{Revision: signed.Revision, Data: data})
		if err == nil {
			return m.id, r.rotated(signed, data, &m)
		}
		if !errors.Is(err, ErrConflict) {
			return 0, err
		}
		// Full jitter, so that many writers don't go on meeting.
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w (gave up after %d tries: %w)", err, try+1, context.Cause(ctx))
		case <-time.After(rand.N(time.Millisecond << min(try, 6))):
		}
	}
}

// swap is one bounded compare-and-swap.
func (c *core) swap(ctx context.Context, old uint64, name string, next Record) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.store.CompareAndSwap(ctx, name, old, next); err != nil {
		return storeError(err)
	}
	return nil
}

// rotated takes over a stored record and the key that it added.
func (r *Keyring) rotated(rec *record, data []byte, m *keyMaterial) error {
	if _, err := r.adopt(rec, data); err != nil {
		return err
	}
	r.seed(m)
	return nil
}
