package keyring

import (
	"errors"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
)

func TestDestroyNeedsProof(t *testing.T) {
	atClocks(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		const quiet = DefaultMaxStale + DefaultTTL + DefaultLongestTransaction
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer ring.Close()
		old := must[*crypto.Key](t)(ring.Primary(ctx, Data))
		ct := must[[]byte](t)(old.Seal(nil, []byte("text"), nil))
		census := func(n uint64) *Census {
			c := must[*Census](t)(ring.BeginCensus(ctx))
			c.Count(old.ID(), n)
			c.Finish()
			return c
		}
		primary := census(0)
		must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
		if d := remaining(t, ring.Destroy(ctx, old.ID(), primary, nil)); d != quiet {
			t.Errorf("with a census from before the demotion: wait %v", d)
		}
		early := census(0)
		time.Sleep(quiet - time.Millisecond)
		alsoEarly := census(0)
		time.Sleep(time.Millisecond)
		for _, c := range []*Census{primary, early, alsoEarly} {
			if d := remaining(t, ring.Destroy(ctx, old.ID(), c, nil)); d != 0 {
				t.Errorf("a new census may begin now, not in %v", d)
			}
		}
		unfinished := must[*Census](t)(ring.BeginCensus(ctx))
		otherRing := census(0)
		otherRing.ring = "other"
		for what, c := range map[string]struct {
			proof *Census
			want  error
		}{
			"none": {nil, ErrCensus}, "unfinished": {unfinished, ErrCensus}, "of another ring": {otherRing, ErrCensus}, "one row": {census(1), ErrInUse},
		} {
			if err := ring.Destroy(ctx, old.ID(), c.proof, nil); !errors.Is(err, c.want) {
				t.Errorf("census %s: %v", what, err)
			}
		}
		proof := census(0)
		if err := ring.Destroy(ctx, old.ID(), proof, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := ring.Key(ctx, Data, old.ID()); !errors.Is(err, ErrKeyDisabled) {
			t.Errorf("being destroyed: %v", err)
		}
		// Recoverable until the end.
		time.Sleep(DefaultDestroyWait - time.Hour)
		if err := ring.Enable(ctx, old.ID(), nil); err != nil {
			t.Fatal(err)
		}
		if text, err := must[*crypto.Key](t)(ring.Key(ctx, Data, old.ID())).Open(nil, ct, nil); err != nil || string(text) != "text" {
			t.Errorf("%q, %v", text, err)
		}
		if err := ring.Erase(ctx, old.ID(), proof, nil); !errors.Is(err, ErrState) {
			t.Errorf("erase an enabled key: %v", err)
		}
		if err := ring.Destroy(ctx, old.ID(), census(0), nil); err != nil {
			t.Fatal(err)
		}
		// The wait begins anew, and the first census doesn't count twice.
		second := census(0)
		time.Sleep(DefaultDestroyWait - time.Millisecond)
		for _, c := range []*Census{proof, second, census(0)} {
			if d := remaining(t, ring.Erase(ctx, old.ID(), c, nil)); d != time.Millisecond {
				t.Errorf("early: wait %v", d)
			}
		}
		time.Sleep(time.Millisecond)
		for _, c := range []*Census{proof, second} {
			if d := remaining(t, ring.Erase(ctx, old.ID(), c, nil)); d != 0 {
				t.Errorf("with an old census: wait %v", d)
			}
		}
		if err := ring.Erase(ctx, old.ID(), census(3), nil); !errors.Is(err, ErrInUse) {
			t.Errorf("in use: %v", err)
		}
		last := census(0)
		if err := ring.Erase(ctx, old.ID(), last, &DestroyOptions{Actor: "ops"}); err != nil {
			t.Fatal(err)
		}
		if err := ring.Erase(ctx, old.ID(), last, nil); err != nil {
			t.Errorf("again: %v", err)
		}
		if err := ring.Enable(ctx, old.ID(), nil); !errors.Is(err, ErrKeyDestroyed) {
			t.Errorf("enable a destroyed key: %v", err)
		}
		if _, err := ring.Key(ctx, Data, old.ID()); !errors.Is(err, ErrKeyDestroyed) {
			t.Error(err)
		}
		if rec := must[*record](t)(parseRecord(store.get(t, "app").Data)); len(rec.find(old.ID()).Wraps) != 0 {
			t.Error("the wraps are still there")
		}
	})
}

// The second census is of the same destroying, however long ago the first one was.
func TestEraseNeedsItsOwnCensus(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer ring.Close()
		old := ring.Keys()[0].ID
		must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
		census := func() *Census {
			c := must[*Census](t)(ring.BeginCensus(ctx))
			c.Finish()
			return c
		}
		if err := ring.Disable(ctx, old, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * DefaultDestroyWait)
		disabled := census()
		if err := ring.Destroy(ctx, old, disabled, nil); err != nil {
			t.Fatal(err)
		}
		if d := remaining(t, ring.Erase(ctx, old, disabled, nil)); d != DefaultDestroyWait {
			t.Errorf("with the census of a disabled key: wait %v", d)
		}
		time.Sleep(2 * DefaultDestroyWait)
		first := census()
		if err := ring.Enable(ctx, old, nil); err != nil {
			t.Fatal(err)
		}
		if err := ring.Destroy(ctx, old, first, nil); err != nil {
			t.Fatal(err)
		}
		if d := remaining(t, ring.Erase(ctx, old, first, nil)); d != DefaultDestroyWait {
			t.Errorf("with the census of an earlier destroying: wait %v", d)
		}
	})
}

// A pending key was never written with: only the census counts.
func TestDestroyPending(t *testing.T) {
	ctx := t.Context()
	ring, _ := mustCreate(t, "app", newFakeStore(), newFakeKMS())
	id := must[uint32](t)(ring.Rotate(ctx, Data, nil))
	c := must[*Census](t)(ring.BeginCensus(ctx))
	c.Finish()
	promoted := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Suite: crypto.Compact}))
	c2 := must[*Census](t)(ring.BeginCensus(ctx))
	c2.Finish()
	if err := ring.Destroy(ctx, id, c, nil); err != nil {
		t.Error(err)
	}
	if err := ring.Destroy(ctx, promoted, c, nil); !errors.Is(err, ErrCensus) {
		t.Errorf("a key that the census didn't know: %v", err)
	}
	// Pending when the census began, a primary since.
	for _, now := range []uint32{promoted, must[uint32](t)(ring.Rotate(ctx, Data, nil))} {
		if err := ring.Promote(ctx, now, &PromoteOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
	}
	remaining(t, ring.Destroy(ctx, promoted, c2, nil))
}
