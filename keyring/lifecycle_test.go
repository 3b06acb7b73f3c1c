package keyring

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
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
