package keyring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// P9: ten thousand goroutines on a cold ring make one call to the store, and to the
// KMS one for each key and one for the MAC key.
func TestColdStartIsOneCallPerKey(t *testing.T) {
	for _, k := range []int{1, 2, 100} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
				coldStart(t, store, kms, pin, k)
			})
		})
	}
}

func coldStart(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin, k int) {
	ctx := t.Context()
	before := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	ids := []uint32{must[*crypto.Key](t)(before.Primary(ctx, Data)).ID()}
	for len(ids) < k {
		ids = append(ids, must[uint32](t)(before.Rotate(ctx, Data, &RotateOptions{Now: true})))
	}
	before.Close()
	store.loads.Store(0)
	kms.unwraps.Store(0)
	kms.onUnwrap = func(_ context.Context, secret []byte, err error) ([]byte, error) {
		time.Sleep(50 * time.Millisecond) // virtual
		return secret, err
	}
	ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	defer ring.Close()
	var wg sync.WaitGroup
	keys := make([]*crypto.Key, 10_000)
	for i := range keys {
		wg.Go(func() {
			var err error
			if i%k == k-1 { // the newest
				keys[i], err = ring.Primary(ctx, Data)
			} else {
				keys[i], err = ring.Key(ctx, Data, ids[i%k])
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if store.loads.Load() != 1 || kms.unwraps.Load() != int64(k)+1 {
		t.Errorf("%d store loads, %d KMS calls", store.loads.Load(), kms.unwraps.Load())
	}
	for i, key := range keys {
		if key != keys[i%k] || key.ID() != ids[i%k] {
			t.Fatal("callers got different keys")
		}
	}
}

// One caller's context is his own affair.
func TestFirstCallerLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		kms.unwraps.Store(0)
		release := make(chan struct{})
		kms.onUnwrap = func(ctx context.Context, secret []byte, err error) ([]byte, error) {
			select {
			case <-release:
				return secret, err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		first, leave := context.WithCancel(t.Context())
		firstErr, secondErr := make(chan error, 1), make(chan error, 1)
		go func() { _, err := ring.Primary(first, Data); firstErr <- err }()
		synctest.Wait()
		go func() { _, err := ring.Primary(t.Context(), Data); secondErr <- err }()
		synctest.Wait()
		leave()
		if err := <-firstErr; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller who left got %v", err)
		}
		synctest.Wait()
		close(release)
		if err := <-secondErr; err != nil {
			t.Errorf("the caller who stayed got %v", err)
		}
		if n := kms.unwraps.Load(); n != 1 {
			t.Errorf("%d KMS calls", n)
		}
	})
}

// When everybody has left, the call ends, and the next caller makes a new one.
func TestEverybodyLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		ended := 0
		kms.onUnwrap = func(ctx context.Context, secret []byte, err error) ([]byte, error) {
			<-ctx.Done()
			ended++
			return nil, ctx.Err()
		}
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := ring.Primary(ctx, Data); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
			cancel()
			synctest.Wait()
		}
		if ended != 3 {
			t.Errorf("%d calls ended", ended)
		}
		kms.onUnwrap = nil
		must[*crypto.Key](t)(ring.Primary(t.Context(), Data))
	})
}

// A KMS that hangs costs CallTimeout, also if its driver doesn't heed contexts.
func TestHangingKMS(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
			ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &OpenOptions{CallTimeout: 3 * time.Second}))
			defer ring.Close()
			release := make(chan struct{})
			defer close(release)
			kms.unwraps.Store(0)
			kms.onUnwrap = func(ctx context.Context, secret []byte, err error) ([]byte, error) {
				if heeds {
					<-ctx.Done()
				} else {
					<-release
				}
				return nil, context.DeadlineExceeded
			}
			start := time.Now()
			for range 3 {
				if _, err := ring.Primary(t.Context(), Data); !errors.Is(err, ErrUnavailable) {
					t.Errorf("heeds %v: %v", heeds, err)
				}
				synctest.Wait() // until the call that was given up has ended, if it does
			}
			if took := time.Since(start); took != 9*time.Second || kms.unwraps.Load() != 3 {
				t.Errorf("heeds %v: took %v and %d calls", heeds, took, kms.unwraps.Load())
			}
			// Later calls are spaced, and what hangs is bounded.
			for range 2000 {
				ring.Primary(t.Context(), Data)
				time.Sleep(time.Second)
			}
			synctest.Wait()
			hanging := (*ring.core().keks.Load())[0].gate.hanging.Load()
			if n := kms.unwraps.Load(); heeds && (n > 300 || hanging != 0) || !heeds && (n != maxHanging || hanging != maxHanging) {
				t.Errorf("heeds %v: %d calls, %d hanging", heeds, n, hanging)
			}
		})
	}
}

// P9: what was used once goes on working.
func TestWarmKeysNeedNobody(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	_, pin := mustCreate(t, "app", store, kms)
	ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	down := errors.New("connection refused")
	store.onLoad = func(context.Context, Record, error) (Record, error) { return Record{}, down }
	kms.onUnwrap = func(context.Context, []byte, error) ([]byte, error) { return nil, kmsprovider.ErrUnavailable }
	if k, err := ring.Primary(ctx, Data); k != key || err != nil {
		t.Errorf("Primary: %v, %v", k, err)
	}
	if k, err := ring.Key(ctx, Data, key.ID()); k != key || err != nil {
		t.Errorf("Key: %v, %v", k, err)
	}
	if _, err := ring.Primary(ctx, SubjectWrap); !errors.Is(err, ErrUnavailable) || !errors.Is(err, kmsprovider.ErrUnavailable) {
		t.Errorf("cold key: %v", err)
	}
	// Nobody knows whether this key exists: it must not be called unknown,
	// or its ciphertexts would be taken for plain data.
	for range 2 {
		if _, err := ring.Key(ctx, Data, 1); !errors.Is(err, ErrUnavailable) || !errors.Is(err, down) || errors.Is(err, ErrUnknownKey) {
			t.Errorf("unknown key: %v", err)
		}
	}
}

func TestProviderErrorsKeepTheirClass(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	_, pin := mustCreate(t, "app", store, kms)
	ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	for _, e := range []error{kmsprovider.ErrRejected, kmsprovider.ErrNotFound, kmsprovider.ErrDenied, kmsprovider.ErrDisabled,
		kmsprovider.ErrUnavailable, kmsprovider.ErrThrottled, errors.New("other")} {
		kms.onUnwrap = func(context.Context, []byte, error) ([]byte, error) { return nil, e }
		for _, f := range []func() error{
			func() error { _, err := ring.Primary(ctx, Data); return err },
			func() error { _, err := Open(ctx, "app", store, kms, pin, nil); return err },
		} {
			if err := f(); !errors.Is(err, e) || errors.Is(err, ErrUnavailable) != kmsprovider.Retryable(e) {
				t.Errorf("%v became %v", e, err)
			}
		}
	}
}

func TestStatesResolve(t *testing.T) {
	ctx := t.Context()
	store, kms, pin, _ := ringForEdits(t)
	ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	want := map[State]error{Pending: nil, Primary: nil, Enabled: nil, Disabled: ErrKeyDisabled, Destroying: ErrKeyDisabled, Destroyed: ErrKeyDestroyed}
	for _, k := range ring.Keys() {
		if k.Purpose != Data {
			continue
		}
		key, err := ring.Key(ctx, Data, k.ID)
		if !errors.Is(err, want[k.State]) || (err == nil) != (key != nil) {
			t.Errorf("%s: %v, %v", k.State, key, err)
		}
		// Ids resolve for their purpose alone.
		for _, p := range []Purpose{Deterministic, SubjectWrap} {
			loads := store.loads.Load()
			if key, err := ring.Key(ctx, p, k.ID); !errors.Is(err, ErrUnknownKey) || !errors.Is(err, crypto.ErrUnknownKey) || key != nil {
				t.Errorf("%s key asked for as %s: %v, %v", Data, p, key, err)
			}
			if store.loads.Load() != loads {
				t.Error("an id of another purpose made a store read")
			}
		}
	}
	if _, err := ring.Key(ctx, Data, 0); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("id 0: %v", err)
	}
}

// A key that somebody disables is wiped here as soon as this process knows.
func TestDisabledKeysAreWiped(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, _ := mustCreate(t, "app", store, kms)
	old := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	ct := must[[]byte](t)(old.Seal(nil, []byte("text"), nil))
	must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	if k, err := ring.Key(ctx, Data, old.ID()); k != old || err != nil {
		t.Errorf("after Rotate: %v, %v", k, err)
	}
	setState(t, ring, store, old.ID(), Disabled)
	if err := ring.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Key(ctx, Data, old.ID()); !errors.Is(err, ErrKeyDisabled) {
		t.Errorf("disabled: %v", err)
	}
	if _, err := old.Open(nil, ct, nil); !errors.Is(err, crypto.ErrWiped) {
		t.Errorf("a disabled key that was handed out: %v", err)
	}
	setState(t, ring, store, old.ID(), Enabled)
	if err := ring.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	again := must[*crypto.Key](t)(ring.Key(ctx, Data, old.ID()))
	if _, err := again.Open(nil, ct, nil); err != nil {
		t.Error(err)
	}
}

// A key may be dropped while its unwrap is under way: it must not come alive in
// a snapshot that nobody wipes.
func TestDropDuringUnwrap(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		writer := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		id := writer.Keys()[0].ID
		must[uint32](t)(writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
		for what, drop := range map[string]struct {
			do   func(*Keyring)
			want error
		}{
			"disable": {func(r *Keyring) {
				setState(t, writer, store, id, Disabled)
				if err := r.Refresh(ctx); err != nil {
					t.Error(err)
				}
			}, ErrKeyDisabled},
			"close": {func(r *Keyring) { r.Close() }, ErrClosed},
		} {
			ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
			snap := ring.live.Load()
			release := make(chan struct{})
			kms.onUnwrap = func(_ context.Context, s []byte, err error) ([]byte, error) { <-release; return s, err }
			got := make(chan error, 1)
			go func() { _, err := ring.Key(ctx, Data, id); got <- err }()
			synctest.Wait()
			drop.do(ring)
			close(release)
			if err := <-got; !errors.Is(err, drop.want) {
				t.Errorf("%s: %v", what, err)
			}
			if snap.byID[id].warm() {
				t.Errorf("%s: the dropped cell holds a key", what)
			}
			kms.onUnwrap = nil
			ring.Close()
			setState(t, writer, store, id, Enabled)
		}
	})
}

func TestClose(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	for range 2 {
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := key.Seal(nil, nil, nil); !errors.Is(err, crypto.ErrWiped) {
		t.Errorf("a key of a closed ring: %v", err)
	}
	_, errPrimary := ring.Primary(ctx, Data)
	_, errKey := ring.Key(ctx, Data, key.ID())
	_, errUnknown := ring.Key(ctx, Data, 1)
	_, errIndex := ring.BlindIndexKey(ctx, "r", "f", "i")
	_, errRotate := ring.Rotate(ctx, Data, &RotateOptions{Now: true})
	for _, err := range []error{errPrimary, errKey, errUnknown, errIndex, errRotate, ring.Refresh(ctx)} {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if ring.Keys() != nil || ring.Revision() != 0 || ring.Name() != "app" || ring.Pin() != pin {
		t.Error("what a closed ring says of itself")
	}
	if string(ring.core().macKey()) != string(make([]byte, 32)) {
		t.Error("the MAC key was not wiped")
	}
}

// Lookups, refreshes, rotations and Close at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	_, pin := mustCreate(t, "app", store, kms)
	ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				key, err := ring.Primary(ctx, Data)
				if err != nil {
					t.Error(err)
					return
				}
				if k, err := ring.Key(ctx, Data, key.ID()); err != nil || k != key {
					t.Errorf("Key(%08x): %v, %v", key.ID(), k, err)
				}
				if i == 0 {
					must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
				}
				if err := ring.Refresh(ctx); err != nil {
					t.Error(err)
				}
				if _, err := ring.BlindIndexKey(ctx, "r", "f", "i"); err != nil {
					t.Error(err)
				}
				ring.Keys()
			}
		})
	}
	wg.Wait()
	for range 4 {
		wg.Go(func() {
			for {
				if _, err := ring.Primary(ctx, Data); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	ring.Close()
	wg.Wait()
}

func TestLookupsDontAllocate(t *testing.T) {
	ctx := t.Context()
	ring, _ := mustCreate(t, "app", newFakeStore(), newFakeKMS())
	key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	for name, f := range map[string]func(){
		"Primary": func() { ring.Primary(ctx, Data) },
		"Key":     func() { ring.Key(ctx, Data, key.ID()) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkKeyring(b *testing.B) {
	ctx := context.Background()
	ring, _ := mustCreate(b, "app", NewMemoryStore(), newFakeKMS())
	key := must[*crypto.Key](b)(ring.Primary(ctx, Data))
	for range 50 {
		must[uint32](b)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	}
	b.Run("op=primary", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ring.Primary(ctx, Data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=lookup", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ring.Key(ctx, Data, key.ID()); err != nil {
				b.Fatal(err)
			}
		}
	})
	// The keys of subjects: one that is at hand, and others that aren't, looked up
	// 500 at a time in memory, each. Package itest/stores does it in SQLite.
	const page = 500
	list := make([]Subject, 20*page)
	for i := range list {
		list[i].ID = fmt.Sprint(i)
	}
	store, kms := NewMemoryStore(), newFakeKMS()
	small, _, err := Create(ctx, "app", store, kms, &CreateOptions{OpenOptions: OpenOptions{SubjectCache: 2 * page}})
	if err != nil {
		b.Fatal(err)
	}
	defer small.Close()
	if err := small.WarmSubjects(ctx, list, true); err != nil {
		b.Fatal(err)
	}
	b.Run("op=subject-warm", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			keys, err := small.Subject(ctx, list[len(list)-1])
			if err != nil {
				b.Fatal(err)
			}
			if _, err := keys.Primary(); err != nil {
				b.Fatal(err)
			}
			keys.Release()
		}
	})
	b.Run("op=subject-cold", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if at := n % len(list); at%page == 0 {
				if err := small.WarmSubjects(ctx, list[at:at+page], false); err != nil {
					b.Fatal(err)
				}
			}
			n++
		}
	})
}
