package keyring

import (
	"context"
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
		k, err := d.key(id)
		if err != nil {
			return err
		}
		switch k.State {
		case Destroying, Destroyed:
			return errDone
		case Primary:
			return keyError(k.ID, fmt.Errorf("%w: the primary can't be destroyed; rotate first", ErrState))
		}
		op := OpDestroy
		if opts.Force {
			op += OpForced
		} else {
			then, err := proof.unused(r.name, k.Purpose, id)
			if err != nil {
				return keyError(k.ID, err)
			}
			// A key that is pending now has never been anything else. One that
			// was pending when the census began may have been a primary since.
			wait := r.core().quiet()
			if k.State != Pending && then.retired < wait {
				return &WaitError{Op: OpDestroy, Key: id, Remaining: max(0, wait-d.from.retired(d.from.byID[id]))}
			}
		}
		d.move(k, Destroying, op)
		return nil
	})
	return err
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
		k, err := d.key(id)
		if err != nil {
			return err
		}
		switch k.State {
		case Destroyed:
			return errDone
		case Destroying:
		default:
			return keyError(k.ID, fmt.Errorf("%w: it is %s; Destroy comes first", ErrState, k.State))
		}
		op := OpErase
		if opts.Force {
			op += OpForced
		} else {
			then, err := proof.unused(r.name, k.Purpose, id)
			if err != nil {
				return keyError(k.ID, err)
			}
			wait := r.core().opts.DestroyWait
			// The same destroying: it may have been enabled and written with the
			// ring restored in between.
			if then.state != Destroying || then.revision != k.Revision || then.held < wait {
				return &WaitError{Op: OpErase, Key: id, Remaining: max(0, wait-d.from.held(d.from.byID[id]))}
			}
		}
		k.Wraps = []wrap{}
		d.move(k, Destroyed, op)
		return nil
	})
	return err
}
