package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// P9: KMS and store are away for a day: no failure on keys in use inside MaxStale,
// a typed error after it, nothing that was disabled comes back, and both are found
// again without a storm.
func TestP9_Outage(t *testing.T) {
	for what, kmsErr := range map[string]error{"unavailable": kmsprovider.ErrUnavailable, "throttled": kmsprovider.ErrThrottled, "late": context.DeadlineExceeded} {
		t.Run(what, func(t *testing.T) {
			inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
				ctx := t.Context()
				admin := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
				var ids []uint32
				for range 20 {
					ids = append(ids, must[uint32](t)(admin.Rotate(ctx, Data, &RotateOptions{Now: true})))
				}
				if err := admin.Disable(ctx, ids[0], nil); err != nil {
					t.Fatal(err)
				}
				admin.Close()
				ids, disabled := ids[1:], ids[0]
				ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
				defer ring.Close()
				use := func() (failed int, last error) {
					for _, id := range ids {
						if _, err := ring.Key(ctx, Data, id); err != nil {
							failed++
							last = err
						}
					}
					if _, err := ring.Primary(ctx, Data); err != nil {
						failed++
						last = err
					}
					if _, err := ring.Key(ctx, Data, disabled); !errors.Is(err, ErrKeyDisabled) {
						t.Fatalf("the disabled key: %v", err)
					}
					return failed, last
				}
				for range 60 { // an hour of work
					if n, err := use(); n > 0 {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				store.loads.Store(0)
				kms.unwraps.Store(0)
				kms.down(kmsErr)
				store.down(errors.New("connection refused"))
				start := time.Now()
				// What was confirmed at most TTL before the outage works for
				// MaxStale from then.
				for time.Since(start) < DefaultMaxStale-DefaultTTL {
					if n, err := use(); n > 0 {
						t.Fatalf("after %v: %d failed: %v", time.Since(start), n, err)
					}
					time.Sleep(10 * time.Second)
				}
				for time.Since(start) < DefaultMaxStale+time.Second {
					use()
					time.Sleep(10 * time.Second)
				}
				for time.Since(start) < 24*time.Hour {
					n, err := use()
					if n != len(ids)+1 || !errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrStale) {
						t.Fatalf("after %v: %d failed: %v", time.Since(start), n, err)
					}
					time.Sleep(time.Minute)
				}
				if n := store.loads.Load(); n > 24*60*60/10 {
					t.Errorf("%d store reads in a day's outage", n)
				}
				t.Logf("outage: %d store reads, %d KMS calls", store.loads.Load(), kms.unwraps.Load())
				if n := kms.unwraps.Load(); n > 100 {
					t.Errorf("%d KMS calls", n)
				}
				// The store comes back first: the keys can't.
				store.down(nil)
				time.Sleep(2 * backoffCap)
				if n, err := use(); n != len(ids)+1 || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrStale) {
					t.Fatalf("without the KMS: %d failed: %v", n, err)
				}
				kms.down(nil)
				store.loads.Store(0)
				kms.unwraps.Store(0)
				back := time.Now()
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() {
						for {
							if n, _ := use(); n == 0 {
								return
							}
							time.Sleep(100 * time.Millisecond)
						}
					})
				}
				wg.Wait()
				if took := time.Since(back); took > 2*backoffCap {
					t.Errorf("recovered after %v", took)
				}
				if n := kms.unwraps.Load(); n > int64(len(ids))+5 || store.loads.Load() > 3 {
					t.Errorf("recovery of %d keys: %d KMS calls, %d store reads", len(ids), n, store.loads.Load())
				}
			})
		})
	}
}

// Who may not use a key any longer doesn't: what the KMS refuses is wiped when it
// is looked at next.
func TestRefusedKeysAreWiped(t *testing.T) {
	for _, refusal := range []error{kmsprovider.ErrDenied, kmsprovider.ErrDisabled, kmsprovider.ErrNotFound, kmsprovider.ErrRejected, errors.New("odd")} {
		inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
			ctx := t.Context()
			ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
			defer ring.Close()
			key := must[*crypto.Key](t)(ring.Primary(ctx, SubjectWrap))
			must[*crypto.BlindIndexKey](t)(ring.BlindIndexKey(ctx, "r", "f", "i"))
			kms.down(refusal)
			time.Sleep(DefaultTTL)
			synctest.Wait()
			if ring.live.Load().primary[SubjectWrap].warm() || ring.live.Load().primary[Index].warm() || ring.Stats().Refused != 2 {
				t.Errorf("%v: still there: %+v", refusal, ring.Stats())
			}
			if _, err := key.Seal(nil, nil, nil); err == nil {
				t.Errorf("%v: a key that was handed out still works", refusal)
			}
			calls := kms.unwraps.Load()
			for range 1000 {
				if _, err := ring.Primary(ctx, SubjectWrap); !errors.Is(err, refusal) || errors.Is(err, ErrUnavailable) {
					t.Fatal(err)
				}
			}
			if n := kms.unwraps.Load() - calls; n > retryBudget {
				t.Errorf("%v: %d calls for a refused key", refusal, n)
			}
			kms.down(nil)
			time.Sleep(backoffCap)
			must[*crypto.Key](t)(ring.Primary(ctx, SubjectWrap))
		})
	}
}

// A liar found out later is no better than one at first.
func TestLateLieIsRefused(t *testing.T) {
	for what, lie := range lies {
		inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
			ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
			defer ring.Close()
			must[*crypto.Key](t)(ring.Primary(t.Context(), Data))
			kms.answer(func(_ context.Context, s []byte, err error) ([]byte, error) { return lie(s), err })
			time.Sleep(DefaultTTL)
			synctest.Wait()
			if _, err := ring.Primary(t.Context(), Data); !errors.Is(err, ErrKeyCheck) || ring.Stats().KEKs[0].WrongAnswers != 2 {
				t.Errorf("%s: %v, %+v", what, err, ring.Stats())
			}
		})
	}
}

// A change of the ring reaches a process whose keys are in use within TTL.
func TestChangesArriveWithinTTL(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer ring.Close()
		admin := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer admin.Close()
		for range 5 {
			must[*crypto.Key](t)(ring.Primary(ctx, Data))
			id := must[uint32](t)(admin.Rotate(ctx, Data, &RotateOptions{Now: true}))
			for range 10 { // in use
				time.Sleep(DefaultTTL / 10)
				must[*crypto.Key](t)(ring.Primary(ctx, Data))
			}
			synctest.Wait()
			if k := must[*crypto.Key](t)(ring.Primary(ctx, Data)); k.ID() != id {
				t.Errorf("primary is %v", k)
			}
		}
	})
}

// The keys of a ring in use are confirmed at the KMS once per TTL or so, and an
// idle ring calls nobody; after MaxStale it holds no keys.
func TestIdleRingsSleep(t *testing.T) {
	inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
		for range 6 * 60 {
			time.Sleep(10 * time.Second)
			must[*crypto.Key](t)(ring.Primary(ctx, Data))
		}
		if n := ring.Stats().Refreshes; n < 12 || n > 20 {
			t.Errorf("%d looks in an hour", n)
		}
		time.Sleep(DefaultTTL)
		synctest.Wait()
		loads, unwraps, goroutines := store.loads.Load(), kms.unwraps.Load(), inBubbles()
		time.Sleep(DefaultMaxStale - 2*DefaultTTL)
		if k := must[*crypto.Key](t)(ring.Primary(ctx, Data)); k != key {
			t.Error("idle for less than MaxStale, and gone")
		}
		synctest.Wait()
		if store.loads.Load() != loads+1 || kms.unwraps.Load() != unwraps+1 {
			t.Errorf("woken: %d reads, %d calls", store.loads.Load()-loads, kms.unwraps.Load()-unwraps)
		}
		time.Sleep(DefaultTTL)
		synctest.Wait()
		loads, unwraps = store.loads.Load(), kms.unwraps.Load()
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if store.loads.Load() != loads || kms.unwraps.Load() != unwraps || inBubbles() > goroutines {
			t.Errorf("idle: %d reads, %d calls", store.loads.Load()-loads, kms.unwraps.Load()-unwraps)
		}
		if _, err := key.Seal(nil, nil, nil); !errors.Is(err, crypto.ErrWiped) || ring.Stats().Warm != 0 {
			t.Errorf("after MaxStale: %v", err)
		}
		must[*crypto.Key](t)(ring.Primary(ctx, Data)) // and it wakes again
		ring.Close()
		loads = store.loads.Load()
		time.Sleep(time.Hour)
		if store.loads.Load() != loads {
			t.Error("a closed ring works")
		}
	})
}

// inBubbles counts the goroutines of bubbles: others may be about from tests that
// left a ring open.
func inBubbles() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("synctest bubble"))
}

// To the second: a key works for MaxStale after it was confirmed last, and not
// longer, whatever fails.
func TestMaxStaleIsExact(t *testing.T) {
	for _, part := range []string{"kms", "store"} {
		inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
			ctx := t.Context()
			ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, &OpenOptions{TTL: time.Minute, MaxStale: 10 * time.Minute}))
			defer ring.Close()
			key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
			if part == "kms" {
				kms.down(kmsprovider.ErrUnavailable)
			} else {
				store.down(errors.New("down"))
			}
			time.Sleep(10*time.Minute - time.Millisecond)
			if k, err := ring.Primary(ctx, Data); err != nil || k != key {
				t.Errorf("%s away, a millisecond before the end: %v", part, err)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if _, err := ring.Primary(ctx, Data); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrStale) != (part == "store") {
				t.Errorf("%s away, at the end: %v", part, err)
			}
			// The KMS alone doesn't bring back what the record may say no to.
			if _, err := key.Seal(nil, nil, nil); !errors.Is(err, crypto.ErrWiped) {
				t.Errorf("%s away, a key that was handed out: %v", part, err)
			}
		})
	}
}

// A deadline is kept whatever the KMS or the store does.
func TestDeadlinesAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		release := make(chan struct{})
		hang := func(context.Context, []byte, error) ([]byte, error) { <-release; return nil, errors.New("late") }
		kms.onUnwrap, kms.onWrap = hang, hang
		calls := map[string]func(context.Context) error{
			"Primary": func(ctx context.Context) error { _, err := ring.Primary(ctx, Data); return err },
			"Open": func(ctx context.Context) error {
				_, err := Open(ctx, "app", store, kms, pin, nil)
				return err
			},
			"Promote": func(ctx context.Context) error {
				_, err := ring.PlanRewrap(ctx, RewrapTarget{})
				if err == nil {
					_, err = ring.Rewrap(ctx, RewrapTarget{Renew: true})
				}
				return err
			},
		}
		do := func(what string) {
			for name, call := range calls {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				start := time.Now()
				err := call(ctx)
				if took := time.Since(start); took > 50*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnavailable) {
					t.Errorf("%s hangs: %s took %v: %v", what, name, took, err)
				}
				cancel()
			}
		}
		do("kms")
		store.onLoad = func(context.Context, Record, error) (Record, error) { <-release; return Record{}, errors.New("late") }
		calls["Refresh"] = ring.Refresh
		delete(calls, "Open") // has no gate before it has a ring
		do("store")
		if st := ring.Stats(); st.KEKs[0].Hanging == 0 || st.StoreHanging == 0 || st.KEKs[0].Abandoned == 0 || st.StoreAbandoned == 0 {
			t.Errorf("%+v", st)
		}
		for range 200 {
			do("store")
		}
		if st := ring.Stats(); st.StoreHanging > maxHanging+3 || st.KEKs[0].Hanging > maxHanging+3 { // those under way when the bound was met
			t.Errorf("unbounded: %+v", st)
		}
		close(release)
		synctest.Wait()
		if st := ring.Stats(); st.StoreHanging != 0 || st.KEKs[0].Hanging != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// P9: ten thousand goroutines on a cold ring that use k keys.
func TestP9_ColdStart(t *testing.T) {
	for _, k := range []int{1, 100} {
		store, kms := newFakeStore(), newFakeKMS()
		admin, pin := mustCreate(t, "app", store, kms)
		ids := []uint32{admin.Keys()[0].ID}
		for len(ids) < k {
			ids = append(ids, must[uint32](t)(admin.Rotate(t.Context(), Data, &RotateOptions{Now: true})))
		}
		admin.Close()
		synctest.Test(t, func(t *testing.T) {
			store.loads.Store(0)
			kms.unwraps.Store(0)
			kms.onUnwrap = func(_ context.Context, s []byte, err error) ([]byte, error) {
				time.Sleep(20 * time.Millisecond)
				return s, err
			}
			ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
			defer ring.Close()
			var wg sync.WaitGroup
			for i := range 10_000 {
				wg.Go(func() {
					if _, err := ring.Key(t.Context(), Data, ids[i%k]); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if store.loads.Load() != 1 || kms.unwraps.Load() != int64(k)+1 {
				t.Errorf("%d keys: %d store reads, %d KMS calls", k, store.loads.Load(), kms.unwraps.Load())
			}
		})
	}
}

// What a compact key reserved and didn't use outlives its bytes.
func TestReservationsOutliveEviction(t *testing.T) {
	inRandomBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		ctx := t.Context()
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer ring.Close()
		id := must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Suite: crypto.Compact, Now: true}))
		for range 10 {
			for range 1000 {
				must[[]byte](t)(must[*crypto.Key](t)(ring.Primary(ctx, Data)).Seal(nil, nil, nil))
			}
			time.Sleep(2 * DefaultMaxStale)
			synctest.Wait()
		}
		if n := must[*record](t)(parseRecord(store.get(t, "app").Data)).find(id).Messages; n != firstReservation {
			t.Errorf("%d reserved for 10,000", n)
		}
		// Somebody disables the key while it reserves more: no deadlock.
		for range 60_000 {
			must[*crypto.Key](t)(ring.Primary(ctx, Data)).Seal(nil, nil, nil)
		}
		key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
		other := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer other.Close()
		must[uint32](t)(other.Rotate(ctx, Data, &RotateOptions{Now: true}))
		if err := other.Disable(ctx, id, nil); err != nil {
			t.Fatal(err)
		}
		var err error
		for i := 0; err == nil && i < 1<<20; i++ {
			_, err = key.Seal(nil, nil, nil)
		}
		if !errors.Is(err, ErrKeyDisabled) && !errors.Is(err, crypto.ErrWiped) {
			t.Error(err)
		}
	})
}

func TestStatsPrint(t *testing.T) {
	ring, _ := mustCreate(t, "app", newFakeStore(), newFakeKMS())
	if st := ring.Stats(); st.Warm != 6-1 && st.Warm != 6-2 || st.Revision != 1 || len(st.KEKs) != 1 || fmt.Sprint(st) == "" {
		t.Errorf("%+v", st)
	}
}
