package keyring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// An Anchor remembers the highest revision of each ring that was ever used, outside
// of the ring's store and of its backups: on the machine's own disk ([FileAnchor]),
// in a configuration service, in a TPM. With one, an older record that somebody puts
// back is ErrRollback for a program that has just started, too; without one, only
// for a running program that has seen the newer record.
//
// Programs may share an anchor. What it says is trusted: who can lower it can undo
// changes, who can raise it can lock programs out.
//
// Errors that aren't ErrRollback, ErrInsecure, ErrFormat, ErrCorrupt or
// context.Canceled mean that the anchor can't be reached.
type Anchor interface {
	// Highest returns what was raised last, 0 if nothing was. A revision that
	// Raise has accepted is durable and seen by every later Highest.
	Highest(ctx context.Context, name string) (revision uint64, digest [32]byte, err error)

	// Raise notes that a revision, whose record has the SHA-256 digest, is about
	// to be used, and returns when that is durable. A lower revision than the
	// highest one changes nothing and is no error: several programs may raise at
	// once. The highest one under another digest is ErrRollback. It is atomic.
	Raise(ctx context.Context, name string, revision uint64, digest [32]byte) error
}

// An anchorage is a ring's anchor, if it has one, with calls that are bounded.
//
// The order is: store, anchor, use. A record is raised after it is stored, or a
// write that fails would leave an anchor that no store fulfils. It is raised before
// it is used, or a program that dies in between has sealed under a revision that can
// be taken back unnoticed. One that dies before raising has used nothing of it. So an
// anchor that is away is like a store that is away: nothing newer is taken over, and
// keys work on for MaxStale.
type anchorage struct {
	Anchor
	gate    *gate
	timeout time.Duration
}

func newAnchorage(o *OpenOptions) *anchorage {
	return &anchorage{o.Anchor, new(gate), o.CallTimeout}
}

type anchored struct {
	revision uint64
	digest   [32]byte
}

func (a *anchorage) highest(ctx context.Context, name string) (anchored, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	high, err := guard(ctx, a.gate, func(ctx context.Context) (h anchored, err error) {
		h.revision, h.digest, err = a.Highest(ctx, name)
		return h, err
	}, func(anchored) {})
	return high, anchorError(err)
}

// raise is called when the record is stored, and before it is used.
func (a *anchorage) raise(ctx context.Context, name string, revision uint64, data []byte) error {
	if a.Anchor == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	_, err := guard(ctx, a.gate, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, a.Raise(ctx, name, revision, sha256.Sum256(data))
	}, func(struct{}) {})
	return anchorError(err)
}

// settle compares a verified record, newer than what was used so far, with the
// anchor, and raises that. Where the anchor has more, another program may have
// written since the record was read: again reads and verifies it once more, and what
// comes back then must not be behind an anchor that was asked before.
func (a *anchorage) settle(ctx context.Context, rec *record, data []byte, again func() (*record, []byte, error)) (*record, []byte, error) {
	if a.Anchor == nil {
		return rec, data, nil
	}
	var floor uint64
	for {
		high, err := a.highest(ctx, rec.Name)
		switch {
		case err != nil:
			return nil, nil, err
		case rec.Revision < floor:
			return nil, nil, fmt.Errorf("%w: the store has revision %d, the anchor %d; was a backup restored?", ErrRollback, rec.Revision, floor)
		case rec.Revision == high.revision && sha256.Sum256(data) != high.digest:
			return nil, nil, fmt.Errorf("%w: the store has another revision %d than the anchor; was a backup restored and rotated?", ErrRollback, rec.Revision)
		case rec.Revision > high.revision:
			// It may be another's revision by now that is the highest one, and
			// of the same number: Raise says so.
			if err := a.raise(ctx, rec.Name, rec.Revision, data); err != nil {
				return nil, nil, err
			}
			return rec, data, nil
		case rec.Revision == high.revision:
			return rec, data, nil
		}
		floor = high.revision
		if rec, data, err = again(); err != nil {
			return nil, nil, err
		}
	}
}

// vacant refuses a new ring where the anchor knows one.
func (a *anchorage) vacant(ctx context.Context, name string) error {
	if a.Anchor == nil {
		return nil
	}
	high, err := a.highest(ctx, name)
	if err == nil && high.revision != 0 {
		err = fmt.Errorf("%w: the anchor has revision %d of a ring of this name, and the store has none; was it deleted?", ErrRollback, high.revision)
	}
	return err
}

// errAnchor: what follows is about the anchor and not about the store.
var errAnchor = errors.New("anchor")

func anchorError(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrRollback, ErrInsecure, ErrFormat, ErrCorrupt, ErrName, ErrUnavailable, context.Canceled} {
		if errors.Is(err, known) {
			return fmt.Errorf("%w: %w", errAnchor, err)
		}
	}
	return fmt.Errorf("%w: %w: %w", errAnchor, ErrUnavailable, err)
}
