package crypto

import (
	"bytes"
	"crypto/fips140"
	"fmt"
	"testing"
)

// A plaintext that lies where the ciphertext has it is sealed there: the result is in the
// same memory and opens, behind whatever dst holds, by Key and by Sealer.
func TestSealInPlace(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		over, head := k.Suite().Overhead(), k.Suite().Headroom()
		var sealer Sealer
		if err := sealer.Reset(k, 100); err != nil {
			t.Fatal(err)
		}
		for i, n := range []int{0, 1, 15, 16, 64, 2047, 2048, 4096, 1<<20 + 7} {
			for _, prefix := range []string{"", "what dst holds"} {
				want := stream("plaintext", n)
				mem := make([]byte, len(prefix)+over+n)
				copy(mem, prefix)
				dst := mem[:len(prefix)]
				plaintext := mem[len(prefix)+head : len(prefix)+head+n]
				copy(plaintext, want)
				seal := k.Seal
				if i%2 == 0 {
					seal = sealer.Seal
				}
				out, err := seal(dst, plaintext, []byte("context"))
				if err != nil {
					t.Fatal(err)
				}
				if &out[0] != &mem[0] || len(out) != len(mem) || string(out[:len(prefix)]) != prefix {
					t.Fatalf("%d bytes: the result is not in dst's memory", n)
				}
				if got, err := k.Open(nil, out[len(prefix):], []byte("context")); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d bytes: %v", n, err)
				}
				if opened, err := k.OpenInPlace(out[len(prefix):], []byte("context")); err != nil || !bytes.Equal(opened, want) {
					t.Fatalf("%d bytes: in place: %v", n, err)
				}
			}
		}
	})
}

// Neither way allocates.
func TestInPlaceAllocations(t *testing.T) {
	if raceEnabled || fips140.Enabled() {
		t.Skip("FIPS 140 mode and the race detector allocate")
	}
	const n = 4096
	for s := Default; s <= Compact; s++ {
		k := newKey(t, s, 1, testSecret(s))
		context := make([]byte, 64)
		mem := make([]byte, n+s.Overhead())
		if got := testing.AllocsPerRun(1000, func() {
			ct, err := k.Seal(mem[:0], mem[s.Headroom():][:n], context)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.OpenInPlace(ct, context); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations", s, got)
		}
	}
}

func TestHeadroom(t *testing.T) {
	for s, want := range map[Suite]int{Default: 61, Compact: 17, Deterministic: 21, 0: 0, 4: 0} {
		if got := s.Headroom(); got != want {
			t.Errorf("%s: %d, want %d", s, got, want)
		}
	}
}

// move is copy, however the two lie to each other.
func TestMove(t *testing.T) {
	sizes := []int{0, 1, 100, longMove - 1, longMove, longMove + 1, 3*longMove + 5, 1 << 20, 1<<20 + 300_000}
	if !testing.Short() {
		sizes = append(sizes, 9<<20)
	}
	for _, n := range sizes {
		for _, apart := range []int{0, 1, 32, 61, longMove - 512, longMove, n / 2, n, n + 1} {
			for _, forward := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d bytes, %d apart, %v", n, apart, forward), func(t *testing.T) {
					mem := make([]byte, n+apart)
					for i := range mem {
						mem[i] = byte(i ^ i>>8 ^ i>>16)
					}
					want := bytes.Clone(mem)
					from, to := 0, apart
					if forward {
						from, to = apart, 0
					}
					copy(want[to:to+n], want[from:from+n])
					move(mem[to:to+n], mem[from:from+n])
					if !bytes.Equal(mem, want) {
						t.Error("moved to something else")
					}
				})
			}
		}
	}
}
