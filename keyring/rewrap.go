package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/structseal/structseal/kmsprovider"
)

// A RewrapTarget says by what the keys of a ring shall be wrapped.
type RewrapTarget struct {
	// KEKs are the IDs of the key-encryption keys that shall wrap every key, and
	// no others. The ring must be open with the providers of those that are to be
	// added; see OpenOptions.Also and AddKEK. Empty: those that wrap it now.
	KEKs []string
	// Renew wraps again what is wrapped already: after the KMS has rotated a
	// key-encryption key under the same ID.
	Renew bool
	// Actor stands in the ring's history.
	Actor string
}

// A RewrapPlan says what Rewrap would do. It prints as text and as JSON, and holds
// no secret.
type RewrapPlan struct {
	Ring     string
	Revision uint64 // of the record that it was made from
	KEKs     []string
	Keys     []RewrapKey // those to be changed
}

// A RewrapKey is what a RewrapPlan says of one key.
type RewrapKey struct {
	ID      uint32
	Purpose Purpose
	State   State
	Wrap    []string // by these it will be wrapped
	Remove  []string // by these no longer, in the end
}

// String lists the plan, one line a key.
func (p *RewrapPlan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ring %s, revision %d: %d keys to rewrap, for %s\n", p.Ring, p.Revision, len(p.Keys), strings.Join(p.KEKs, " "))
	for _, k := range p.Keys {
		fmt.Fprintf(&b, "key %08x %s %s:", k.ID, k.Purpose, k.State)
		if len(k.Wrap) > 0 {
			fmt.Fprintf(&b, " wrap by %s", strings.Join(k.Wrap, " "))
		}
		if len(k.Remove) > 0 {
			fmt.Fprintf(&b, " remove %s", strings.Join(k.Remove, " "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// PlanRewrap says what [Keyring.Rewrap] would do now. It calls no KMS.
//
// Errors: ErrWrongKEK for a target that the ring isn't open with; those of
// Refresh.
func (r *Keyring) PlanRewrap(ctx context.Context, target RewrapTarget) (*RewrapPlan, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, ringError(r.name, err)
	}
	s := r.live.Load()
	if s == nil {
		return nil, ringError(r.name, ErrClosed)
	}
	p, err := r.plan(&s.record.body, target)
	return p, ringError(r.name, err)
}

func (r *Keyring) plan(b *body, target RewrapTarget) (*RewrapPlan, error) {
	keks := target.KEKs
	if len(keks) == 0 {
		keks = b.KEKs
	}
	p := &RewrapPlan{Ring: r.name, Revision: b.Revision, KEKs: slices.Clone(keks)}
	for i := range b.Keys {
		k := &b.Keys[i]
		if len(k.Wraps) == 0 {
			continue
		}
		todo := RewrapKey{ID: uint32(k.ID), Purpose: k.Purpose, State: k.State}
		for _, id := range keks {
			if k.wrapBy(id) == nil || target.Renew {
				if r.core().keks.Load().find(id) == nil {
					return nil, fmt.Errorf("%w: it is not open with %s", ErrWrongKEK, id)
				}
				todo.Wrap = append(todo.Wrap, id)
			}
		}
		for _, w := range k.Wraps {
			if !slices.Contains(keks, w.KEK) {
				todo.Remove = append(todo.Remove, w.KEK)
			}
		}
		if len(todo.Wrap)+len(todo.Remove) > 0 {
			p.Keys = append(p.Keys, todo)
		}
	}
	return p, nil
}

// Rewrap wraps the same keys by other key-encryption keys: no ciphertext is
// touched. First every key is wrapped by every KEK of the target: unwrapped,
// compared with its check value, wrapped, unwrapped again and compared, and stored
// by a compare-and-swap of its own. Only when all of them are, wraps by other KEKs
// are removed, and only from keys that the target's KEKs have just opened. So every
// key can be opened at any time, by whoever could before, until the last phase.
// Rewrap can be interrupted anywhere and repeated. It returns the plan it carried
// out.
//
// Errors: ErrWrongKEK; ErrUnreachable when removing would leave a key that none of
// the target's KEKs opens now; ErrRewrap; ErrKeyCheck; the provider's; those of
// Refresh; ErrConflict; ErrActor.
func (r *Keyring) Rewrap(ctx context.Context, target RewrapTarget) (*RewrapPlan, error) {
	p, err := r.rewrap(ctx, target)
	return p, ringError(r.name, err)
}

func (r *Keyring) rewrap(ctx context.Context, target RewrapTarget) (*RewrapPlan, error) {
	var plan *RewrapPlan
	// The set that new keys are wrapped by comes first: keys that others add
	// meanwhile must not miss the new ones.
	if _, err := r.change(ctx, target.Actor, func(d *draft) (err error) {
		if plan, err = r.plan(&d.from.record.body, target); err != nil {
			return err
		}
		return d.setKEKs(append(slices.Clone(d.KEKs), plan.KEKs...))
	}); err != nil {
		return nil, err
	}
	for i, k := range plan.Keys {
		if err := r.addWraps(ctx, k.ID, k.Wrap, target.Actor); err != nil {
			return plan, fmt.Errorf("after %d of %d keys: %w", i, len(plan.Keys), err)
		}
	}
	return plan, r.keepWraps(ctx, plan.KEKs, target.Actor)
}

// setKEKs sets by what every key shall be wrapped, without repetitions.
func (d *draft) setKEKs(ids []string) error {
	var set []string
	for _, id := range ids {
		if !slices.Contains(set, id) {
			set = append(set, id)
		}
	}
	if slices.Equal(set, d.KEKs) {
		return errDone
	}
	if len(set) == 0 {
		return fmt.Errorf("%w: somebody else removed the others meanwhile", ErrUnreachable)
	}
	if len(set) > maxWraps {
		return fmt.Errorf("%w: %d key-encryption keys of at most %d", ErrTooLarge, len(set), maxWraps)
	}
	d.KEKs = set
	return nil
}

// addWraps wraps one key by further KEKs, or by the same ones again.
func (r *Keyring) addWraps(ctx context.Context, id uint32, by []string, actor string) error {
	if len(by) == 0 {
		return nil
	}
	s := r.live.Load()
	if s == nil {
		return ErrClosed
	}
	e := s.lookup(id)
	if e == nil || len(e.Wraps) == 0 {
		return nil // erased meanwhile
	}
	all := *r.core().keks.Load()
	secret, err := all.unwrap(ctx, r.name, e.keyRecord)
	if err != nil {
		return keyError(e.ID, err)
	}
	defer clear(secret)
	var made []wrap
	for _, kek := range all.of(by) {
		w, err := kek.wrap(ctx, r.name, e.keyRecord, secret)
		if err != nil {
			return keyError(e.ID, err)
		}
		made = append(made, w)
	}
	var tried []wrap
	_, err = r.change(ctx, actor, func(d *draft) error {
		k := d.find(id)
		if k == nil || k.Check != e.Check || len(k.Wraps) == 0 {
			return errDone
		}
		k.Wraps = slices.Clone(k.Wraps)
		tried = tried[:0]
		for _, w := range made {
			// Somebody removed this KEK from the ring in the meantime.
			if !slices.Contains(d.KEKs, w.KEK) {
				continue
			}
			if have := k.wrapBy(w.KEK); have == nil {
				k.Wraps = append(k.Wraps, w)
			} else if string(have.Blob) != string(w.Blob) {
				*have = w
			} else {
				continue // our own write, and others on top of it
			}
			d.note(k, k.State, k.State, OpWrap, noteOf(w.KEK))
			tried = append(tried, w)
		}
		if len(tried) == 0 {
			return errDone
		}
		return nil
	})
	return err
}

// keepWraps removes the wraps of all KEKs but those given. Before anything is
// removed, every key was opened by one that stays.
func (r *Keyring) keepWraps(ctx context.Context, keep []string, actor string) error {
	stays := r.core().keks.Load().of(keep)
	opened := make(map[uint32]string) // by a KEK that stays
	s := r.live.Load()
	if s == nil {
		return ErrClosed
	}
	surplus := func(k *keyRecord) bool {
		return slices.ContainsFunc(k.Wraps, func(w wrap) bool { return !slices.Contains(keep, w.KEK) })
	}
	for i := range s.record.Keys {
		k := &s.record.Keys[i]
		if !surplus(k) {
			continue
		}
		var errs []error
		for _, e := range stays {
			secret, err := e.unwrap(ctx, r.name, k)
			clear(secret)
			if err == nil {
				opened[uint32(k.ID)] = e.id
				break
			}
			errs = append(errs, err)
		}
		if opened[uint32(k.ID)] == "" {
			return keyError(k.ID, fmt.Errorf("%w: nothing was removed: %w", ErrUnreachable, errors.Join(errs...)))
		}
	}
	// New keys are no longer wrapped by what leaves.
	if _, err := r.change(ctx, actor, func(d *draft) error {
		return d.setKEKs(slices.DeleteFunc(slices.Clone(d.KEKs), func(id string) bool { return !slices.Contains(keep, id) }))
	}); err != nil {
		return err
	}
	for id, by := range opened {
		if _, err := r.change(ctx, actor, func(d *draft) error {
			k := d.find(id)
			if k == nil || !surplus(k) {
				return errDone
			}
			if k.wrapBy(by) == nil {
				// Two who remove each other's KEK must not both succeed.
				return keyError(k.ID, fmt.Errorf("%w: somebody else removed %s meanwhile", ErrUnreachable, by))
			}
			left := make([]wrap, 0, len(k.Wraps))
			for _, w := range k.Wraps {
				if slices.Contains(keep, w.KEK) {
					left = append(left, w)
				} else {
					d.note(k, k.State, k.State, OpUnwrap, noteOf(w.KEK))
				}
			}
			k.Wraps = left
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// AddKEK adds a further key-encryption key to the ring, and its provider to this
// process: every key is wrapped by it, too. Give its provider to the programs that
// open the ring (OpenOptions.Also) before or after; each opens with what it has.
// Adding one that is there completes what is missing.
//
// Errors: those of Rewrap.
func (r *Keyring) AddKEK(ctx context.Context, kms kmsprovider.Provider, opts *ChangeOptions) error {
	return ringError(r.name, r.addKEK(ctx, kms, opts))
}

func (r *Keyring) addKEK(ctx context.Context, kms kmsprovider.Provider, opts *ChangeOptions) error {
	c := r.core()
	e, err := newKEK(kms, c.timeout, r.teller())
	if err != nil {
		return err
	}
	c.mu.Lock()
	list := *c.keks.Load()
	if list.find(e.id) == nil {
		more := append(slices.Clone(list), e)
		c.keks.Store(&more)
	}
	c.mu.Unlock()
	s := r.live.Load()
	if s == nil {
		return ErrClosed
	}
	if opts == nil {
		opts = new(ChangeOptions)
	}
	if err := r.refresh(ctx); err != nil {
		return err
	}
	set := append(slices.Clone(r.live.Load().record.KEKs), e.id)
	if _, err := r.change(ctx, opts.Actor, func(d *draft) error { return d.setKEKs(append(slices.Clone(d.KEKs), e.id)) }); err != nil {
		return err
	}
	plan, err := r.plan(&r.live.Load().record.body, RewrapTarget{KEKs: set})
	if err != nil {
		return err
	}
	for i, k := range plan.Keys {
		if slices.Contains(k.Wrap, e.id) {
			if err := r.addWraps(ctx, k.ID, []string{e.id}, opts.Actor); err != nil {
				return fmt.Errorf("after %d of %d keys: %w", i, len(plan.Keys), err)
			}
		}
	}
	return nil
}

// RemoveKEK removes a key-encryption key from the ring: every wrap by it is
// deleted from the record. It is refused, and nothing removed, unless every key was
// opened by another KEK just now. Programs that have no other provider can't open
// the ring any more. Old records, in backups, still hold the wraps: destroy the KEK
// as well where that matters.
//
// Errors: ErrUnreachable; those of Rewrap.
func (r *Keyring) RemoveKEK(ctx context.Context, id string, opts *ChangeOptions) error {
	return ringError(r.name, r.removeKEK(ctx, id, opts))
}

func (r *Keyring) removeKEK(ctx context.Context, id string, opts *ChangeOptions) error {
	if opts == nil {
		opts = new(ChangeOptions)
	}
	if err := r.refresh(ctx); err != nil {
		return err
	}
	s := r.live.Load()
	if s == nil {
		return ErrClosed
	}
	keep := slices.DeleteFunc(slices.Clone(s.record.KEKs), func(k string) bool { return k == id })
	if len(keep) == 0 {
		return fmt.Errorf("%w: %s is the only key-encryption key of the ring", ErrUnreachable, id)
	}
	return r.keepWraps(ctx, keep, opts.Actor)
}

// backfill wraps keys by those KEKs of the ring that were away when the keys were
// made. One that is still away is left for the next time.
func (r *Keyring) backfill(ctx context.Context, actor string) (n int, err error) {
	s := r.live.Load()
	if s == nil {
		return 0, ErrClosed
	}
	failed := make(map[string]error)
	for i := range s.record.Keys {
		k := &s.record.Keys[i]
		for _, e := range r.core().keks.Load().of(s.record.KEKs) {
			if len(k.Wraps) == 0 || k.wrapBy(e.id) != nil || failed[e.id] != nil {
				continue
			}
			if err := r.addWraps(ctx, uint32(k.ID), []string{e.id}, actor); err != nil {
				failed[e.id] = err
				continue
			}
			n++
		}
	}
	var errs []error
	for _, e := range failed {
		errs = append(errs, e)
	}
	return n, errors.Join(errs...)
}
