package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

var ada = Subject{Kind: "person", ID: "ada-1815"}

func subjectRing(t testing.TB, opts *OpenOptions) (*Keyring, *MemoryStore) {
	t.Helper()
	store := NewMemoryStore()
	var o CreateOptions
	if opts != nil {
		o.OpenOptions = *opts
	}
	ring, _, err := Create(t.Context(), "app", store, newFakeKMS(), &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring, store
}

// sealFor seals something for a subject.
func sealFor(t testing.TB, ring *Keyring, s Subject) []byte {
	t.Helper()
	ct, err := trySeal(ring, s)
	if err != nil {
		t.Fatal(err)
	}
	return ct
}

func trySeal(ring *Keyring, s Subject) ([]byte, error) {
	keys, err := ring.EnsureSubject(context.Background(), s)
	if err != nil {
		return nil, err
	}
	defer keys.Release()
	key, err := keys.Primary()
	if err != nil {
		return nil, err
	}
	return key.Seal(nil, []byte("of "+s.ID), nil)
}

func openFor(ring *Keyring, s Subject, ct []byte) error {
	keys, err := ring.Subject(context.Background(), s)
	if err != nil {
		return err
	}
	defer keys.Release()
	id, err := crypto.KeyID(ct)
	if err != nil {
		return err
	}
	key, err := keys.Key(context.Background(), id)
	if err != nil {
		return err
	}
	plain, err := key.Open(nil, ct, nil)
	if err == nil && string(plain) != "of "+s.ID {
		err = fmt.Errorf("opened to %q", plain)
	}
	return err
}

func TestSubjects(t *testing.T) {
	kms, store := newFakeKMS(), NewMemoryStore()
	ring, pin := mustCreate(t, "app", store, kms)
	ct := sealFor(t, ring, ada)
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer other.Close()
	for _, r := range []*Keyring{ring, other} {
		if err := openFor(r, ada, ct); err != nil {
			t.Error(err)
		}
		// P4: ids resolve in their scope only, in both directions.
		for _, s := range []Subject{{"", ada.ID}, {"tenant", ada.ID}, {"person", "ada-1816"}, {"person", "Ada-1815"}} {
			if err := openFor(r, s, ct); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("%v: %v", s, err)
			}
		}
		id, _ := crypto.KeyID(ct)
		if _, err := r.Key(t.Context(), Data, id); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("a subject's key as a data key: %v", err)
		}
	}
	if ct := sealFor(t, other, Subject{"tenant", ada.ID}); openFor(ring, ada, ct) == nil {
		t.Error("two kinds share a key")
	}
	// No personal id reaches the store.
	store.mu.Lock()
	for h, r := range store.subjects["app"] {
		if bytes.Contains(r.Data, []byte(ada.ID)) || bytes.Contains(h[:], []byte(ada.ID)) {
			t.Error("the store holds the id")
		}
	}
	store.mu.Unlock()
	// No KMS call per subject.
	calls := kms.unwraps.Load() + kms.wraps.Load()
	for i := range 100 {
		sealFor(t, ring, Subject{ID: fmt.Sprint(i)})
	}
	if n := kms.unwraps.Load() + kms.wraps.Load() - calls; n != 0 {
		t.Errorf("%d KMS calls for 100 subjects", n)
	}
	for _, s := range []Subject{{}, {"a b", "x"}, {strings.Repeat("k", 65), "x"}, {"", strings.Repeat("i", 1025)}} {
		if _, err := ring.EnsureSubject(t.Context(), s); !errors.Is(err, ErrSubject) {
			t.Errorf("%.70v: %v", s, err)
		}
	}
	plain := must[*Keyring](t)(Open(t.Context(), "app", struct{ Store }{store}, kms, pin, nil))
	defer plain.Close()
	if _, err := plain.EnsureSubject(t.Context(), ada); !errors.Is(err, ErrSubject) {
		t.Errorf("a store without subjects: %v", err)
	}
}

// One key survives, and everyone uses it.
func TestCreateSubjectInContention(t *testing.T) {
	kms, store := newFakeKMS(), NewMemoryStore()
	_, pin := mustCreate(t, "app", store, kms)
	var rings []*Keyring
	for range 4 {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		rings = append(rings, ring)
	}
	for round := range 50 {
		s := Subject{ID: fmt.Sprint(round)}
		cts := make([][]byte, 64)
		var wg sync.WaitGroup
		for i := range cts {
			wg.Go(func() {
				var err error
				if cts[i], err = trySeal(rings[i%4], s); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		first, _ := crypto.KeyID(cts[0])
		for i, ct := range cts {
			if id, _ := crypto.KeyID(ct); id != first {
				t.Fatalf("round %d: two keys", round)
			}
			if err := openFor(rings[(i+1)%4], s, ct); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRotateSubject(t *testing.T) {
	kms, store := newFakeKMS(), NewMemoryStore()
	ring, pin := mustCreate(t, "app", store, kms)
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer other.Close()
	old := sealFor(t, ring, ada)
	if err := openFor(other, ada, old); err != nil {
		t.Fatal(err)
	}
	id := must[uint32](t)(ring.RotateSubject(t.Context(), ada))
	ct := sealFor(t, ring, ada)
	if got, _ := crypto.KeyID(ct); got != id {
		t.Errorf("sealed with %08x", got)
	}
	for _, r := range []*Keyring{ring, other} {
		for _, c := range [][]byte{old, ct} {
			if err := openFor(r, ada, c); err != nil {
				t.Error(err)
			}
		}
	}
	for n := 2; n < maxSubjectKeys; n++ {
		must[uint32](t)(ring.RotateSubject(t.Context(), ada))
	}
	if _, err := ring.RotateSubject(t.Context(), ada); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if err := openFor(other, ada, old); err != nil {
		t.Error(err)
	}
}

func TestSubjectsInAnOutage(t *testing.T) {
	store, kms := &outageStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
	first, pin := mustCreate(t, "app", store, kms)
	ct := sealFor(t, first, ada)
	gone := Subject{ID: "gone"}
	lost := sealFor(t, first, gone)
	must[*Certificate](t)(first.Forget(t.Context(), gone, nil))
	synctest.Test(t, func(t *testing.T) {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		if err := openFor(ring, ada, ct); err != nil {
			t.Fatal(err)
		}
		if err := openFor(ring, gone, lost); !errors.Is(err, ErrForgotten) {
			t.Fatal(err)
		}
		store.setDown(true)
		kms.down(kmsprovider.ErrUnavailable)
		start := time.Now()
		for time.Since(start) < DefaultMaxStale-time.Second {
			if err := openFor(ring, ada, ct); err != nil {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
			time.Sleep(7 * time.Second)
		}
		time.Sleep(10 * time.Second)
		for time.Since(start) < 24*time.Hour {
			if err := openFor(ring, ada, ct); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
			if err := openFor(ring, gone, lost); !errors.Is(err, ErrForgotten) {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
			time.Sleep(time.Minute)
		}
		store.setDown(false)
		kms.down(nil)
		time.Sleep(time.Minute)
		if err := openFor(ring, ada, ct); err != nil {
			t.Error(err)
		}
		if err := openFor(ring, gone, lost); !errors.Is(err, ErrForgotten) {
			t.Error(err)
		}
	})
}

// Denied at the KMS: the subjects' keys go with the key that wraps them.
func TestKMSDeniesSubjects(t *testing.T) {
	store, kms := NewMemoryStore(), newFakeKMS()
	first, pin := mustCreate(t, "app", store, kms)
	ct := sealFor(t, first, ada)
	synctest.Test(t, func(t *testing.T) {
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer ring.Close()
		if err := openFor(ring, ada, ct); err != nil {
			t.Fatal(err)
		}
		kms.down(kmsprovider.ErrDenied)
		start := time.Now()
		for openFor(ring, ada, ct) == nil {
			time.Sleep(time.Second)
		}
		if d := time.Since(start); d > DefaultTTL {
			t.Errorf("evicted after %v", d)
		}
		if err := openFor(ring, ada, ct); !errors.Is(err, kmsprovider.ErrDenied) {
			t.Error(err)
		}
	})
}

// Somebody who writes the store can't forge, edit or mix up records.
func TestSubjectTamper(t *testing.T) {
	kms, store := newFakeKMS(), NewMemoryStore()
	ring, pin := mustCreate(t, "app", store, kms)
	ct := sealFor(t, ring, ada)
	must[uint32](t)(ring.RotateSubject(t.Context(), ada))
	bob, gone := Subject{ID: "bob"}, Subject{ID: "gone"}
	sealFor(t, ring, bob)
	must[*Certificate](t)(ring.Forget(t.Context(), gone, nil))
	hashes := must[[]SubjectHash](t)(ring.core().subjects.hashes(t.Context(), []Subject{ada, bob, gone}))
	stranger := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer stranger.Close()
	saved := snapshotOf(store)
	try := func(what string, s Subject, edit func(rows map[SubjectHash]Record)) {
		t.Helper()
		rows := make(map[SubjectHash]Record)
		for h, r := range saved["app"] {
			rows[h] = Record{r.Revision, bytes.Clone(r.Data)}
		}
		edit(rows)
		restore(store, map[string]map[SubjectHash]Record{"app": rows})
		stranger.core().subjects.cache.Purge() // of what is at hand
		keys, err := stranger.Subject(t.Context(), s)
		keys.Release()
		if s == gone && errors.Is(err, ErrForgotten) {
			err = nil
		}
		if !errors.Is(err, ErrTampered) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i, s := range []Subject{ada, bob, gone} {
		size := len(saved["app"][hashes[i]].Data)
		for bit := range 8 * size {
			try(fmt.Sprintf("%s: bit %d", s.ID, bit), s, func(rows map[SubjectHash]Record) { rows[hashes[i]].Data[bit/8] ^= 1 << (bit % 8) })
		}
		for n := range size {
			try(fmt.Sprintf("%s: cut to %d", s.ID, n), s, func(rows map[SubjectHash]Record) {
				r := rows[hashes[i]]
				rows[hashes[i]] = Record{r.Revision, r.Data[:n]}
			})
		}
		try(s.ID+": longer", s, func(rows map[SubjectHash]Record) {
			r := rows[hashes[i]]
			rows[hashes[i]] = Record{r.Revision, append(r.Data, 0)}
		})
		try(s.ID+": another revision", s, func(rows map[SubjectHash]Record) {
			r := rows[hashes[i]]
			rows[hashes[i]] = Record{r.Revision + 1, r.Data}
		})
		for j := range hashes {
			if j != i {
				try(fmt.Sprintf("%s: the record of %d", s.ID, j), s, func(rows map[SubjectHash]Record) { rows[hashes[i]] = rows[hashes[j]] })
			}
		}
	}
	// With the KMS's wrap, and no key of the ring's: still no forgery.
	secret := bytes.Repeat([]byte{7}, 32)
	forged := must[*crypto.Key](t)(crypto.NewKey(crypto.Default, must[*crypto.Key](t)(ring.Primary(t.Context(), SubjectWrap)).ID(), secret))
	rec := &subjectRecord{revision: 1, state: subjectOpen, keys: []subjectKeyRecord{{id: 9, state: Primary}}}
	r := must[Record](t)(sealSubject("app", hashes[0], rec, forged, secret))
	try("forged", ada, func(rows map[SubjectHash]Record) { rows[hashes[0]] = r })

	// Back in time: this process knows.
	restore(store, saved)
	if err := openFor(ring, ada, ct); err != nil {
		t.Fatal(err)
	}
	must[uint32](t)(ring.RotateSubject(t.Context(), ada))
	restore(store, saved)
	s := ring.core().subjects
	if _, err := s.reload(t.Context(), ada, false); !errors.Is(err, ErrRollback) {
		t.Errorf("rolled back: %v", err)
	}
}

func TestSubjectCacheIsBounded(t *testing.T) {
	ring, _ := subjectRing(t, &OpenOptions{SubjectCache: 10})
	var entries []*subjectEntry
	for i := range 100 {
		s := Subject{ID: fmt.Sprint(i)}
		sealFor(t, ring, s)
		e, ok := ring.core().subjects.cache.Peek(s)
		if !ok {
			t.Fatal("not kept")
		}
		entries = append(entries, e)
	}
	if n := ring.core().subjects.cache.Len(); n != 10 {
		t.Errorf("%d in the cache", n)
	}
	for i, e := range entries {
		_, err := e.primary.Seal(nil, nil, nil)
		if wiped := errors.Is(err, crypto.ErrWiped); wiped != (i < 90) {
			t.Errorf("%d: wiped %v", i, wiped)
		}
	}
	// A key that is in use outlives its place in the cache.
	keys, err := ring.Subject(t.Context(), Subject{ID: "99"})
	if err != nil {
		t.Fatal(err)
	}
	key, _ := keys.Primary()
	for i := range 20 {
		sealFor(t, ring, Subject{ID: fmt.Sprint("more", i)})
	}
	if _, err := key.Seal(nil, nil, nil); err != nil {
		t.Errorf("in use: %v", err)
	}
	keys.Release()
	if _, err := key.Seal(nil, nil, nil); !errors.Is(err, crypto.ErrWiped) {
		t.Errorf("released: %v", err)
	}
	ring.Close()
	if _, err := ring.Subject(t.Context(), Subject{ID: "more19"}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestWarmSubjects(t *testing.T) {
	store, kms := &outageStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	var list []Subject
	for i := range 1500 {
		list = append(list, Subject{ID: fmt.Sprint(i)}, Subject{ID: fmt.Sprint(i)})
	}
	if err := ring.WarmSubjects(t.Context(), list[:2000], true); err != nil {
		t.Fatal(err)
	}
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer other.Close()
	store.reads.Store(0)
	if err := other.WarmSubjects(t.Context(), list, false); err != nil {
		t.Fatal(err)
	}
	if n := store.reads.Load(); n != 2 {
		t.Errorf("%d reads for 1,500 subjects", n)
	}
	for i, s := range list {
		keys, err := other.Subject(t.Context(), s)
		if i < 2000 && err != nil || i >= 2000 && !errors.Is(err, ErrUnknownKey) {
			t.Fatalf("%d: %v", i, err)
		}
		keys.Release()
	}
}
