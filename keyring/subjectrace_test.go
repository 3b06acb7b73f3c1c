package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
)

// Once a tombstone stands this process opens nothing, also if Forget was cut off.
func TestForgetCancelled(t *testing.T) {
	ring, _, _, _ := hookedRing(t, &OpenOptions{Tombstones: NewMemoryStore()})
	ct := sealFor(t, ring, ada)
	ctx, cancel := context.WithCancel(t.Context())
	old := subjectHook
	defer func() { subjectHook = old }()
	subjectHook = func(step string) {
		if step == "buried" {
			cancel()
		}
	}
	_, err := ring.Forget(ctx, ada, nil)
	t.Logf("Forget: %v", err)
	if err := openFor(ring, ada, ct); err == nil {
		t.Errorf("both tombstones stand, and this process opens")
	}
}

// Forget that changed nothing, because the store is away, takes no keys from anybody.
func TestForgetWhileStoreIsAway(t *testing.T) {
	ring, store, _, _ := hookedRing(t, nil)
	ct := sealFor(t, ring, ada)
	store.set(func(context.Context, int) error { return errors.New("refused") }, nil)
	if _, err := ring.Forget(t.Context(), ada, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Forget: %v", err)
	}
	must1(t, openFor(ring, ada, ct))
}

// Everything at once: no data race, no panic, no error of another class.
func TestSubjectChaos(t *testing.T) {
	outside := NewMemoryStore()
	opts := OpenOptions{SubjectCache: 2, TTL: 2 * time.Millisecond, MaxStale: 20 * time.Millisecond, Tombstones: outside}
	ring, store, kms, pin := hookedRing(t, &opts)
	rings := []*Keyring{ring}
	for range 2 {
		r := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &opts))
		defer r.Close()
		rings = append(rings, r)
	}
	end := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	note := func(what string, err error) {
		for _, known := range []error{nil, ErrForgotten, ErrUnknownKey, crypto.ErrWiped, ErrRollback, ErrTooLarge, ErrStale, ErrUnavailable, ErrConflict} {
			if known == nil && err == nil || known != nil && errors.Is(err, known) {
				mu.Lock()
				seen[fmt.Sprint(what, ": ", known)]++
				mu.Unlock()
				return
			}
		}
		t.Errorf("%s: %v", what, err)
	}
	for range 12 {
		wg.Go(func() {
			for time.Now().Before(end) {
				r := rings[rand.N(len(rings))]
				s := Subject{ID: fmt.Sprint(rand.N(4))}
				switch n := rand.N(100); {
				case n < 45:
					ct, err := trySeal(r, s)
					note("seal", err)
					if err == nil {
						note("open", openFor(r, s, ct))
					}
				case n < 90:
					ct, err := trySeal(r, s)
					if err == nil {
						note("open", openFor(rings[rand.N(len(rings))], s, ct))
					}
				case n < 94:
					_, err := r.Forget(t.Context(), s, nil)
					note("forget", err)
				case n < 99:
					note("revive", r.Revive(t.Context(), s, &ReviveOptions{Now: true}))
				default:
					_, err := r.RotateSubject(t.Context(), s)
					note("rotate", err)
				}
			}
		})
	}
	wg.Wait()
	for k, n := range seen {
		t.Logf("%6d %s", n, k)
	}
}

// The same without any hook but a store that takes a millisecond.
func TestForgetAmongReaders(t *testing.T) {
	ring, store, _, _ := hookedRing(t, &OpenOptions{SubjectCache: 1})
	store.set(func(context.Context, int) error { time.Sleep(time.Millisecond); return nil }, nil)
	var reopened atomic.Int64
	const rounds = 40
	for i := range rounds {
		s := Subject{ID: fmt.Sprint(i)}
		ct := sealFor(t, ring, s)
		var stop, forgotten, hit atomic.Bool
		var wg sync.WaitGroup
		for g := range 6 {
			wg.Go(func() {
				for !stop.Load() {
					after := forgotten.Load()
					if openFor(ring, s, ct) == nil && after {
						hit.Store(true)
					}
					if g < 3 {
						trySeal(ring, Subject{ID: "other"}) // evicts it: a small cache, many subjects
					}
				}
			})
		}
		_, err := ring.Forget(t.Context(), s, nil)
		must1(t, err)
		forgotten.Store(true)
		time.Sleep(5 * time.Millisecond)
		stop.Store(true)
		wg.Wait()
		if hit.Load() {
			reopened.Add(1)
		}
	}
	if n := reopened.Load(); n > 0 {
		t.Errorf("in %d of %d rounds the process that forgot opened the subject after Forget had returned", n, rounds)
	}
}

// Subjects that were loaded together are looked at again together.
func TestPagesAreConfirmedTogether(t *testing.T) {
	inRandomTime(t, func(t *testing.T) {
		store, kms := &hookStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
		ring, _, err := Create(t.Context(), "app", store, kms, nil)
		must1(t, err)
		defer ring.Close()
		var list []Subject
		for i := range 5000 {
			list = append(list, Subject{ID: fmt.Sprint(i)})
		}
		must1(t, ring.WarmSubjects(t.Context(), list, true))
		must1(t, ring.WarmSubjects(t.Context(), list, true))
		var now, most atomic.Int64
		store.set(func(context.Context, int) error {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(20 * time.Millisecond)
			now.Add(-1)
			return nil
		}, nil)
		store.loads.Store(0)
		time.Sleep(4 * time.Minute)
		for _, s := range list {
			k, err := ring.Subject(t.Context(), s)
			must1(t, err)
			k.Release()
		}
		time.Sleep(time.Second)
		t.Logf("%d reads, %d at once", store.loads.Load(), most.Load())
		if most.Load() > 100 {
			t.Errorf("%d calls to the store at one moment", most.Load())
		}
	})
}

// One bad record keeps no others from being loaded.
func TestWarmPastBadRecord(t *testing.T) {
	ring, store, kms, pin := hookedRing(t, nil)
	var list []Subject
	for i := range 500 {
		list = append(list, Subject{ID: fmt.Sprint(i)})
	}
	must1(t, ring.WarmSubjects(t.Context(), list, true))
	hashes, err := store.ListSubjects(t.Context(), "app", SubjectHash{}, 1)
	must1(t, err)
	store.MemoryStore.mu.Lock()
	r := store.MemoryStore.subjects["app"][hashes[0]]
	r.Data[len(r.Data)-1] ^= 1
	store.MemoryStore.mu.Unlock()
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer other.Close()
	err = other.WarmSubjects(t.Context(), list, false)
	t.Logf("warm: %v; %d of 500 at hand", err, other.core().subjects.cache.Len())
	if !errors.Is(err, ErrTampered) {
		t.Error(err)
	}
}

// A load that began before Forget brings nothing back.
func TestForgetOutrunsLoads(t *testing.T) {
	ring, store, kms, pin := hookedRing(t, nil)
	ct := sealFor(t, ring, ada)
	ring.core().subjects.cache.Purge() // as after an LRU eviction
	read, gate := make(chan bool), make(chan bool)
	var once atomic.Bool
	store.set(func(context.Context, int) error {
		if !once.Swap(true) {
			close(read)
			<-gate
		}
		return nil
	}, nil)
	done := make(chan error, 1)
	go func() { done <- openFor(ring, ada, ct) }()
	<-read
	if _, err := ring.Forget(t.Context(), ada, nil); err != nil {
		t.Fatal(err)
	}
	// Begun after Forget returned, in the same process: must not join the old flight.
	c, err := trySeal(ring, ada)
	if !errors.Is(err, ErrForgotten) {
		t.Errorf("seal begun after Forget returned: %v", err)
	}
	close(gate)
	t.Logf("open begun before: %v", <-done)
	for i := range 3 {
		if err := openFor(ring, ada, ct); !errors.Is(err, ErrForgotten) {
			t.Errorf("open %d after Forget, same process: %v", i, err)
		}
		if _, err := trySeal(ring, ada); !errors.Is(err, ErrForgotten) {
			t.Errorf("seal %d after Forget, same process: %v", i, err)
		}
	}
	if c != nil {
		other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer other.Close()
		t.Errorf("sealed after Forget; elsewhere it is lost: %v", openFor(other, ada, c))
	}
}

// Keys in use that aren't the cache's current entry are wiped, too.
func TestForgetWipesHeldKeys(t *testing.T) {
	for _, how := range []string{"rotated", "evicted"} {
		for _, end := range []string{"forget", "close"} {
			ring, _, _, _ := hookedRing(t, &OpenOptions{SubjectCache: 1})
			ct := sealFor(t, ring, ada)
			held, err := ring.Subject(t.Context(), ada)
			if err != nil {
				t.Fatal(err)
			}
			if how == "rotated" {
				must[uint32](t)(ring.RotateSubject(t.Context(), ada))
			} else {
				sealFor(t, ring, Subject{ID: "bob"})
			}
			if end == "forget" {
				if _, err := ring.Forget(t.Context(), ada, nil); err != nil {
					t.Fatal(err)
				}
			} else {
				ring.Close()
			}
			key, _ := held.Primary()
			if _, err := key.Open(nil, ct, nil); !errors.Is(err, crypto.ErrWiped) {
				t.Errorf("%s, then %s: a held key still opens: %v", how, end, err)
			}
			held.Release()
		}
	}
}

// Who creates must not be answered by a load that only reads.
func TestEnsureDoesNotJoinReaders(t *testing.T) {
	ring, store, _, _ := hookedRing(t, nil)
	read, gate := make(chan bool), make(chan bool)
	var once atomic.Bool
	store.set(func(context.Context, int) error {
		if !once.Swap(true) {
			close(read)
			<-gate
		}
		return nil
	}, nil)
	go func() { ring.Subject(context.Background(), ada) }()
	<-read
	if _, err := trySeal(ring, ada); err != nil {
		t.Errorf("EnsureSubject: %v (unknown key: %v)", err, errors.Is(err, ErrUnknownKey))
	}
	close(gate)
}

// A caller who leaves tells nobody else that he did.
func TestOneCallersErrorIsHisOwn(t *testing.T) {
	ring, _, _, _ := hookedRing(t, nil)
	sealFor(t, ring, ada)
	bob := Subject{ID: "bob"}
	sealFor(t, ring, bob)
	a, err := ring.Subject(t.Context(), ada)
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range unknownBurst {
		a.Key(gone, uint32(i+1))
	}
	a.Release()
	b, err := ring.Subject(t.Context(), bob)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	_, err = b.Key(context.Background(), 4711)
	if !errors.Is(err, ErrUnknownKey) {
		t.Errorf("another subject, live context: %v", err)
	}
}

// That one subject is forgotten says nothing of another.
func TestOneSubjectsErrorIsItsOwn(t *testing.T) {
	outside := NewMemoryStore()
	ring, store, _, _ := hookedRing(t, &OpenOptions{Tombstones: outside})
	sealFor(t, ring, ada)
	bob := Subject{ID: "bob"}
	sealFor(t, ring, bob)
	saved := snapshotOf(store.MemoryStore)
	a, err := ring.Subject(t.Context(), ada)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	if _, err := ring.Forget(t.Context(), ada, nil); err != nil {
		t.Fatal(err)
	}
	if err := ring.Revive(t.Context(), ada, &ReviveOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	restore(store.MemoryStore, saved)
	for i := range unknownBurst {
		a.Key(t.Context(), uint32(i+1))
	}
	b, err := ring.Subject(t.Context(), bob)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	_, err = b.Key(t.Context(), 4711)
	if errors.Is(err, ErrForgotten) {
		t.Errorf("bob, who was never forgotten: %v", err)
	}
}

// Made-up key ids of many subjects are no storm at the store.
func TestUnknownSubjectKeysMakeNoStorm(t *testing.T) {
	ring, store, _, _ := hookedRing(t, nil)
	var list []Subject
	for i := range 300 {
		list = append(list, Subject{ID: fmt.Sprint(i)})
	}
	if err := ring.WarmSubjects(t.Context(), list, true); err != nil {
		t.Fatal(err)
	}
	store.set(func(context.Context, int) error { time.Sleep(50 * time.Millisecond); return nil }, nil)
	store.loads.Store(0)
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(func() {
			k, err := ring.Subject(context.Background(), s)
			if err == nil {
				k.Key(context.Background(), 4711)
				k.Release()
			}
		})
	}
	wg.Wait()
	if n := store.loads.Load(); n > unknownBurst+1 {
		t.Errorf("%d reads at once for made-up ids, the limit is %d and one a second", n, unknownBurst)
	}
}

// A look for an unknown key finds out that the subject is forgotten.
func TestForgottenElsewhere(t *testing.T) {
	ring, store, kms, pin := hookedRing(t, nil)
	ct := sealFor(t, ring, ada)
	_ = ct
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer other.Close()
	must1(t, openFor(other, ada, ct))
	must[uint32](t)(ring.RotateSubject(t.Context(), ada))
	newer := sealFor(t, ring, ada)
	if _, err := ring.Forget(t.Context(), ada, nil); err != nil {
		t.Fatal(err)
	}
	if err := openFor(other, ada, newer); !errors.Is(err, ErrForgotten) {
		t.Errorf("want ErrForgotten: %v", err)
	}
}

// Rotated while another load is at it: the new key counts.
func TestRotatedSubjectIsTakenOver(t *testing.T) {
	ring, store, _, _ := hookedRing(t, nil)
	sealFor(t, ring, ada)
	in, gate := make(chan bool), make(chan bool)
	store.set(nil, func(context.Context) error { close(in); <-gate; return nil })
	var id uint32
	done := make(chan error)
	go func() { var err error; id, err = ring.RotateSubject(context.Background(), ada); done <- err }()
	<-in
	k, err := ring.Subject(t.Context(), ada)
	must1(t, err)
	k.Key(t.Context(), 4711) // any unknown id: a look that is later than rotate's
	k.Release()
	close(gate)
	must1(t, <-done)
	got, _ := crypto.KeyID(sealFor(t, ring, ada))
	if got != id {
		t.Errorf("after RotateSubject returned %08x this process seals with %08x", id, got)
	}
}
