package keyring

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
)

// Made-up ids in ciphertexts must not become a storm at the store or the KMS.
func TestUnknownIDsAreLimited(t *testing.T) {
	inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer ring.Close()
		store.onLoad = func(_ context.Context, r Record, err error) (Record, error) {
			time.Sleep(20 * time.Millisecond)
			return r, err
		}
		store.loads.Store(0)
		kms.unwraps.Store(0)
		const seconds = 10
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for time.Since(start) < seconds*time.Second {
					if _, err := ring.Key(ctx, Data, rand.Uint32()|1<<31); !errors.Is(err, ErrUnknownKey) {
						t.Error(err)
					}
					time.Sleep(rand.N(20 * time.Millisecond))
				}
			})
		}
		wg.Wait()
		if n := store.loads.Load(); n > seconds+unknownBurst || n < seconds {
			t.Errorf("%d store loads in %d seconds", n, seconds)
		}
		if kms.unwraps.Load() != 0 {
			t.Errorf("%d KMS calls", kms.unwraps.Load())
		}
	})
}

// ... not even while the store is away, or by callers that give up at once.
func TestUnknownIDsAreLimitedInTrouble(t *testing.T) {
	inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		store.loads.Store(0)
		store.onLoad = func(context.Context, Record, error) (Record, error) { return Record{}, errors.New("down") }
		for range 1000 {
			if _, err := ring.Key(t.Context(), Data, 1); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if n := store.loads.Load(); n > 5+unknownBurst {
			t.Errorf("%d store loads in 5 seconds", n)
		}
	})
}

func TestNewKeysAreFound(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		writer := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		reader := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		warm := must[*crypto.Key](t)(reader.Primary(ctx, Data))
		store.loads.Store(0)
		kms.unwraps.Store(0)
		id := must[uint32](t)(writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
		store.loads.Store(0)
		key, err := reader.Key(ctx, Data, id)
		if err != nil || key.ID() != id {
			t.Fatal(key, err)
		}
		if p := must[*crypto.Key](t)(reader.Primary(ctx, Data)); p != key {
			t.Errorf("primary is %v", p)
		}
		if k := must[*crypto.Key](t)(reader.Key(ctx, Data, warm.ID())); k != warm {
			t.Error("a refresh dropped an unwrapped key")
		}
		if store.loads.Load() != 1 || reader.Revision() != 2 {
			t.Errorf("%d loads, revision %d", store.loads.Load(), reader.Revision())
		}
		// Made-up ids use up the burst; then the next one has to wait for its turn.
		for i := range uint32(unknownBurst) {
			if _, err := reader.Key(ctx, Data, 1+i); !errors.Is(err, ErrUnknownKey) {
				t.Error(err)
			}
		}
		id = must[uint32](t)(writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
		if _, err := reader.Key(ctx, Data, id); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("within the interval: %v", err)
		}
		time.Sleep(unknownInterval)
		must[*crypto.Key](t)(reader.Key(ctx, Data, id))
	})
}

func TestRollbackIsRefused(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	first := store.get(t, "app")
	must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	second := store.get(t, "app")
	store.put(t, "app", first)
	if err := ring.Refresh(ctx); !errors.Is(err, ErrRollback) || errors.Is(err, ErrUnavailable) {
		t.Errorf("older record: %v", err)
	}
	if _, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true}); !errors.Is(err, ErrRollback) {
		t.Errorf("rotate on an older record: %v", err)
	}
	// The backup lives on: another revision 2, well authenticated.
	fork := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	must[uint32](t)(fork.Rotate(ctx, Data, &RotateOptions{Now: true}))
	if err := ring.Refresh(ctx); !errors.Is(err, ErrRollback) {
		t.Errorf("another record of the same revision: %v", err)
	}
	if _, err := ring.Key(ctx, Data, 1); !errors.Is(err, ErrRollback) || errors.Is(err, ErrUnknownKey) {
		t.Errorf("unknown key: %v", err)
	}
	if ring.Revision() != 2 {
		t.Errorf("revision %d", ring.Revision())
	}
	store.put(t, "app", second)
	if err := ring.Refresh(ctx); err != nil {
		t.Errorf("put back: %v", err)
	}
}

// A load that began before a rotation and ends after it is old, not a rollback.
func TestSlowLoadIsNoRollback(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		release := make(chan struct{})
		slow := true
		store.onLoad = func(_ context.Context, r Record, err error) (Record, error) {
			if slow {
				slow = false
				<-release
			}
			return r, err
		}
		done := make(chan error, 1)
		go func() { done <- ring.Refresh(ctx) }()
		synctest.Wait()
		must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if ring.Revision() != 2 {
			t.Errorf("revision %d", ring.Revision())
		}
	})
}

func TestRefreshKeepsWhatItHasOnError(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, _ := mustCreate(t, "app", store, kms)
	key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	good := store.get(t, "app")
	tampered := Record{2, append([]byte(nil), good.Data...)}
	r := must[*record](t)(parseRecord(good.Data))
	r.Revision, r.Keys[0].State, r.Keys[1].State = 2, Primary, Primary
	tampered.Data = must[[]byte](t)(encode(r))
	for what, c := range map[string]struct {
		answer func(context.Context, Record, error) (Record, error)
		want   error
	}{
		"gone":      {func(context.Context, Record, error) (Record, error) { return Record{}, ErrNotFound }, ErrNotFound},
		"away":      {func(context.Context, Record, error) (Record, error) { return Record{}, errors.New("down") }, ErrUnavailable},
		"late":      {func(context.Context, Record, error) (Record, error) { return Record{}, context.DeadlineExceeded }, ErrUnavailable},
		"left":      {func(context.Context, Record, error) (Record, error) { return Record{}, context.Canceled }, context.Canceled},
		"corrupt":   {func(context.Context, Record, error) (Record, error) { return Record{1, good.Data[1:]}, nil }, ErrFormat},
		"tampered":  {func(context.Context, Record, error) (Record, error) { return tampered, nil }, ErrTampered},
		"relabeled": {func(context.Context, Record, error) (Record, error) { return Record{9, good.Data}, nil }, ErrCorrupt},
	} {
		store.onLoad = c.answer
		if err := ring.Refresh(ctx); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if k, err := ring.Primary(ctx, Data); k != key || err != nil || ring.Revision() != 1 {
			t.Errorf("%s: the ring changed", what)
		}
	}
}
