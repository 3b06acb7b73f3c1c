package keyring

import (
	"context"
	"fmt"

	"github.com/structseal/structseal/crypto"
)

// RotateOptions are optional: nil and the zero value are the defaults.
type RotateOptions struct {
	// Suite of the new key; for Data keys crypto.Default or crypto.Compact.
	// Default: the suite of the primary that it replaces.
	Suite crypto.Suite

	// Now makes the new key the primary at once, for emergencies and for rings
	// that one process alone uses. Processes that don't know the key yet meet
	// its id in ciphertexts before they have heard of it: they look into the
	// store then, which is limited (see [Keyring.Key]), and while the store is
	// away they can't open what was written with the new key. Others go on
	// writing with the old key until they refresh.
	//
	// The key is fresh in any case: who had the ring has its pending keys, too.
	Now bool

	// Actor stands in the ring's history. At most 100 printable ASCII characters.
	Actor string
}

// Rotate begins the change to a fresh random key of a purpose (Data,
// Deterministic or SubjectWrap; after the last one see [Keyring.RewrapSubjects]): it publishes one as pending. Nobody writes with it yet, and
// everybody learns of it meanwhile; [Keyring.Promote], or [Keyring.Maintain],
// makes it the primary when that has taken long enough. If there is a pending key
// of the purpose and suite, Rotate returns that one: a rotation that was
// interrupted is repeated, not doubled.
//
// With Now the new key is the primary at once. The old primary stays enabled and
// opens what it sealed. Stored ciphertexts aren't touched.
//
// It returns the new key's id when the key is durable. The change is one
// compare-and-swap, tried again on a fresh record as long as others write first
// and ctx lasts.
//
// Errors: ErrPurpose; ErrSuite; ErrActor; ErrTooLarge; ErrRewrap; ErrConflict when
// ctx ended in contention; those of Refresh; the provider's. After ErrUnavailable
// from the store the ring may have been rotated nevertheless: Refresh tells.
func (r *Keyring) Rotate(ctx context.Context, p Purpose, opts *RotateOptions) (uint32, error) {
	if opts == nil {
		opts = new(RotateOptions)
	}
	id, err := r.rotate(ctx, p, *opts)
	return id, ringError(r.name, err)
}

func (r *Keyring) rotate(ctx context.Context, p Purpose, opts RotateOptions) (uint32, error) {
	switch p {
	case Data, Deterministic, SubjectWrap:
	case HashSubjects:
		return 0, fmt.Errorf("%w: the key that subjects are hashed with stays for life", ErrPurpose)
	case Index, MAC:
		return 0, fmt.Errorf("%w: rotating %s keys means rewriting what hangs on them, which is not possible yet", ErrPurpose, p)
	default:
		return 0, fmt.Errorf("%w: %s", ErrPurpose, p)
	}
	if opts.Suite != 0 && !p.fits(opts.Suite.String()) {
		return 0, fmt.Errorf("%w: %s for %s keys", ErrSuite, opts.Suite, p)
	}
	state, op := Pending, OpRotate
	if opts.Now {
		state, op = Primary, OpRotateNow
	}
	c := r.core()
	var m keyMaterial
	var added keyRecord
	wipe := func() {
		if m.secret != nil {
			clear(m.secret())
		}
	}
	defer func() { wipe() }()
	pending := uint32(0)
	_, err := r.change(ctx, opts.Actor, func(d *draft) error {
		if k := d.find(uint32(added.ID)); k != nil && m.secret != nil && k.Check == added.Check {
			return errDone // our own write, and others on top of it
		}
		suite := d.primary(p).Suite
		if opts.Suite != 0 {
			suite = opts.Suite.String()
		}
		if !opts.Now {
			if k := d.pending(p, suite); k != nil {
				pending = uint32(k.ID)
				return errDone
			}
		}
		if len(d.Keys) >= MaxKeys {
			return fmt.Errorf("%w: it holds %d keys", ErrTooLarge, len(d.Keys))
		}
		if m.secret == nil || d.find(m.id) != nil || m.suite != suite {
			// The first round; or somebody took our id (2^-32), or changed the
			// suite.
			wipe()
			m = newMaterial(p, suite)
			m.id, m.state = newID(&d.body, nil), state
			var err error
			if added, err = c.keks.Load().newKey(ctx, r.name, &m, d.KEKs); err != nil {
				return err
			}
		}
		if opts.Now {
			d.demote(p)
		}
		d.append(added, op)
		return nil
	})
	if err != nil {
		return 0, err
	}
	if pending != 0 {
		return pending, nil
	}
	r.seed(&m)
	return m.id, nil
}

// pending returns the newest pending key of a purpose and suite.
func (b *body) pending(p Purpose, suite string) (found *keyRecord) {
	for i := range b.Keys {
		if k := &b.Keys[i]; k.Purpose == p && k.State == Pending && k.Suite == suite {
			found = k
		}
	}
	return found
}
