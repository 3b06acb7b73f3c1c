package keyringtest

import (
	"errors"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// short reports whether the large tests shall be small.
func short() bool { return testing.Short() || raceDetector }

// testRingLife: a ring from its creation until it is full (with -short or -race:
// has 32 keys), through two handles.
func testRingLife(e *env) {
	name, kms := e.name("ring"), localkms.NewRandom()
	if _, err := keyring.Open(e.ctx, name, e.store, kms, keyring.TrustOnFirstUse, nil); !errors.Is(err, keyring.ErrNotFound) {
		e.Fatalf("Open of nothing: %v", err)
	}
	ring, pin, err := keyring.Create(e.ctx, name, e.store, kms, nil)
	if err != nil {
		e.Fatal(err)
	}
	defer ring.Close()
	if _, _, err := keyring.Create(e.ctx, name, e.open(e.T), kms, nil); !errors.Is(err, keyring.ErrExists) {
		e.Errorf("Create of what exists: %v", err)
	}
	other, err := keyring.Open(e.ctx, name, e.open(e.T), kms, pin, nil)
	if err != nil {
		e.Fatal(err)
	}
	defer other.Close()

	first, last := len(ring.Keys()), keyring.MaxKeys
	if short() {
		last = 32
	}
	purposes := [...]keyring.Purpose{keyring.Data, keyring.Data, keyring.Deterministic}
	told := make(map[uint32]keyring.Purpose)
	for n := first; n < last; n++ {
		r, p := ring, purposes[n%len(purposes)]
		if n%2 == 1 {
			r = other
		}
		id, err := r.Rotate(e.ctx, p, &keyring.RotateOptions{Now: true})
		if err != nil {
			e.Fatalf("rotation %d: %v", n-first+1, err)
		}
		told[id] = p
	}
	if last == keyring.MaxKeys {
		if _, err := other.Rotate(e.ctx, keyring.Data, &keyring.RotateOptions{Now: true}); !errors.Is(err, keyring.ErrTooLarge) {
			e.Errorf("rotation of a full ring: %v", err)
		}
	}
	for _, r := range []*keyring.Keyring{ring, other} {
		if err := r.Refresh(e.ctx); err != nil {
			e.Fatal(err)
		}
	}
	final, err := keyring.Open(e.ctx, name, e.open(e.T), kms, pin, nil)
	if err != nil {
		e.Fatal(err)
	}
	defer final.Close()
	for _, r := range []*keyring.Keyring{ring, other, final} {
		if want := uint64(1 + len(told)); r.Revision() != want || len(r.Keys()) != first+len(told) {
			e.Errorf("revision %d with %d keys, want revision %d with %d", r.Revision(), len(r.Keys()), want, first+len(told))
		}
	}
	known := make(map[uint32]keyring.Purpose)
	for _, k := range final.Keys() {
		known[k.ID] = k.Purpose
	}
	for id, p := range told {
		if known[id] != p {
			e.Errorf("key %08x is lost", id)
		}
		if p != keyring.Data {
			continue // AES-SIV can't be used in FIPS-only mode
		}
		if _, err := final.Key(e.ctx, p, id); err != nil {
			e.Errorf("key %08x: %v", id, err)
		}
	}
}
