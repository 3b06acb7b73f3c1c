package keyring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
)

// The process may die at any write, before or after the store has it: what is
// left is whole, and the repeat completes.
func TestEveryChangeCanBeRepeated(t *testing.T) {
	ctx := t.Context()
	died := errors.New("died")
	for _, stored := range []bool{false, true} {
		for _, step := range []string{"publish", "promote", "now", "disable", "enable", "destroy", "erase"} {
			store, kms := newFakeStore(), newFakeKMS()
			ring, pin := mustCreate(t, "app", store, kms)
			pending := must[uint32](t)(ring.Rotate(ctx, Deterministic, nil))
			old := ring.Keys()[0].ID
			must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
			force := &DestroyOptions{Force: true}
			if step == "erase" {
				if err := ring.Destroy(ctx, old, nil, force); err != nil {
					t.Fatal(err)
				}
			}
			if step == "enable" {
				if err := ring.Disable(ctx, old, nil); err != nil {
					t.Fatal(err)
				}
			}
			do := func(r *Keyring) (err error) {
				switch step {
				case "publish":
					_, err = r.Rotate(ctx, Data, nil)
				case "promote":
					err = r.Promote(ctx, pending, &PromoteOptions{Now: true})
				case "now":
					_, err = r.Rotate(ctx, Data, &RotateOptions{Now: true})
				case "disable":
					err = r.Disable(ctx, old, nil)
				case "enable":
					err = r.Enable(ctx, old, nil)
				case "destroy":
					err = r.Destroy(ctx, old, nil, force)
				case "erase":
					err = r.Erase(ctx, old, nil, force)
				}
				return err
			}
			store.onSwap = func(swap func() error) error {
				if stored {
					if err := swap(); err != nil {
						t.Error(err)
					}
				}
				return died
			}
			if err := do(ring); !errors.Is(err, died) {
				t.Errorf("%s: %v", step, err)
			}
			ring.Close()
			store.onSwap = nil
			again := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
			if err := do(again); err != nil {
				t.Errorf("%s (stored %v) again: %v", step, stored, err)
			}
			want := map[string]int{"publish": 1, "now": 1}[step] + 8
			if stored && step == "now" {
				want++ // a fresh key each time
			}
			if n := len(again.Keys()); n != want {
				t.Errorf("%s (stored %v): %d keys, want %d", step, stored, n, want)
			}
			for _, k := range again.Keys() {
				if k.State.usable() && k.Purpose == Data {
					must[*crypto.Key](t)(again.Key(ctx, Data, k.ID))
				}
			}
			again.Close()
		}
	}
}

// Many at once, with all kinds of changes: nothing is lost, the record is always
// whole.
func TestChangesInContention(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	other := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	defer other.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := []*Keyring{ring, other}[i%2]
			for range 5 {
				id, err := r.Rotate(ctx, Data, &RotateOptions{Now: true})
				if err != nil {
					t.Error(err)
					return
				}
				for _, f := range []func() error{
					func() error { return r.Disable(ctx, id, nil) },
					func() error { return r.Enable(ctx, id, nil) },
					func() error { return r.Destroy(ctx, id, nil, &DestroyOptions{Force: true}) },
				} {
					if err := f(); err != nil && !errors.Is(err, ErrState) { // it may still be the primary
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	final := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	defer final.Close()
	h := final.History()
	if uint64(len(h.Changes))+h.Dropped < 6+80 || len(final.Keys()) != 46 {
		t.Errorf("%d changes, %d keys", len(h.Changes), len(final.Keys()))
	}
	// The history says what the keys say.
	for _, k := range final.Keys() {
		state := State(0)
		for _, c := range h.Changes {
			if c.Key == k.ID {
				if c.From != state {
					t.Errorf("key %08x was %s, the history says %s", k.ID, state, c.From)
				}
				state = c.To
			}
		}
		if h.Dropped == 0 && state != k.State {
			t.Errorf("key %08x is %s, the history says %s", k.ID, k.State, state)
		}
	}
}

func TestActors(t *testing.T) {
	ctx := t.Context()
	ring, _ := mustCreate(t, "app", newFakeStore(), newFakeKMS())
	for _, actor := range []string{"a\n", "ä", `"`, string(make([]byte, 101)), "<b>"} {
		if _, err := ring.Rotate(ctx, Data, &RotateOptions{Actor: actor}); !errors.Is(err, ErrActor) {
			t.Errorf("actor %q: %v", actor, err)
		}
	}
	must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Actor: "jo@example.com (ticket 12)"}))
}

func TestHistoryIsBounded(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	id := must[uint32](t)(ring.Rotate(ctx, Data, nil))
	seen := ring.History().Changes
	for range 200 {
		if err := ring.Disable(ctx, id, &ChangeOptions{Actor: "a"}); err != nil {
			t.Fatal(err)
		}
		if err := ring.Enable(ctx, id, nil); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, ring.History().Changes[len(ring.History().Changes)-2:]...)
	}
	h := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil)).History()
	if len(h.Changes) != MaxHistory || h.Dropped != uint64(len(seen)-MaxHistory) || h.Hash == [32]byte{} {
		t.Fatalf("%d held, %d dropped of %d", len(h.Changes), h.Dropped, len(seen))
	}
	for i, c := range h.Changes {
		if c != seen[i+int(h.Dropped)] {
			t.Fatalf("change %d is %+v, was %+v", i, c, seen[i])
		}
	}
	// The running hash is the one that docs/format.md describes.
	var hash [32]byte
	for _, c := range seen[:h.Dropped] {
		member := func(name, v string) string {
			if v == "" || v == "State(0)" {
				return ""
			}
			return fmt.Sprintf("%q:%q,", name, v)
		}
		text := fmt.Sprintf(`{"revision":%d,"at":%q,%s"op":%q,"key":"%08x",%s"to":%q}`, c.Revision, c.At.Format(time.RFC3339),
			member("actor", c.Actor), c.Op, c.Key, member("from", c.From.String()), c.To)
		hash = sha256.Sum256(append(hash[:], text...))
	}
	if hash != h.Hash {
		t.Error("hash differs")
	}
}

// Calls give up with their context.
func TestChangesGiveUp(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		id := must[uint32](t)(ring.Rotate(t.Context(), Data, nil))
		store.onSwap = func(func() error) error { return ErrConflict }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := ring.Disable(ctx, id, nil); !errors.Is(err, ErrConflict) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		synctest.Wait()
	})
}
