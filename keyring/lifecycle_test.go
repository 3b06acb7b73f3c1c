package keyring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
)

// remaining returns what a *WaitError says, or fails the test.
func remaining(t *testing.T, err error) time.Duration {
	t.Helper()
	var w *WaitError
	if !errors.As(err, &w) || !errors.Is(err, ErrTooEarly) {
		t.Fatalf("no WaitError: %v", err)
	}
	return w.Remaining
}

// wrongClocks are wall clocks that must not matter.
var wrongClocks = map[string]func(now time.Time) time.Time{
	"right":         func(t time.Time) time.Time { return t },
	"a day ahead":   func(t time.Time) time.Time { return t.Add(24 * time.Hour) },
	"a day behind":  func(t time.Time) time.Time { return t.Add(-24 * time.Hour) },
	"frozen":        func(time.Time) time.Time { return time.Unix(1e9, 0) },
	"backwards":     func(t time.Time) time.Time { return time.Unix(2e9, 0).Add(-time.Duration(t.UnixNano() / 2)) },
	"jumping about": func(t time.Time) time.Time { return t.Add(rand.N(1000*time.Hour) - 500*time.Hour) },
}

// atClocks runs a test in virtual time under every wall clock.
func atClocks(t *testing.T, f func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin)) {
	for name, clock := range wrongClocks {
		t.Run(name, func(t *testing.T) {
			wallClock = func() time.Time { return clock(time.Now()) }
			defer func() { wallClock = time.Now }()
			inRandomBubble(t, f)
		})
	}
}

func TestPromoteWaits(t *testing.T) {
	atClocks(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		const wait = DefaultMaxStale + DefaultTTL
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer ring.Close()
		old := must[*crypto.Key](t)(ring.Primary(ctx, Data))
		time.Sleep(100 * time.Hour) // that the ring is old is nothing to the key
		id := must[uint32](t)(ring.Rotate(ctx, Data, nil))
		if k := must[*crypto.Key](t)(ring.Primary(ctx, Data)); k.ID() != old.ID() {
			t.Error("a pending key is the primary")
		}
		must[*crypto.Key](t)(ring.Key(ctx, Data, id)) // and opens
		if again := must[uint32](t)(ring.Rotate(ctx, Data, nil)); again != id {
			t.Errorf("a repeated rotation made a second key: %08x and %08x", id, again)
		}
		if d := remaining(t, ring.Promote(ctx, id, nil)); d != wait {
			t.Errorf("at once: wait %v", d)
		}
		time.Sleep(30 * time.Minute)
		late := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil)) // has seen nothing
		defer late.Close()
		time.Sleep(wait - 30*time.Minute - time.Millisecond)
		if d := remaining(t, ring.Promote(ctx, id, nil)); d != time.Millisecond {
			t.Errorf("a millisecond early: wait %v", d)
		}
		if d := remaining(t, late.Promote(ctx, id, nil)); d <= time.Millisecond || d > 30*time.Minute+time.Millisecond {
			t.Errorf("who came later waits %v", d)
		}
		if m := must[Maintenance](t)(ring.Maintain(ctx)); len(m.Promoted)+len(m.Published) != 0 {
			t.Errorf("maintained early: %+v", m)
		}
		time.Sleep(time.Millisecond)
		if m := must[Maintenance](t)(ring.Maintain(ctx)); len(m.Promoted) != 1 || m.Promoted[0] != id {
			t.Errorf("not promoted: %+v", m)
		}
		if k := must[*crypto.Key](t)(ring.Primary(ctx, Data)); k.ID() != id {
			t.Error("not the primary")
		}
		if err := ring.Promote(ctx, id, nil); err != nil {
			t.Errorf("again: %v", err)
		}
		if err := ring.Promote(ctx, old.ID(), nil); !errors.Is(err, ErrState) {
			t.Errorf("back to the old primary: %v", err)
		}
		other := must[uint32](t)(ring.Rotate(ctx, Data, nil))
		if err := late.Promote(ctx, other, &PromoteOptions{Now: true, Actor: "oncall"}); err != nil {
			t.Error(err)
		}
		last := late.History().Changes
		if c := last[len(last)-1]; c.Op != OpPromote+OpForced || c.Actor != "oncall" || c.Key != other || c.From != Pending || c.To != Primary {
			t.Errorf("history: %+v", c)
		}
	})
}

// What one process has watched counts for those after it, if it said so.
func TestRingClockIsHandedOn(t *testing.T) {
	atClocks(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		open := func() *Keyring { return must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil)) }
		first := open()
		id := must[uint32](t)(first.Rotate(ctx, Data, nil))
		first.Close()
		start := time.Now()
		promoted := time.Duration(0)
		for promoted == 0 { // twenty minutes each, and then another process
			ring := open()
			for range 4 {
				time.Sleep(5 * time.Minute)
				if m := must[Maintenance](t)(ring.Maintain(ctx)); len(m.Promoted) > 0 {
					promoted = time.Since(start)
					break
				}
			}
			ring.Close()
			if time.Since(start) > 3*time.Hour {
				t.Fatal("never promoted")
			}
		}
		if promoted < 65*time.Minute || promoted > 70*time.Minute {
			t.Errorf("promoted after %v", promoted)
		}
		if k := must[*crypto.Key](t)(open().Primary(ctx, Data)); k.ID() != id {
			t.Error("not the primary")
		}
		// Quiet rings are left alone once nobody waits.
		ring := open()
		for range 100 {
			must[Maintenance](t)(ring.Maintain(ctx))
			time.Sleep(5 * time.Minute)
		}
		before := ring.Revision()
		for range 100 {
			time.Sleep(time.Hour)
			must[Maintenance](t)(ring.Maintain(ctx))
		}
		if ring.Revision() != before {
			t.Errorf("%d writes for nobody", ring.Revision()-before)
		}
	})
}

// Whatever processes come, go, read and write, and whatever their wall clocks say:
// no process believes that more time has passed than has.
func TestRingClockIsNeverFast(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		defer func() { wallClock = time.Now }()
		ctx := t.Context()
		rng := rand.New(rand.NewPCG(7, 7))
		rings := make([]*Keyring, 4)
		entered := make(map[string]time.Time) // key and revision: when it was written
		retired := make(map[uint32]time.Time)
		most := 0.0
		for range 1500 {
			shift := time.Duration(rng.Int64N(int64(96*time.Hour))) - 48*time.Hour
			wallClock = func() time.Time { return time.Now().Add(shift) }
			time.Sleep(time.Duration(rng.Int64N(int64(20 * time.Minute))))
			i := rng.IntN(len(rings))
			if rings[i] == nil {
				rings[i] = must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
			}
			ring := rings[i]
			var err error
			keys := ring.Keys()
			k := keys[rng.IntN(len(keys))]
			switch rng.IntN(9) {
			case 0:
				if len(keys) < MaxKeys {
					_, err = ring.Rotate(ctx, Data, nil)
				}
			case 1:
				err = ring.Promote(ctx, k.ID, &PromoteOptions{Now: rng.IntN(2) == 0})
			case 2:
				err = ring.Disable(ctx, k.ID, nil)
			case 3:
				err = ring.Enable(ctx, k.ID, nil)
			case 4:
				err = ring.Destroy(ctx, k.ID, nil, &DestroyOptions{Force: true})
			case 5:
				_, err = ring.tick(ctx)
			case 6:
				err = ring.Refresh(ctx)
			case 7:
				_, err = ring.Maintain(ctx)
			case 8:
				ring.Close()
				rings[i] = nil
				continue
			}
			if err != nil && !errors.Is(err, ErrState) && !errors.Is(err, ErrTooEarly) {
				t.Fatal(err)
			}
			s := ring.live.Load()
			for id, e := range s.byID {
				at := fmt.Sprint(id, e.Revision)
				if _, ok := entered[at]; !ok {
					entered[at] = time.Now()
					if e.Revision == 1 {
						entered[at] = entered[at].Add(-1000 * time.Hour)
					}
				}
				if _, ok := retired[id]; !ok && e.Retired != 0 {
					retired[id] = time.Now()
				}
				if held, really := s.held(e), time.Since(entered[at]); held > really {
					t.Fatalf("key %08x %s: %v believed, %v passed", id, e.State, held, really)
				} else if e.Revision > 1 && really > time.Hour {
					most = max(most, float64(held)/float64(really))
				}
				if e.Retired != 0 && s.retired(e) > time.Since(retired[id]) {
					t.Fatalf("key %08x retired: %v believed, %v passed", id, s.retired(e), time.Since(retired[id]))
				}
			}
		}
		if most < 0.5 {
			t.Errorf("the clock hardly moves: %.0f %%", 100*most)
		}
		for _, r := range rings {
			if r != nil {
				r.Close()
			}
		}
	})
}

// Every change on a key in every state.
func TestTransitions(t *testing.T) {
	ctx := t.Context()
	force := &DestroyOptions{Force: true}
	changes := map[string]func(*Keyring, uint32) error{
		"promote": func(r *Keyring, id uint32) error { return r.Promote(ctx, id, &PromoteOptions{Now: true}) },
		"enable":  func(r *Keyring, id uint32) error { return r.Enable(ctx, id, nil) },
		"disable": func(r *Keyring, id uint32) error { return r.Disable(ctx, id, nil) },
		"destroy": func(r *Keyring, id uint32) error { return r.Destroy(ctx, id, nil, force) },
		"erase":   func(r *Keyring, id uint32) error { return r.Erase(ctx, id, nil, force) },
	}
	want := map[string][7]State{ // by state before; 0 is refused
		//                 pending,  primary, enabled,    disabled,   destroying, destroyed
		"promote": {Pending: Primary, Primary: Primary},
		"enable":  {Enabled: Enabled, Disabled: Enabled, Destroying: Enabled},
		"disable": {Pending: Disabled, Enabled: Disabled, Disabled: Disabled},
		"destroy": {Pending: Destroying, Enabled: Destroying, Disabled: Destroying, Destroying: Destroying, Destroyed: Destroyed},
		"erase":   {Destroying: Destroyed, Destroyed: Destroyed},
	}
	for name, change := range changes {
		store, kms, pin, _ := ringForEdits(t)
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		enabled := ring.Keys()[0]
		if enabled.State == Primary {
			t.Fatal("no enabled key")
		}
		setState(t, ring, store, enabled.ID, Enabled)
		before := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil)).Keys()
		for _, k := range before {
			if k.Purpose != Data {
				continue
			}
			rev := ring.Revision()
			err := change(ring, k.ID)
			to := want[name][k.State]
			if k.ID == enabled.ID {
				to = want[name][Enabled]
			}
			if to == 0 {
				if !errors.Is(err, ErrState) && !errors.Is(err, ErrKeyDestroyed) {
					t.Errorf("%s a %s key: %v", name, k.State, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s a %s key: %v", name, k.State, err)
				continue
			}
			got := ring.live.Load().byID[k.ID]
			if got.State != to || (len(got.Wraps) == 0) != (to == Destroyed) {
				t.Errorf("%s a %s key: it is %s", name, k.State, got.State)
			}
			if to == k.State && ring.Revision() > rev+1 {
				t.Errorf("%s a %s key wrote", name, k.State)
			}
			// Everything can be repeated.
			rev = ring.Revision()
			if err := change(ring, k.ID); err != nil || ring.Revision() != rev {
				t.Errorf("%s a %s key again: %v, revision %d after %d", name, k.State, err, ring.Revision(), rev)
			}
			if name == "promote" {
				break
			}
		}
		if err := change(ring, 12345); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s a key that is not there: %v", name, err)
		}
		for _, k := range ring.Keys() {
			if k.Purpose != Data && name != "enable" && name != "promote" && name != "erase" {
				if err := change(ring, k.ID); !errors.Is(err, ErrState) {
					t.Errorf("%s the %s key: %v", name, k.Purpose, err)
				}
			}
		}
	}
}

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
