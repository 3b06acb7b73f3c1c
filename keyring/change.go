package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A draft is the next record of a ring in the making.
type draft struct {
	body
	from  *snapshot // what it starts from: verified, and adopted
	actor string
}

// errDone: the record is as it should be already.
var errDone = errors.New("nothing to change")

// change brings a ring to its next record: fn edits a draft of it, and one
// compare-and-swap stores it; tried again on a fresh record for as long as others
// write first and ctx lasts. fn runs once a try. An fn that finds nothing to do
// returns errDone, which is success: so a change whose process died after the
// write can be repeated.
func (r *Keyring) change(ctx context.Context, actor string, fn func(d *draft) error) (*snapshot, error) {
	if err := checkActor(actor); err != nil {
		return nil, err
	}
	c := r.core()
	var tried []byte
	for try := 0; ; try++ {
		rec, data, err := r.read(ctx)
		if err != nil {
			return nil, err
		}
		// What is read is live from here on: from now on it is watched.
		live, err := r.adopt(rec, data)
		if err != nil {
			return nil, err
		}
		if tried != nil && bytes.Equal(data, tried) {
			// A store that retries by itself may report a conflict with its own
			// first attempt.
			return live, nil
		}
		if live.record.Revision != rec.Revision {
			continue // somebody here wrote meanwhile
		}
		d := &draft{body: rec.body.clone(), from: live, actor: actor}
		d.Revision++
		d.Clock = live.clock()
		if err := fn(d); err != nil {
			if errors.Is(err, errDone) {
				return live, nil
			}
			return nil, err
		}
		if err := d.History.trim(); err != nil {
			return nil, err
		}
		var signed *record
		if err := r.withMAC(func(macKey hidden) (err error) {
			signed, tried, err = d.sign(macKey)
			return err
		}); err != nil {
			return nil, err
		}
		err = c.swap(ctx, rec.Revision, r.name, Record{Revision: signed.Revision, Data: tried})
		if err == nil {
			// Stored and not yet used; an error here is as one of the store's:
			// the same call again finds what it wrote.
			if err := c.anchor.raise(ctx, r.name, signed.Revision, tried); err != nil {
				return nil, err
			}
			return r.adopt(signed, tried)
		}
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
		if cause := pause(ctx, try); cause != nil {
			return nil, fmt.Errorf("%w (gave up after %d tries: %w)", err, try+1, cause)
		}
	}
}

// pause waits before the next try. Full jitter, so that many writers don't go on
// meeting.
func pause(ctx context.Context, try int) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(rand.N(time.Millisecond << min(try, 6))):
		return nil
	}
}

// swap is one bounded compare-and-swap.
func (c *core) swap(ctx context.Context, old uint64, name string, next Record) error {
	_, err := ask(ctx, c, &c.gate, &c.counts.writes, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.store.CompareAndSwap(ctx, name, old, next)
	})
	return err
}

// clone returns a copy that can be edited: snapshots share the original.
func (b *body) clone() body {
	out := *b
	out.Keys = slices.Clone(b.Keys)
	out.History.Entries = slices.Clone(b.History.Entries)
	return out
}

// key finds a key, or says that there is none.
func (d *draft) key(id uint32) (*keyRecord, error) {
	if k := d.find(id); k != nil {
		return k, nil
	}
	return nil, keyError(keyID(id), ErrUnknownKey)
}

// move brings a key into a state and notes it.
func (d *draft) move(k *keyRecord, to State, op string) {
	d.note(k, k.State, to, op, "")
	k.enter(to, d.Revision, d.Clock)
}

// enter sets a key's state. A key is retired when it leaves the states in which
// it may yet be written with, once and for all: a primary that was demoted never
// becomes one again.
func (k *keyRecord) enter(to State, revision, clock uint64) {
	k.State, k.Changed, k.Revision, k.Since = to, now(), revision, clock
	if to > Primary && k.Retired == 0 {
		k.Retired = clock
	}
}

// append adds a key and notes it.
func (d *draft) append(k keyRecord, op string) {
	k.enter(k.State, d.Revision, d.Clock)
	d.Keys = append(d.Keys, k)
	d.note(&k, 0, k.State, op, "")
}

func (d *draft) note(k *keyRecord, from, to State, op, text string) {
	d.History.add(historyEntry{Revision: d.Revision, At: now(), Actor: d.actor, Op: op, Key: k.ID, From: from, To: to, Note: text})
}

// demote makes room for another primary.
func (d *draft) demote(p Purpose) {
	if old := d.primary(p); old != nil {
		d.move(old, Enabled, OpDemote)
	}
}
