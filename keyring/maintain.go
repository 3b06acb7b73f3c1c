package keyring

import (
	"context"
	"errors"
	"time"

	"github.com/structseal/structseal/crypto"
)

// Maintenance is what a call of Maintain did.
type Maintenance struct {
	Published []uint32 // keys published as pending, by the policy
	Promoted  []uint32 // pending keys made primary
	Backfill  int      // wraps added for key-encryption keys that were away
	Subjects  int      // subjects rewrapped by the primary subject-wrap key
	Ticked    bool     // the ring's clock was moved forward
}

// urgentMessages is where waiting for a pending key is more dangerous than not
// waiting: three quarters of what a compact key may seal.
const urgentMessages = crypto.CompactMessages / 4 * 3

// Maintain does what is due: it makes pending keys the primary whose wait is over,
// publishes new Data keys as OpenOptions.Rotation says, wraps keys by those
// key-encryption keys of the ring that were away when the keys were made, and moves the ring's clock
// forward while somebody waits for it. After a rotation of SubjectWrap it rewraps
// up to 10,000 subjects a call.
//
// Call it every few minutes, from one process
// or from all of them: each step is a compare-and-swap, repeated when interrupted
// and done once.
//
// A compact key whose budget is nearly used up is replaced without waiting, see
// RotateOptions.Now.
//
// On error it has tried the other steps nevertheless. Errors: those of Rotate,
// Promote and Rewrap.
func (r *Keyring) Maintain(ctx context.Context) (Maintenance, error) {
	m, err := r.maintain(ctx)
	return m, ringError(r.name, err)
}

func (r *Keyring) maintain(ctx context.Context) (m Maintenance, err error) {
	if err := r.refresh(ctx); err != nil {
		return m, err
	}
	c := r.core()
	var errs []error
	s := r.live.Load()
	if s == nil {
		return m, ErrClosed
	}
	policy := c.opts.Rotation
	primary := s.primary[Data]
	spent := primary.Messages >= min(policy.Messages, crypto.CompactMessages)
	old := policy.Every > 0 && s.held(primary) >= policy.Every
	if (spent || old) && s.record.pending(Data, primary.Suite) == nil {
		id, err := r.rotate(ctx, Data, RotateOptions{Actor: policy.Actor})
		if err == nil {
			m.Published = append(m.Published, id)
		}
		errs = append(errs, err)
	}
	if s = r.live.Load(); s == nil {
		return m, ErrClosed
	}
	for i := range s.record.Keys {
		k := &s.record.Keys[i]
		if k.State != Pending {
			continue
		}
		urgent := k.Purpose == Data && s.primary[Data].Messages >= urgentMessages
		if s.held(s.byID[uint32(k.ID)]) < c.seenByAll() && !urgent {
			continue
		}
		err := r.promote(ctx, uint32(k.ID), PromoteOptions{Now: urgent, Actor: policy.Actor})
		if err == nil {
			m.Promoted = append(m.Promoted, uint32(k.ID))
		} else if errors.Is(err, ErrTooEarly) || errors.Is(err, ErrState) {
			err = nil // somebody else acted
		}
		errs = append(errs, err)
	}
	n, err := r.backfill(ctx, policy.Actor)
	m.Backfill = n
	errs = append(errs, err)
	if r.core().subjects.store != nil {
		m.Subjects, err = r.rewrapSome(ctx)
		errs = append(errs, err)
	}
	ticked, err := r.tick(ctx)
	m.Ticked = ticked
	return m, errors.Join(append(errs, err)...)
}

// tick moves the ring's clock forward if somebody waits and it hasn't moved for a
// while. Processes that start later find in it what this one has seen.
func (r *Keyring) tick(ctx context.Context) (ticked bool, err error) {
	_, err = r.change(ctx, "", func(d *draft) error {
		ticked = false
		if every := r.core().tickEvery(&d.from.record.body); every == 0 || d.from.watched() < every {
			return errDone
		}
		ticked = true
		return nil
	})
	return ticked && err == nil, err
}

// tickEvery returns how often the ring's clock should move for whoever waits: at
// 1/256 of the shortest wait, but no more often than every TTL; 0 if nobody waits.
func (c *core) tickEvery(b *body) (every time.Duration) {
	waits := func(mark uint64, wait time.Duration) {
		if wait == 0 || b.Clock-mark >= uint64(wait/time.Millisecond) {
			return
		}
		if e := max(c.opts.TTL, wait/256); every == 0 || e < every {
			every = e
		}
	}
	for i := range b.Keys {
		k := &b.Keys[i]
		switch k.State {
		case Pending:
			waits(k.Since, c.seenByAll())
		case Primary:
			if k.Purpose == Data {
				waits(k.Since, c.opts.Rotation.Every)
			}
		case Enabled, Disabled:
			waits(k.Retired, c.quiet())
		case Destroying:
			waits(k.Since, c.opts.DestroyWait)
		}
	}
	return every
}
