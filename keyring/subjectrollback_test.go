package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
)

// That the store says "forgotten" counts while the tombstones outside can't be reached.
func TestForgottenWhileTombstonesAreAway(t *testing.T) {
	inRandomTime(t, func(t *testing.T) {
		store, kms, outside := &hookStore{MemoryStore: NewMemoryStore()}, newFakeKMS(), NewMemoryStore()
		ring, pin, err := Create(t.Context(), "app", store, kms, &CreateOptions{OpenOptions: OpenOptions{Tombstones: outside}})
		must1(t, err)
		defer ring.Close()
		ct := sealFor(t, ring, ada)
		away := &hookStore{MemoryStore: outside}
		other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &OpenOptions{Tombstones: away}))
		defer other.Close()
		must1(t, openFor(other, ada, ct))
		away.set(func(context.Context, int) error { return errors.New("refused") }, nil)
		_, err = ring.Forget(t.Context(), ada, nil)
		must1(t, err)
		var last time.Duration
		start := time.Now()
		for time.Since(start) < 2*time.Hour {
			time.Sleep(10 * time.Second)
			if openFor(other, ada, ct) == nil {
				last = time.Since(start)
			}
		}
		if last > DefaultTTL+time.Second {
			t.Errorf("the key store is reachable and holds the tombstone; opened for %v", last)
		}
	})
}

// The process that forgot remembers it.
func TestForgetterRefusesOldRow(t *testing.T) {
	ring, store, kms, pin := hookedRing(t, &OpenOptions{TTL: time.Millisecond})
	ct := sealFor(t, ring, ada)
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &OpenOptions{TTL: time.Millisecond}))
	defer other.Close()
	must1(t, openFor(other, ada, ct))
	saved := snapshotOf(store.MemoryStore)
	_, err := ring.Forget(t.Context(), ada, nil)
	must1(t, err)
	time.Sleep(2 * time.Millisecond)
	openFor(other, ada, ct)
	restore(store.MemoryStore, saved)
	time.Sleep(2 * time.Millisecond)
	t.Logf("a process that has seen the tombstone: %v", openFor(other, ada, ct))
	if err := openFor(ring, ada, ct); err == nil {
		t.Errorf("the process that forgot takes the older record")
	}
}

// The ring's own store can't keep the tombstones.
func TestTombstonesInTheSameStore(t *testing.T) {
	store, kms := NewMemoryStore(), newFakeKMS()
	opts := OpenOptions{Tombstones: store}
	if _, _, err := Create(t.Context(), "app", store, kms, &CreateOptions{OpenOptions: opts}); !errors.Is(err, ErrSubject) {
		t.Errorf("Create: %v", err)
	}
	_, pin := mustCreate(t, "app", store, kms)
	if _, err := Open(t.Context(), "app", store, kms, pin, &opts); !errors.Is(err, ErrSubject) {
		t.Errorf("Open: %v", err)
	}
}

// A row that was away while its subject was forgotten and revived stays closed.
func TestRowAwayWhileForgotten(t *testing.T) {
	ring, store, kms, pin := hookedRing(t, &OpenOptions{Tombstones: NewMemoryStore()})
	opts := ring.core().opts
	ct := sealFor(t, ring, ada)
	saved := snapshotOf(store.MemoryStore)
	restore(store.MemoryStore, nil) // deleted by whoever writes the store
	cert, err := ring.Forget(t.Context(), ada, nil)
	must1(t, err)
	t.Logf("certificate: %d keys destroyed", len(cert.Keys))
	must1(t, ring.Revive(t.Context(), ada, &ReviveOptions{Now: true}))
	restore(store.MemoryStore, saved)
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &opts))
	defer other.Close()
	if err := openFor(other, ada, ct); err == nil {
		t.Errorf("what was sealed before Forget opens again after Revive, tombstones and all")
	}
}

// Another record of the same revision is a rollback, as it is for rings.
func TestSubjectFork(t *testing.T) {
	ring, store, kms, pin := hookedRing(t, &OpenOptions{TTL: time.Millisecond})
	sealFor(t, ring, ada)
	saved := snapshotOf(store.MemoryStore)
	must[uint32](t)(ring.RotateSubject(t.Context(), ada))
	ct := sealFor(t, ring, ada)
	restore(store.MemoryStore, saved)
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer other.Close()
	must[uint32](t)(other.RotateSubject(t.Context(), ada))
	time.Sleep(3 * time.Millisecond)
	if _, err := trySeal(ring, ada); !errors.Is(err, ErrRollback) {
		t.Errorf("want ErrRollback, as for the ring's record: %v; what this process sealed a moment ago: %v", err, openFor(ring, ada, ct))
	}
}

// Nor is an old tombstone believed, of a person who came back.
func TestOldTombstone(t *testing.T) {
	ring, store, _, _ := hookedRing(t, &OpenOptions{TTL: time.Millisecond})
	sealFor(t, ring, ada)
	_, err := ring.Forget(t.Context(), ada, nil)
	must1(t, err)
	saved := snapshotOf(store.MemoryStore)
	must1(t, ring.Revive(t.Context(), ada, &ReviveOptions{Now: true}))
	ct := sealFor(t, ring, ada)
	must1(t, openFor(ring, ada, ct))
	restore(store.MemoryStore, saved)
	time.Sleep(2 * time.Millisecond)
	if err := openFor(ring, ada, ct); errors.Is(err, ErrForgotten) {
		t.Errorf("a living subject is reported forgotten, for a record older than the one in the cache: %v", err)
	}
}

// No record makes the parsers panic.
func TestMutatedSubjects(t *testing.T) {
	ring, store, _, _ := hookedRing(t, nil)
	sealFor(t, ring, ada)
	sealFor(t, ring, Subject{ID: "b"})
	_, err := ring.Forget(t.Context(), Subject{ID: "b"}, &ForgetOptions{Actor: "x"})
	must1(t, err)
	var seeds [][]byte
	for _, r := range snapshotOf(store.MemoryStore)["app"] {
		seeds = append(seeds, r.Data)
	}
	hashes := must[[]SubjectHash](t)(store.ListSubjects(t.Context(), "app", SubjectHash{}, 10))
	s := ring.core().subjects
	for range 300_000 {
		d := bytes.Clone(seeds[rand.N(len(seeds))])
		for range 1 + rand.N(4) {
			d[rand.N(len(d))] = byte(rand.N(256))
		}
		d = d[:rand.N(len(d)+1)]
		r := Record{uint64(rand.N(3)), d}
		wrappedBy(hashes[0], r)
		s.entry(t.Context(), ada, hashes[0], &look{rows: map[SubjectHash]Record{hashes[0]: r}})
	}
	a := formatAnchors(map[string]anchored{"a": {1, [32]byte{}}, "b": {2, [32]byte{}}})
	for range 100_000 {
		d := bytes.Clone(a)
		d[rand.N(len(d))] = byte(rand.N(256))
		parseAnchors(d[:rand.N(len(d)+1)])
	}
}

// No fresh key is made over a record that was lost.
func TestDeletedSubject(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		ring, store, kms, pin := hookedRing(t, &OpenOptions{TTL: time.Millisecond, MaxStale: time.Hour})
		ct := sealFor(t, ring, ada)
		if rotate {
			must[uint32](t)(ring.RotateSubject(t.Context(), ada))
		}
		store.MemoryStore.mu.Lock()
		delete(store.MemoryStore.subjects, "app")
		store.MemoryStore.mu.Unlock()
		time.Sleep(3 * time.Millisecond)
		c, err := trySeal(ring, ada)
		t.Logf("rotate %v: seal in the process that knows the subject: %v", rotate, err)
		if err == nil {
			was, _ := crypto.KeyID(ct)
			is, _ := crypto.KeyID(c)
			t.Errorf("no ErrRollback; sealed with %08x, was %08x", is, was)
			t.Logf("old ciphertext, same process: %v", openFor(ring, ada, ct))
		}
		if n := len(store.MemoryStore.subjects["app"]); n != 0 {
			t.Errorf("rotate %v: a fresh key was stored over the loss (%d rows)", rotate, n)
			o := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
			_, err := trySeal(o, ada)
			t.Logf("and others seal with it: %v", err)
			o.Close()
		}
	}
}

// Tombstones that hang don't take the ring's own store down.
func TestHungTombstones(t *testing.T) {
	outside := &hookStore{MemoryStore: NewMemoryStore()}
	ring, _, _, _ := hookedRing(t, &OpenOptions{Tombstones: outside, CallTimeout: 50 * time.Millisecond})
	block := make(chan bool)
	defer close(block)
	outside.set(func(context.Context, int) error { <-block; return nil }, nil) // heeds no context
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() { ring.Subject(context.Background(), Subject{ID: fmt.Sprint(i)}) })
	}
	wg.Wait()
	if err := ring.Refresh(t.Context()); err != nil {
		t.Errorf("the ring's own store is healthy: %v", err)
	}
}
