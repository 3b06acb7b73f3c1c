package crypto

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"math"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// saltOf and nonceOf cut a ciphertext of Default.
func saltOf(ct []byte) [12]byte  { return [12]byte(ct[5:]) }
func nonceOf(ct []byte) [12]byte { return [12]byte(ct[17:]) }

// standStill runs a test with a clock that moves only when the test waits. The
// entropy source of the FIPS 140 module measures time and fails there.
func standStill(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if fips140.Enabled() {
		t.Skip("the entropy source of FIPS 140 mode needs a clock that runs")
	}
	synctest.Test(t, test)
}

// Salts stay within their bound and nonces never repeat, whatever mix of calls,
// announced and real counts, and goroutines seals under one key.
func TestP3_SaltsAndNonces(t *testing.T) {
	if fips140.Enabled() {
		saltsAndNonces(t)
		return
	}
	standStill(t, saltsAndNonces) // else salts age too early on a slow machine
}

func saltsAndNonces(t *testing.T) {
	k := newKey(t, Default, 1, testSecret(Default))
	const goroutines, calls = 4, 6000
	var mu sync.Mutex
	salts := map[[12]byte]int{}
	nonces := map[[12]byte]bool{}
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rng := mrand.New(mrand.NewPCG(3, uint64(g)))
			var sealer Sealer
			var cts [][]byte
			for len(cts) < calls {
				if rng.IntN(4) == 0 {
					ct, err := k.Seal(nil, nil, nil)
					if err != nil {
						t.Error(err)
						return
					}
					cts = append(cts, ct)
					continue
				}
				// Announce too few, too many, or the right number.
				n := 1 + rng.IntN(40)
				if err := sealer.Reset(k, n+rng.IntN(41)-20); err != nil {
					t.Error(err)
					return
				}
				for done := 0; done < n; {
					if some := rng.IntN(20); rng.IntN(2) == 0 { // together
						cut, err := sealer.SealAll(k, nil, make([]Value, some))
						if err != nil {
							t.Error(err)
							return
						}
						for done += some; len(cut) > 0; cut = cut[Default.Overhead():] {
							cts = append(cts, cut[:Default.Overhead():Default.Overhead()])
						}
						continue
					}
					done++
					ct, err := sealer.Seal(nil, nil, nil)
					if err != nil {
						t.Error(err)
						return
					}
					cts = append(cts, ct)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, ct := range cts {
				salts[saltOf(ct)]++
				if nonces[nonceOf(ct)] {
					t.Errorf("nonce %x was used twice", nonceOf(ct))
				}
				nonces[nonceOf(ct)] = true
			}
		})
	}
	wg.Wait()
	most := 0
	for salt, n := range salts {
		if n > 1024 {
			t.Errorf("salt %x was used for %d messages", salt, n)
		}
		most = max(most, n)
	}
	// Salts are kept, too: otherwise this test proves nothing.
	if most < 100 {
		t.Errorf("no salt was used for more than %d messages", most)
	}
}

// One by one, the bound is exact.
func TestP3_SaltBoundIsExact(t *testing.T) {
	standStill(t, func(t *testing.T) {
		k := newKey(t, Default, 1, testSecret(Default))
		mustSeal(t, k, nil, nil) // the first record has a salt of its own
		var counts []int
		var last [12]byte
		for range 3 * 1024 {
			salt := saltOf(mustSeal(t, k, nil, nil))
			if salt != last {
				counts = append(counts, 0)
			}
			last = salt
			counts[len(counts)-1]++
		}
		if len(counts) != 3 || counts[0] != 1024 || counts[1] != 1024 {
			t.Errorf("messages per salt: %v", counts)
		}
	})
}

func TestP3_SaltsAge(t *testing.T) {
	standStill(t, func(t *testing.T) {
		k := newKey(t, Default, 1, testSecret(Default))
		var sealer, alone Sealer
		if err := alone.Reset(k, 16); err != nil {
			t.Fatal(err)
		}
		if err := sealer.Reset(k, 16); err != nil {
			t.Fatal(err)
		}
		byFirst := func() [12]byte {
			ct, err := alone.Seal(nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return saltOf(ct)
		}
		own := byFirst() // the first record has a salt of its own
		bySealer := func() [12]byte {
			ct, err := sealer.Seal(nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return saltOf(ct)
		}
		byKey := func() [12]byte { return saltOf(mustSeal(t, k, nil, nil)) }

		first := bySealer()
		if got := byKey(); got != first {
			t.Error("a key doesn't share its salt among calls")
		}
		time.Sleep(800 * time.Millisecond)
		if byKey() != first || bySealer() != first || byFirst() != own || own == first {
			t.Error("a salt was dropped within its second")
		}
		time.Sleep(200 * time.Millisecond) // to the second
		if byFirst() == own {
			t.Error("the first record used a salt of one second")
		}
		// The sealer still holds a reservation under the old salt.
		second := bySealer()
		if second == first {
			t.Error("a sealer used a salt of one second")
		}
		if got := byKey(); got != second {
			t.Error("a key doesn't take the new salt")
		}
		time.Sleep(time.Hour)
		if got := byKey(); got == first || got == second {
			t.Error("a key used a salt of one hour")
		}
	})
}

// Copies of a Sealer draw from one source: no nonce is used twice.
func TestSealerCopies(t *testing.T) {
	for s := Default; s <= Compact; s++ {
		k := newKey(t, s, 1, testSecret(s))
		var a Sealer
		if err := a.Reset(k, 16); err != nil {
			t.Fatal(err)
		}
		b := a
		seen := map[string]bool{}
		for range 20 {
			for _, sealer := range []*Sealer{&a, &b} {
				ct, err := sealer.Seal(nil, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				nonce := string(ct[len(ct)-s.Overhead()+5 : len(ct)-16])
				if seen[nonce] {
					t.Fatalf("%s: copies of a sealer used a nonce twice", s)
				}
				seen[nonce] = true
			}
		}
	}
}

func TestSealerConcurrentUsePanics(t *testing.T) {
	var s Sealer
	if err := s.Reset(newKey(t, Default, 1, testSecret(Default)), 1); err != nil {
		t.Fatal(err)
	}
	s.r().busy.Store(true) // as in the middle of a call
	for name, call := range map[string]func(){
		"Seal":  func() { s.Seal(nil, nil, nil) },
		"Reset": func() { s.Reset(nil, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s didn't panic", name)
				}
			}()
			call()
		}()
	}
}

// Reset leaves nothing of the record before.
func TestSealerReset(t *testing.T) {
	var s Sealer
	if _, err := s.Seal(nil, nil, nil); !errors.Is(err, ErrWiped) {
		t.Errorf("zero sealer: %v", err)
	}
	eachSuite(t, func(t *testing.T, k *Key) {
		for _, n := range []int{-1, 0, 1, 2, 15, 16, 17, math.MaxInt} {
			if err := s.Reset(k, n); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				ct, err := s.Seal([]byte("dst"), []byte("value"), []byte("context"))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := k.Open(nil, bytes.TrimPrefix(ct, []byte("dst")), []byte("context")); err != nil || string(got) != "value" {
					t.Fatalf("announced %d, value %d: %q, %v", n, i, got, err)
				}
			}
		}
	})
	if err := s.Reset(nil, 1); err == nil {
		t.Error("no key, no error")
	}
	if _, err := s.Seal(nil, nil, nil); !errors.Is(err, ErrWiped) {
		t.Errorf("after a failed Reset: %v", err)
	}
}

// A sealer reads randomness for no more values than are announced, so that
// none is left when the record is done.
func TestSealerLeavesNoNonces(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("the mode makes its own nonces")
	}
	for s := Default; s <= Compact; s++ {
		k := newKey(t, s, 1, testSecret(s))
		for _, n := range []int{1, 2, 16, 17, 33} {
			var sealer Sealer
			if err := sealer.Reset(k, n); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if _, err := sealer.Seal(nil, nil, nil); err != nil {
					t.Fatal(err)
				}
				// One read for 16 values: each costs as much as sealing a short one.
				if left := (min(n, sealerNonces) - 1) * nonceSize; i == 0 && sealer.r().unused != left {
					t.Errorf("%s: the first of %d values leaves %d bytes of nonce, want %d", s, n, sealer.r().unused, left)
				}
			}
			if sealer.r().unused != 0 || sealer.r().left != 0 {
				t.Errorf("%s: of %d values, %d bytes of nonce and %d messages are left", s, n, sealer.r().unused, sealer.r().left)
			}
		}
	}
}

// A test of a user's makes a key, seals with it in virtual time, and wipes it
// outside again.
func TestKeyInAndOutOfABubble(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("the FIPS module's entropy source doesn't run in virtual time")
	}
	k := newKey(t, Default, 1, testSecret(Default))
	var inside []byte
	synctest.Test(t, func(t *testing.T) { inside = mustSeal(t, k, []byte("value"), nil) })
	outside := mustSeal(t, k, []byte("value"), nil)
	for _, ct := range [][]byte{inside, outside} {
		if _, err := k.Open(nil, ct, nil); err != nil {
			t.Error(err)
		}
	}
	k.Wipe()
}
