package keyring

import (
	"context"
	"fmt"
)

// PromoteOptions are optional: nil and the zero value are the defaults.
type PromoteOptions struct {
	// Now skips the wait; see RotateOptions.Now for what that means.
	Now bool
	// Actor stands in the ring's history.
	Actor string
}

// Promote makes a pending key the primary of its purpose; the old primary stays
// enabled. It refuses until every process that still works must have seen the
// key: MaxStale + TTL after it was published, as measured on monotonic clocks and
// never on a wall clock. What counts is how long this process has watched the
// pending key, or what the ring's own clock says, which other processes move
// forward with [Keyring.Maintain]; so a process that has just started may have to
// wait although another would not.
//
// The key is unwrapped and compared first: what becomes the primary can be
// opened. Promoting the primary does nothing.
//
// Errors: a *WaitError, which is an ErrTooEarly and says for how long;
// ErrUnknownKey; ErrState for keys that aren't pending; ErrActor; ErrConflict;
// ErrKeyCheck; ErrWrongKEK; the provider's; those of Refresh.
func (r *Keyring) Promote(ctx context.Context, id uint32, opts *PromoteOptions) error {
	if opts == nil {
		opts = new(PromoteOptions)
	}
	return ringError(r.name, r.promote(ctx, id, *opts))
}

func (r *Keyring) promote(ctx context.Context, id uint32, opts PromoteOptions) error {
	opened := false
	_, err := r.change(ctx, opts.Actor, func(d *draft) error {
		k, err := d.key(id)
		if err != nil {
			return err
		}
		switch k.State {
		case Pending:
		case Primary:
			return errDone
		default:
			return keyError(k.ID, fmt.Errorf("%w: it is %s, and only pending keys are promoted; rotate", ErrState, k.State))
		}
		e := d.from.byID[id]
		op := OpPromote
		if held, wait := d.from.held(e), r.core().seenByAll(); held < wait {
			if !opts.Now {
				return &WaitError{Op: OpPromote, Key: id, Remaining: wait - held}
			}
			op += OpForced
		}
		if !opened && !e.cell.warm() {
			secret, err := r.core().keks.Load().unwrap(ctx, r.name, k)
			clear(secret)
			if err != nil {
				return keyError(k.ID, err)
			}
		}
		opened = true
		d.demote(k.Purpose)
		d.move(k, Primary, op)
		return nil
	})
	return err
}
