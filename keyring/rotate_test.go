package keyring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
)

func TestRotate(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	old := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	id := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	if key.ID() != id || id == old.ID() || key.Suite() != old.Suite() || ring.Revision() != 2 {
		t.Errorf("%v after %v, revision %d", key, old, ring.Revision())
	}
	compact := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Suite: crypto.Compact, Now: true}))
	kept := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	det := must[uint32](t)(ring.Rotate(ctx, Deterministic, &RotateOptions{Now: true})) // also in FIPS-only mode
	states := make(map[uint32]KeyInfo)
	for _, k := range must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil)).Keys() {
		states[k.ID] = k
	}
	for id, want := range map[uint32]KeyInfo{
		old.ID(): {State: Enabled, Suite: "xaes-256-gcm"},
		id:       {State: Enabled, Suite: "xaes-256-gcm"},
		compact:  {State: Enabled, Suite: "aes-256-gcm"},
		kept:     {State: Primary, Suite: "aes-256-gcm"}, // the suite stays what was chosen last
		det:      {State: Primary, Suite: "aes-256-siv"},
	} {
		if got := states[id]; got.State != want.State || got.Suite != want.Suite {
			t.Errorf("%08x: %+v, want %+v", id, got, want)
		}
	}
	if len(states) != 10 || ring.Revision() != 5 {
		t.Errorf("%d keys, revision %d", len(states), ring.Revision())
	}
	// A fresh key costs no call at its first use: it was just compared.
	kms.unwraps.Store(0)
	must[*crypto.Key](t)(ring.Key(ctx, Data, kept))
	if kms.unwraps.Load() != 0 {
		t.Error("first use of a fresh key called the KMS")
	}
}

func TestRotateRefuses(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, _ := mustCreate(t, "app", store, kms)
	for _, p := range []Purpose{HashSubjects, Index, MAC, 0, 77} {
		if id, err := ring.Rotate(ctx, p, &RotateOptions{Now: true}); !errors.Is(err, ErrPurpose) || id != 0 {
			t.Errorf("%s: %v", p, err)
		}
	}
	for p, s := range map[Purpose]crypto.Suite{Data: crypto.Deterministic, Deterministic: crypto.Default} {
		if id, err := ring.Rotate(ctx, p, &RotateOptions{Suite: s, Now: true}); !errors.Is(err, ErrSuite) || id != 0 {
			t.Errorf("%s with %s: %v", p, s, err)
		}
	}
	for what, lie := range lies {
		kms.onUnwrap = func(_ context.Context, s []byte, err error) ([]byte, error) { return lie(s), err }
		if _, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true}); !errors.Is(err, ErrRewrap) {
			t.Errorf("KMS answers with %s: %v", what, err)
		}
	}
	kms.onUnwrap = nil
	if store.swaps.Load() != 1 || ring.Revision() != 1 {
		t.Error("a refused rotation wrote")
	}
	edit(t, ring, store, func(b *body) {
		for len(b.Keys) < MaxKeys-1 {
			k := *b.primary(Data)
			k.ID, k.State = keyID(len(b.Keys)+1000), Enabled
			b.Keys = append(b.Keys, k)
		}
	})
	must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	if _, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("key %d: %v", MaxKeys+1, err)
	}
}

// P7: the key is durable before anybody can use it.
func TestP7_RotateStoresFirst(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, _ := mustCreate(t, "app", store, kms)
	old := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	store.onSwap = func(swap func() error) error {
		if k, err := ring.Primary(ctx, Data); k != old || err != nil {
			t.Errorf("before the write: %v, %v", k, err)
		}
		return errors.New("disk full")
	}
	if _, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if k, err := ring.Primary(ctx, Data); k != old || err != nil {
		t.Errorf("after the failed write: %v, %v", k, err)
	}
}

// A store that tries again by itself may conflict with its own first attempt.
func TestRotateRecognisesItself(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, _ := mustCreate(t, "app", store, kms)
	store.onSwap = func(swap func() error) error {
		if err := swap(); err != nil {
			return err
		}
		return fmt.Errorf("second attempt: %w", ErrConflict)
	}
	id := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	if k := must[*crypto.Key](t)(ring.Primary(ctx, Data)); k.ID() != id || ring.Revision() != 2 || len(ring.Keys()) != 7 {
		t.Errorf("primary %v, revision %d, %d keys", k, ring.Revision(), len(ring.Keys()))
	}
}

func TestRotateGivesUpWithItsContext(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		store.onSwap = func(func() error) error { return ErrConflict }
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		wraps := kms.wraps.Load()
		if _, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true}); !errors.Is(err, ErrConflict) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := store.swaps.Load(); n < 10 || n > 5000 {
			t.Errorf("%d tries in 5 seconds", n)
		}
		if n := kms.wraps.Load() - wraps; n != 1 {
			t.Errorf("%d keys wrapped for one rotation", n)
		}
	})
}

// P8: rotations by many lose nothing.
func TestRotateInContention(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	other := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	var mu sync.Mutex
	var ids []uint32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := []*Keyring{ring, other}[i%2]
			for range 5 {
				id, err := r.Rotate(ctx, []Purpose{Data, Deterministic}[i/4], &RotateOptions{Now: true})
				if err != nil {
					t.Error(err)
				}
				if _, err := r.Primary(ctx, Data); err != nil {
					t.Error(err)
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	final := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	if final.Revision() != 41 || len(final.Keys()) != 46 {
		t.Errorf("revision %d, %d keys", final.Revision(), len(final.Keys()))
	}
	have := make(map[uint32]bool)
	for _, k := range final.Keys() {
		have[k.ID] = true
	}
	for _, id := range ids {
		if !have[id] {
			t.Errorf("key %08x is lost", id)
		}
	}
}
