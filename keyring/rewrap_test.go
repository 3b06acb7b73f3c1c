package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// opensWith opens the ring with one provider and every key of it.
func opensWith(t *testing.T, store Store, kms kmsprovider.Provider, pin Pin) error {
	t.Helper()
	ctx := t.Context()
	ring, err := Open(ctx, "app", store, kms, pin, nil)
	if err != nil {
		return err
	}
	defer ring.Close()
	s := ring.live.Load()
	for _, e := range s.byID {
		if len(e.Wraps) == 0 {
			continue
		}
		secret, err := ring.core().keks.Load().unwrap(ctx, "app", e.keyRecord)
		clear(secret)
		if err != nil {
			return err
		}
	}
	return nil
}

func createWith(t *testing.T, store Store, kms kmsprovider.Provider, also ...kmsprovider.Provider) (*Keyring, Pin) {
	t.Helper()
	ring, pin, err := Create(t.Context(), "app", store, kms, &CreateOptions{OpenOptions: OpenOptions{Also: also}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring, pin
}

// P7: losing one key-encryption key loses no key.
func TestAnyKEKOpens(t *testing.T) {
	ctx := t.Context()
	for _, loss := range []error{kmsprovider.ErrUnavailable, kmsprovider.ErrNotFound, kmsprovider.ErrDenied, kmsprovider.ErrDisabled, errors.New("odd")} {
		store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
		ring, pin := createWith(t, store, a, b)
		key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
		ct := must[[]byte](t)(key.Seal(nil, []byte("text"), nil))
		for _, kms := range []*fakeKMS{a, b} {
			if err := opensWith(t, store, kms, pin); err != nil {
				t.Errorf("one alone: %v", err)
			}
		}
		a.down(loss)
		again := must[*Keyring](t)(Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}))
		if text, err := must[*crypto.Key](t)(again.Key(ctx, Data, key.ID())).Open(nil, ct, nil); err != nil || string(text) != "text" {
			t.Errorf("%v: %q, %v", loss, text, err)
		}
		// One is enough to write, and the other catches up.
		id := must[uint32](t)(again.Rotate(ctx, Data, &RotateOptions{Now: true}))
		if err := opensWith(t, store, b, pin); err != nil {
			t.Errorf("%v: after a rotation: %v", loss, err)
		}
		if m, err := again.Maintain(ctx); err == nil || m.Backfill != 0 {
			t.Errorf("%v: maintained: %+v, %v", loss, m, err)
		}
		a.down(nil)
		again.Close()
		again = must[*Keyring](t)(Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}))
		if m := must[Maintenance](t)(again.Maintain(ctx)); m.Backfill != 1 {
			t.Errorf("%v: %+v", loss, m)
		}
		if m := must[Maintenance](t)(again.Maintain(ctx)); m.Backfill != 0 {
			t.Errorf("%v: %+v again", loss, m)
		}
		if err := opensWith(t, store, a, pin); err != nil {
			t.Errorf("%v: key %08x was not backfilled: %v", loss, id, err)
		}
		b.down(loss)
		a.down(loss)
		if _, err := Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}); !errors.Is(err, loss) || errors.Is(err, ErrUnavailable) != kmsprovider.Retryable(loss) {
			t.Errorf("all gone with %v: %v", loss, err)
		}
		// One refuses and the other may come back: that is not final.
		a.down(kmsprovider.ErrUnavailable)
		if _, err := Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v and unavailable: %v", loss, err)
		}
		again.Close()
	}
}

// A wrong answer goes on to the next one, and is counted.
func TestWrongAnswerOfOneKEK(t *testing.T) {
	ctx := t.Context()
	for what, lie := range lies {
		store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
		_, pin := createWith(t, store, a, b)
		a.onUnwrap = func(_ context.Context, s []byte, err error) ([]byte, error) { return lie(s), err }
		ring := must[*Keyring](t)(Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}))
		must[*crypto.Key](t)(ring.Primary(ctx, Data))
		if n := (*ring.core().keks.Load())[0].wrong.Load(); n != 2 {
			t.Errorf("%s: %d wrong answers counted", what, n)
		}
		// Nothing is written with the help of one that lies.
		swaps := store.swaps.Load()
		if _, err := ring.Rotate(ctx, Data, nil); !errors.Is(err, ErrRewrap) || store.swaps.Load() != swaps {
			t.Errorf("%s: rotated: %v", what, err)
		}
		ring.Close()
	}
}

// One that hangs costs a moment, not the time of a call.
func TestHangingKEKIsPassed(t *testing.T) {
	store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
	_, pin := createWith(t, store, a, b)
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		release := make(chan struct{})
		a.onUnwrap = func(context.Context, []byte, error) ([]byte, error) { <-release; return nil, errors.New("late") }
		start := time.Now()
		ring := must[*Keyring](t)(Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}))
		must[*crypto.Key](t)(ring.Primary(ctx, Data))
		if took := time.Since(start); took > 2*DefaultCallTimeout/10 {
			t.Errorf("took %v", took)
		}
		close(release)
		ring.Close()
		// And one that fails, no time at all.
		a.down(kmsprovider.ErrUnavailable)
		start = time.Now()
		ring = must[*Keyring](t)(Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}))
		if took := time.Since(start); took != 0 {
			t.Errorf("a failure took %v", took)
		}
		ring.Close()
	})
}

// Somebody removes what is being added, or what a removal counts on.
func TestRewrapMeetsOthers(t *testing.T) {
	ctx := t.Context()
	store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
	ring, pin := createWith(t, store, a)
	other := must[*Keyring](t)(Open(ctx, "app", store, a, pin, nil))
	defer other.Close()
	// between runs f before the nth write.
	between := func(n int, f func()) {
		store.onSwap = func(swap func() error) error {
			if n--; n == 0 {
				store.onSwap = nil
				f()
			}
			return swap()
		}
	}
	between(2, func() {
		if err := other.RemoveKEK(ctx, b.ID(), nil); err != nil {
			t.Error(err)
		}
	})
	if err := ring.AddKEK(ctx, b, nil); err != nil {
		t.Error(err)
	}
	for _, k := range must[*record](t)(parseRecord(store.get(t, "app").Data)).Keys {
		if len(k.Wraps) != 1 {
			t.Errorf("key %08x is wrapped by what was removed", uint32(k.ID))
		}
	}
	if err := ring.AddKEK(ctx, b, nil); err != nil {
		t.Fatal(err)
	}
	between(2, func() {
		edit(t, ring, store, func(body *body) {
			for i := range body.Keys {
				body.Keys[i].Wraps = slices.Clone(body.Keys[i].Wraps[:1])
			}
		})
	})
	if err := ring.RemoveKEK(ctx, a.ID(), nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("removing a while b is removed: %v", err)
	}
	if err := opensWith(t, store, a, pin); err != nil {
		t.Error(err)
	}
}

func TestAddAndRemoveKEK(t *testing.T) {
	ctx := t.Context()
	store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, a)
	other := must[*Keyring](t)(Open(ctx, "app", store, a, pin, nil)) // knows nothing of b
	defer other.Close()
	ct := must[[]byte](t)(must[*crypto.Key](t)(ring.Primary(ctx, Data)).Seal(nil, []byte("text"), nil))
	if err := ring.RemoveKEK(ctx, a.ID(), nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("removing the only one: %v", err)
	}
	for range 2 { // the second time there is nothing to do
		if err := ring.AddKEK(ctx, b, &ChangeOptions{Actor: "ops"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := opensWith(t, store, b, pin); err != nil {
		t.Errorf("after AddKEK: %v", err)
	}
	must[uint32](t)(other.Rotate(ctx, Data, &RotateOptions{Now: true})) // by a alone
	if err := opensWith(t, store, b, pin); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("a key of a process without b: %v", err)
	}
	for what, err := range map[string]error{"away": kmsprovider.ErrUnavailable, "gone": kmsprovider.ErrNotFound} {
		b.down(err)
		if err := ring.RemoveKEK(ctx, a.ID(), nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("removing a while b is %s: %v", what, err)
		}
	}
	b.down(nil)
	if err := ring.RemoveKEK(ctx, a.ID(), nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("removing a while a key is not wrapped by b: %v", err)
	}
	if err := opensWith(t, store, a, pin); err != nil {
		t.Errorf("a refused RemoveKEK removed: %v", err)
	}
	must[Maintenance](t)(ring.Maintain(ctx)) // wraps it by b
	for range 2 {
		if err := ring.RemoveKEK(ctx, a.ID(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := opensWith(t, store, b, pin); err != nil {
		t.Errorf("after RemoveKEK: %v", err)
	}
	if text := string(store.get(t, "app").Data); strings.Contains(text[:strings.Index(text, `"history"`)], a.ID()) {
		t.Error("a wrap by a is left")
	}
	if err := opensWith(t, store, a, pin); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("with the removed one: %v", err)
	}
	// A process that still has a neither wraps by it nor brings it back.
	if _, err := other.Rotate(ctx, Data, nil); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("rotation with the removed one: %v", err)
	}
	if _, err := other.Maintain(ctx); err != nil {
		t.Error(err)
	}
	if err := opensWith(t, store, b, pin); err != nil {
		t.Error(err)
	}
	last := must[*Keyring](t)(Open(ctx, "app", store, b, pin, nil))
	defer last.Close()
	if text, err := must[*crypto.Key](t)(last.Key(ctx, Data, must[uint32](t)(crypto.KeyID(ct)))).Open(nil, ct, nil); err != nil || string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	ops := make(map[string]int)
	for _, c := range last.History().Changes {
		ops[c.Op]++
	}
	if ops[OpWrap] != 7 || ops[OpUnwrap] != 7 {
		t.Errorf("history: %v", ops)
	}
}

func TestRewrapPlan(t *testing.T) {
	ctx := t.Context()
	store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
	ring, pin := createWith(t, store, a)
	ring.Close()
	ring = must[*Keyring](t)(Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}))
	defer ring.Close()
	target := RewrapTarget{KEKs: []string{b.ID()}, Actor: "ops"}
	wraps, unwraps := a.wraps.Load()+b.wraps.Load(), a.unwraps.Load()+b.unwraps.Load()
	plan := must[*RewrapPlan](t)(ring.PlanRewrap(ctx, target))
	if a.wraps.Load()+b.wraps.Load() != wraps || a.unwraps.Load()+b.unwraps.Load() != unwraps || ring.Revision() != 1 {
		t.Error("a plan did something")
	}
	text := plan.String()
	if len(plan.Keys) != 6 || strings.Count(text, "\n") != 7 || strings.Count(text, "wrap by "+b.ID()) != 6 || strings.Count(text, "remove "+a.ID()) != 6 {
		t.Errorf("plan:\n%s", text)
	}
	if data, err := json.Marshal(plan); err != nil || !strings.Contains(string(data), b.ID()) {
		t.Errorf("%s, %v", data, err)
	}
	done := must[*RewrapPlan](t)(ring.Rewrap(ctx, target))
	if done.String() != text {
		t.Errorf("did\n%splanned\n%s", done, text)
	}
	if err := opensWith(t, store, b, pin); err != nil {
		t.Error(err)
	}
	if err := opensWith(t, store, a, pin); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("with the old one: %v", err)
	}
	if plan := must[*RewrapPlan](t)(ring.PlanRewrap(ctx, target)); len(plan.Keys) != 0 {
		t.Errorf("a second plan:\n%s", plan)
	}
	// Renewed: other bytes of the same KEK.
	before := must[*record](t)(parseRecord(store.get(t, "app").Data))
	must[*RewrapPlan](t)(ring.Rewrap(ctx, RewrapTarget{Renew: true}))
	after := must[*record](t)(parseRecord(store.get(t, "app").Data))
	for i := range after.Keys {
		if len(after.Keys[i].Wraps) != 1 || slices.Equal(after.Keys[i].Wraps[0].Blob, before.Keys[i].Wraps[0].Blob) {
			t.Errorf("key %d was not renewed", i)
		}
	}
	if _, err := ring.Rewrap(ctx, RewrapTarget{KEKs: []string{"nobody"}}); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("unknown target: %v", err)
	}
}

// P7: the process dies at any write of a rewrap, before or after it is stored: all
// keys open with what opened them before, or with both, and the repeat completes.
func TestRewrapIsRepeatable(t *testing.T) {
	ctx := t.Context()
	died := errors.New("died")
	for n := 1; ; n++ {
		finished := 0
		for _, stored := range []bool{false, true} {
			store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
			ring, pin := createWith(t, store, a)
			must[uint32](t)(ring.Rotate(ctx, Data, nil))
			if err := ring.Disable(ctx, must[uint32](t)(ring.Rotate(ctx, Deterministic, nil)), nil); err != nil {
				t.Fatal(err)
			}
			open := func() *Keyring {
				return must[*Keyring](t)(Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}))
			}
			swaps := 0
			store.onSwap = func(swap func() error) error {
				if swaps++; swaps < n {
					return swap()
				}
				if swaps == n && stored {
					if err := swap(); err != nil {
						t.Error(err)
					}
				}
				return died
			}
			target := RewrapTarget{KEKs: []string{b.ID()}}
			first := open()
			_, err := first.Rewrap(ctx, target)
			first.Close()
			if err == nil {
				finished++
			} else if !errors.Is(err, died) {
				t.Fatal(err)
			}
			store.onSwap = nil
			both := open()
			for _, k := range both.live.Load().byID {
				secret, err := both.core().keks.Load().unwrap(ctx, "app", k.keyRecord)
				clear(secret)
				if err != nil {
					t.Fatalf("write %d, stored %v: %v", n, stored, err)
				}
			}
			errA, errB := opensWith(t, store, a, pin), opensWith(t, store, b, pin)
			if errA != nil && errB != nil {
				t.Errorf("write %d, stored %v: neither opens all: %v, %v", n, stored, errA, errB)
			}
			if _, err := both.Rewrap(ctx, target); err != nil {
				t.Errorf("write %d, stored %v, again: %v", n, stored, err)
			}
			if err := opensWith(t, store, b, pin); err != nil {
				t.Errorf("write %d, stored %v, again: %v", n, stored, err)
			}
			if plan := must[*RewrapPlan](t)(both.PlanRewrap(ctx, target)); len(plan.Keys) != 0 {
				t.Errorf("write %d, stored %v: left to do:\n%s", n, stored, plan)
			}
			both.Close()
		}
		if finished == 2 {
			if n < 15 {
				t.Errorf("only %d writes tried", n-1)
			}
			return
		}
	}
}

// P7: a wrap that doesn't open to the same key replaces nothing.
func TestRewrapCompares(t *testing.T) {
	ctx := t.Context()
	for what, lie := range lies {
		store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
		ring, pin := createWith(t, store, a)
		b.onUnwrap = func(_ context.Context, s []byte, err error) ([]byte, error) { return lie(s), err }
		if err := ring.AddKEK(ctx, b, nil); !errors.Is(err, ErrRewrap) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := ring.Rewrap(ctx, RewrapTarget{KEKs: []string{b.ID()}}); !errors.Is(err, ErrRewrap) {
			t.Errorf("%s: %v", what, err)
		}
		for _, k := range must[*record](t)(parseRecord(store.get(t, "app").Data)).Keys {
			if len(k.Wraps) != 1 || k.Wraps[0].KEK != a.ID() {
				t.Errorf("%s: a wrap was stored", what)
			}
		}
		if err := opensWith(t, store, a, pin); err != nil {
			t.Error(err)
		}
	}
}

// Two who remove each other's key-encryption key don't both succeed.
func TestRemoveEachOther(t *testing.T) {
	ctx := t.Context()
	for range 5 {
		store, a, b := newFakeStore(), newFakeKMS(), newFakeKMS()
		ring, pin := createWith(t, store, a, b)
		other := must[*Keyring](t)(Open(ctx, "app", store, b, pin, &OpenOptions{Also: []kmsprovider.Provider{a}}))
		var wg sync.WaitGroup
		wg.Go(func() { ring.RemoveKEK(ctx, a.ID(), nil) })
		wg.Go(func() { other.RemoveKEK(ctx, b.ID(), nil) })
		wg.Wait()
		both := must[*Keyring](t)(Open(ctx, "app", store, a, pin, &OpenOptions{Also: []kmsprovider.Provider{b}}))
		for _, k := range both.live.Load().byID {
			secret, err := both.core().keks.Load().unwrap(ctx, "app", k.keyRecord)
			clear(secret)
			if err != nil {
				t.Fatal(err)
			}
		}
		both.Close()
		other.Close()
	}
}
