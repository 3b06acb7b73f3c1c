package keyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// DestroyOptions are optional: nil and the zero value are the defaults.
type DestroyOptions struct {
	// Force goes without census and without waiting. What still names the key
	// can't be opened then, and after Erase never again. The history says so.
	Force bool
	// Actor stands in the ring's history. At most 100 printable ASCII characters.
	Actor string
}

// Destroy is the first of two steps: it takes a key out of use for good, and keeps
// its wraps. What still names the key fails with ErrKeyDisabled from now on, and
// [Keyring.Enable] brings the key back until [Keyring.Erase].
//
// proof must be a finished census that found no ciphertext of the key, and which
// began no earlier than MaxStale + LongestTransaction after the key's demotion:
// until then a process that hasn't heard of the demotion could write with it, and
// a transaction begun earlier could commit, behind the back of the census. A key
// that never was a primary needs no wait. Destroying what is being destroyed does
// nothing.
//
// Errors: ErrInUse; ErrCensus for a census that proves nothing; a *WaitError
// (ErrTooEarly) for one that began too early: wait, and begin another; ErrState
// for the primary; ErrUnknownKey; ErrActor; ErrConflict; those of Refresh.
func (r *Keyring) Destroy(ctx context.Context, id uint32, proof *Census, opts *DestroyOptions) error {
	if opts == nil {
		opts = new(DestroyOptions)
	}
	return ringError(r.name, r.destroy(ctx, id, proof, *opts))
}

func (r *Keyring) destroy(ctx context.Context, id uint32, proof *Census, opts DestroyOptions) error {
	_, err := r.change(ctx, opts.Actor, func(d *draft) error {
		k, err := r.destroyable(d, id, proof, opts.Force)
		if err != nil {
			return err
		}
		d.move(k, Destroying, forced(OpDestroy, opts.Force))
		return nil
	})
	return err
}

// destroyable returns the key if it may be destroyed now. errDone: it is.
func (r *Keyring) destroyable(d *draft, id uint32, proof *Census, force bool) (*keyRecord, error) {
	k, err := d.key(id)
	if err != nil {
		return nil, err
	}
	switch k.State {
	case Destroying, Destroyed:
		return nil, errDone
	case Primary:
		return nil, keyError(k.ID, fmt.Errorf("%w: the primary can't be destroyed; rotate first", ErrState))
	}
	if force {
		return k, nil
	}
	then, err := proof.unused(r.name, k.Purpose, id)
	if err != nil {
		return nil, keyError(k.ID, err)
	}
	// A key that is pending now has never been anything else. One that was pending
	// when the census began may have been a primary since.
	wait := r.core().quiet()
	if k.State != Pending && then.retired < wait {
		return nil, &WaitError{Op: OpDestroy, Key: id, Remaining: max(0, wait-d.from.retired(d.from.byID[id]))}
	}
	return k, nil
}

func forced(op string, force bool) string {
	if force {
		return op + OpForced
	}
	return op
}

// Erase is the second step: it erases the wraps of a key that is being destroyed.
// Nothing brings the key back then but a backup of the ring with the KMS's help.
//
// proof must be a second census that found no ciphertext of the key, and which
// began DestroyWait after Destroy or later. Erasing a destroyed key does nothing.
//
// Errors: those of Destroy; ErrState for keys that Destroy wasn't called for.
func (r *Keyring) Erase(ctx context.Context, id uint32, proof *Census, opts *DestroyOptions) error {
	if opts == nil {
		opts = new(DestroyOptions)
	}
	return ringError(r.name, r.erase(ctx, id, proof, *opts))
}

func (r *Keyring) erase(ctx context.Context, id uint32, proof *Census, opts DestroyOptions) error {
	_, err := r.change(ctx, opts.Actor, func(d *draft) error {
		k, err := r.erasable(d, id, proof, opts.Force)
		if err != nil {
			return err
		}
		k.Wraps = []wrap{}
		d.move(k, Destroyed, forced(OpErase, opts.Force))
		return nil
	})
	return err
}

// erasable returns the key if its wraps may be erased now. errDone: they are.
func (r *Keyring) erasable(d *draft, id uint32, proof *Census, force bool) (*keyRecord, error) {
	k, err := d.key(id)
	if err != nil {
		return nil, err
	}
	switch k.State {
	case Destroyed:
		return nil, errDone
	case Destroying:
	default:
		return nil, keyError(k.ID, fmt.Errorf("%w: it is %s; Destroy comes first", ErrState, k.State))
	}
	if force {
		return k, nil
	}
	then, err := proof.unused(r.name, k.Purpose, id)
	if err != nil {
		return nil, keyError(k.ID, err)
	}
	wait := r.core().opts.DestroyWait
	// The same destroying: it may have been enabled and written with the ring
	// restored in between.
	if then.state != Destroying || then.revision != k.Revision || then.held < wait {
		return nil, &WaitError{Op: OpErase, Key: id, Remaining: max(0, wait-d.from.held(d.from.byID[id]))}
	}
	return k, nil
}

// MayDestroy tells what Destroy would say to a census, or Erase, if the key is being
// destroyed already: nil, or why not, and for how long not. It changes nothing.
//
// Errors: those of Destroy and Erase but for ErrConflict.
func (r *Keyring) MayDestroy(ctx context.Context, id uint32, proof *Census) error {
	_, err := r.change(ctx, "", func(d *draft) error {
		if _, err := r.destroyable(d, id, proof, false); !errors.Is(err, errDone) {
			return cmp.Or(err, errDone)
		}
		_, err := r.erasable(d, id, proof, false)
		return cmp.Or(err, errDone)
	})
	return ringError(r.name, err)
}
