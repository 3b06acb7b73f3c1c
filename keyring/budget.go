package keyring

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/structseal/structseal/crypto"
)

// The compact suite draws its nonces at random, so all processes together must
// not seal more than 2^32 messages under one key. Each reserves a number of
// messages in the ring's record before it seals the first of them: one that
// crashes has counted too many, never too few.
//
// The first step is small, because there may be a thousand processes that restart
// ten times a day. Each further one doubles, so that nobody reserves more than
// twice what he seals, and a busy process writes the record seldom.
const (
	firstReservation = 1 << 16
	maxReservation   = 1 << 24

	// reserveAgain is how long a reservation that failed is answered for: the
	// callers of Seal must not queue up for a store that is away.
	reserveAgain = time.Second
)

// reserver returns what reserves messages for a compact key in the record.
func (r *Keyring) reserver(k *keyRecord) reserver {
	if k.Suite != crypto.Compact.String() {
		return nil
	}
	id := uint32(k.ID)
	// Key.Meter calls one at a time; an object of the key that was dropped may be
	// at it while the next one begins.
	var mu sync.Mutex
	step := uint64(firstReservation)
	var failed error
	var until time.Time
	return func(n uint64) (uint64, error) {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil && time.Now().Before(until) {
			return 0, failed
		}
		got := uint64(0)
		// Seal has no context; the write is bounded by the call timeout.
		ctx, cancel := context.WithTimeout(context.Background(), 2*r.core().timeout)
		defer cancel()
		_, err := r.change(ctx, "", func(d *draft) error {
			k, err := d.key(id)
			if err != nil {
				return err
			}
			if !k.State.usable() {
				return keyError(k.ID, ErrKeyDisabled)
			}
			if got = min(max(n, step), crypto.CompactMessages-k.Messages); got < n {
				return keyError(k.ID, fmt.Errorf("%w: %d; rotate", crypto.ErrExhausted, k.Messages))
			}
			k.Messages += got
			return nil
		})
		if err != nil {
			failed, until = ringError(r.name, fmt.Errorf("reserve messages: %w", err)), time.Now().Add(reserveAgain)
			return 0, failed
		}
		failed = nil
		step = min(2*step, maxReservation)
		return got, nil
	}
}
