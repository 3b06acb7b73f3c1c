package keyring

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// P9: what a program reads through a day without KMS and store: everything for
// MaxStale, and then nothing, whatever an administrator who still reaches the store
// does meanwhile; the key that he disables never opens anything again.
func TestP9_ReadingThroughADayOfOutage(t *testing.T) {
	// Made outside of the bubble: sealing needs randomness.
	kms, shared := newFakeKMS(), NewMemoryStore()
	admin, pin := mustCreate(t, "app", shared, kms)
	type value struct {
		key        uint32
		ciphertext []byte
	}
	var values []value
	for range 10 {
		key := must[*crypto.Key](t)(admin.Primary(t.Context(), Data))
		values = append(values, value{key.ID(), must[[]byte](t)(key.Seal(nil, []byte("text"), nil))})
		must[uint32](t)(admin.Rotate(t.Context(), Data, &RotateOptions{Now: true}))
	}
	admin.Close()
	const before, during = 0, 1 // disabled then

	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		admin := must[*Keyring](t)(Open(ctx, "app", shared, kms, pin, nil))
		defer admin.Close()
		if err := admin.Disable(ctx, values[before].key, nil); err != nil {
			t.Fatal(err)
		}
		store := &fakeStore{Store: shared} // the program's way to it
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer ring.Close()

		done, failed := 0, 0
		read := func(from int) (errs []error) {
			if _, err := ring.Key(ctx, Data, values[before].key); !errors.Is(err, ErrKeyDisabled) {
				t.Fatalf("the disabled key: %v", err)
			}
			for _, v := range values[from:] {
				key, err := ring.Key(ctx, Data, v.key)
				if err == nil {
					var text []byte
					if text, err = key.Open(nil, v.ciphertext, nil); err == nil && string(text) != "text" {
						t.Fatalf("opened to %q", text)
					}
				}
				if done++; err != nil {
					failed++
					errs = append(errs, err)
				}
			}
			if _, err := ring.BlindIndexKey(ctx, "r", "f", "i"); err != nil {
				errs = append(errs, err)
			}
			return errs
		}
		for range 30 {
			if errs := read(during); errs != nil {
				t.Fatal(errs)
			}
			time.Sleep(time.Minute)
		}
		kms.down(kmsprovider.ErrUnavailable)
		store.down(errors.New("connection refused"))
		start := time.Now()
		for time.Since(start) < DefaultMaxStale-DefaultTTL {
			if time.Since(start) == 30*time.Minute {
				if err := admin.Disable(ctx, values[during].key, nil); err != nil {
					t.Fatal(err)
				}
			}
			if errs := read(during); errs != nil {
				t.Fatalf("after %v: %v", time.Since(start), errs)
			}
			time.Sleep(10 * time.Second)
		}
		t.Logf("%d reads of warm keys inside MaxStale, %d failed", done, failed)
		time.Sleep(DefaultTTL)
		for time.Since(start) < 24*time.Hour {
			errs := read(during)
			if len(errs) != len(values)-during+1 {
				t.Fatalf("after %v: %d errors", time.Since(start), len(errs))
			}
			for _, err := range errs {
				if !errors.Is(err, ErrStale) || !errors.Is(err, ErrUnavailable) {
					t.Fatalf("after %v: %v", time.Since(start), err)
				}
			}
			time.Sleep(time.Minute)
		}
		if st := ring.Stats(); st.Warm != 0 {
			t.Errorf("%d keys are kept", st.Warm)
		}
		kms.down(nil)
		store.down(nil)
		time.Sleep(2 * backoffCap)
		if errs := read(during + 1); errs != nil {
			t.Errorf("recovery: %v", errs)
		}
		if _, err := ring.Key(ctx, Data, values[during].key); !errors.Is(err, ErrKeyDisabled) {
			t.Errorf("the key that was disabled during the outage: %v", err)
		}
		if errs := read(during + 1); errs != nil || ring.Revision() != admin.Revision() {
			t.Errorf("after the recovery: %v", errs)
		}
	})
}
