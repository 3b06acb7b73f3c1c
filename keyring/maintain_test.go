package keyring

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
)

// A compact key is counted in the record before anything is sealed.
func TestMessagesAreReserved(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		open := func() *Keyring { return must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil)) }
		ring := open()
		defer ring.Close()
		id := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Suite: crypto.Compact, Now: true}))
		count := func() uint64 { return must[*record](t)(parseRecord(store.get(t, "app").Data)).find(id).Messages }
		key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
		if count() != 0 {
			t.Error("reserved for nothing")
		}
		down := errors.New("down")
		store.onSwap = func(func() error) error { return down }
		if _, err := key.Seal(nil, nil, nil); !errors.Is(err, down) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("nothing reserved, and sealed: %v", err)
		}
		swaps := store.swaps.Load()
		for range 100 {
			key.Seal(nil, nil, nil)
		}
		if store.swaps.Load() != swaps {
			t.Error("each call asks a store that is away")
		}
		store.onSwap = nil
		time.Sleep(reserveAgain)
		ct := must[[]byte](t)(key.Seal(nil, []byte("x"), nil))
		if count() != firstReservation {
			t.Errorf("%d reserved", count())
		}
		for range firstReservation - 1 {
			key.Seal(nil, nil, nil)
		}
		if count() != firstReservation || key.Messages() != firstReservation {
			t.Errorf("%d reserved for %d", count(), key.Messages())
		}
		key.Seal(nil, nil, nil)
		if count() != 3*firstReservation {
			t.Errorf("%d reserved", count())
		}
		// Others, also those that only read and those that come after a crash.
		reader := open()
		defer reader.Close()
		must[[]byte](t)(must[*crypto.Key](t)(reader.Key(ctx, Data, id)).Open(nil, ct, nil))
		if count() != 3*firstReservation {
			t.Error("a reader reserved")
		}
		must[[]byte](t)(must[*crypto.Key](t)(reader.Primary(ctx, Data)).Seal(nil, nil, nil))
		if count() != 4*firstReservation {
			t.Errorf("%d reserved by two", count())
		}
		// At the wall nobody gets more.
		edit(t, ring, store, func(b *body) { b.find(id).Messages = crypto.CompactMessages - 5 })
		last := open()
		defer last.Close()
		sealed := 0
		for range 10 {
			if _, err := must[*crypto.Key](t)(last.Primary(ctx, Data)).Seal(nil, nil, nil); err == nil {
				sealed++
			} else if !errors.Is(err, crypto.ErrExhausted) {
				t.Error(err)
			}
		}
		if sealed != 5 || count() != crypto.CompactMessages {
			t.Errorf("%d sealed at the wall, %d reserved", sealed, count())
		}
		// Maintain would have acted long before, and acts now without a wait.
		m := must[Maintenance](t)(last.Maintain(ctx))
		if len(m.Published) != 1 || len(m.Promoted) != 1 {
			t.Errorf("%+v", m)
		}
	})
}

func TestMaintainGoesByPolicy(t *testing.T) {
	atClocks(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		policy := RotatePolicy{Every: 30 * 24 * time.Hour, Messages: 1000, Actor: "maintain"}
		var rings []*Keyring
		for range 3 {
			rings = append(rings, must[*Keyring](t)(Open(ctx, "app", store, kms, pin, &OpenOptions{Rotation: policy})))
		}
		start := time.Now()
		var published, promoted []time.Duration
		for time.Since(start) < 76*24*time.Hour {
			time.Sleep(40 * time.Minute)
			i := rand.IntN(3)
			m := must[Maintenance](t)(rings[i].Maintain(ctx))
			if len(m.Published) > 0 {
				published = append(published, time.Since(start))
			}
			if len(m.Promoted) > 0 {
				promoted = append(promoted, time.Since(start))
			}
			if rand.IntN(50) == 0 { // deployments
				rings[i].Close()
				rings[i] = must[*Keyring](t)(Open(ctx, "app", store, kms, pin, &OpenOptions{Rotation: policy}))
			}
		}
		if len(published) != 2 || len(promoted) != 2 || published[0] < policy.Every || published[0] > policy.Every+6*24*time.Hour {
			t.Errorf("published %v, promoted %v", published, promoted)
		}
		// By messages: the compact key is replaced whatever its age.
		ring := rings[0]
		id := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Suite: crypto.Compact, Now: true}))
		must[[]byte](t)(must[*crypto.Key](t)(ring.Key(ctx, Data, id)).Seal(nil, nil, nil))
		if m := must[Maintenance](t)(ring.Maintain(ctx)); len(m.Published) != 1 || len(m.Promoted) != 0 {
			t.Errorf("%+v", m)
		}
		for _, r := range rings {
			r.Close()
		}
	})
}
