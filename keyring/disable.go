package keyring

import (
	"context"
	"fmt"
)

// ChangeOptions are optional: nil and the zero value are the defaults.
type ChangeOptions struct {
	// Actor stands in the ring's history. At most 100 printable ASCII characters.
	Actor string
}

// Disable takes a pending or enabled key out of use: it resolves to
// ErrKeyDisabled, here at once and elsewhere when others refresh, and its bytes
// are wiped. Enable undoes it. The primary can't be disabled: rotate first.
// Disabling a disabled key does nothing.
//
// Errors: ErrState; ErrUnknownKey; ErrActor; ErrConflict; those of Refresh.
func (r *Keyring) Disable(ctx context.Context, id uint32, opts *ChangeOptions) error {
	return ringError(r.name, r.setState(ctx, id, opts, func(k *keyRecord) (State, string, error) {
		switch k.State {
		case Disabled:
			return 0, "", errDone
		case Pending, Enabled:
			return Disabled, OpDisable, nil
		case Primary:
			return 0, "", fmt.Errorf("%w: the primary can't be disabled; rotate first", ErrState)
		}
		return 0, "", fmt.Errorf("%w: it is %s", ErrState, k.State)
	}))
}

// Enable brings a disabled key back, and one that is being destroyed as long as
// its wraps are not erased. A key that was pending becomes enabled, too: it is
// never written with. Enabling an enabled key does nothing.
//
// Errors: ErrState; ErrKeyDestroyed; ErrUnknownKey; ErrActor; ErrConflict; those
// of Refresh.
func (r *Keyring) Enable(ctx context.Context, id uint32, opts *ChangeOptions) error {
	return ringError(r.name, r.setState(ctx, id, opts, func(k *keyRecord) (State, string, error) {
		switch k.State {
		case Enabled:
			return 0, "", errDone
		case Disabled, Destroying:
			return Enabled, OpEnable, nil
		case Destroyed:
			return 0, "", fmt.Errorf("%w: nothing brings it back but a backup of the ring", ErrKeyDestroyed)
		}
		return 0, "", fmt.Errorf("%w: it is %s", ErrState, k.State)
	}))
}

// setState moves one key to the state that next says.
func (r *Keyring) setState(ctx context.Context, id uint32, opts *ChangeOptions, next func(k *keyRecord) (State, string, error)) error {
	actor := ""
	if opts != nil {
		actor = opts.Actor
	}
	_, err := r.change(ctx, actor, func(d *draft) error {
		k, err := d.key(id)
		if err != nil {
			return err
		}
		to, op, err := next(k)
		if err != nil {
			return keyError(k.ID, err)
		}
		d.move(k, to, op)
		return nil
	})
	return err
}
