package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"fmt"
	"testing"
)

// BenchmarkBytes seals and opens values of three lengths, with a context of 64 bytes, into
// memory that is already there. floor is the bare standard library doing the same by hand:
// a nonce from crypto/rand for each message in front of what AES-GCM makes of it. inplace
// has the plaintext where the ciphertext wants it (Suite.Headroom), or opens over the
// ciphertext; sealer seals the values of a record of 16.
func BenchmarkBytes(b *testing.B) {
	context := make([]byte, 64)
	secret := make([]byte, 32)
	rand.Read(secret)
	for _, size := range []int{64, 4 << 10, 1 << 20} {
		plaintext := make([]byte, size)
		run := func(op, impl string, f func(b *testing.B)) {
			b.Run(fmt.Sprintf("size=%d/op=%s/impl=%s", size, op, impl), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				f(b)
			})
		}
		floor := newFloor(b, secret)
		sealed := make([]byte, 0, size+128)
		run("seal", "floor", func(b *testing.B) {
			for b.Loop() {
				floor.seal(sealed, plaintext, context)
			}
		})
		for s := Default; s <= Compact; s++ {
			k := newKey(b, s, 1, secret)
			run("seal", names[s], func(b *testing.B) {
				for b.Loop() {
					if _, err := k.Seal(sealed, plaintext, context); err != nil {
						b.Fatal(err)
					}
				}
			})
			run("seal", names[s]+"-sealer", func(b *testing.B) {
				var sealer Sealer
				n := 0
				for b.Loop() {
					if n%16 == 0 {
						if err := sealer.Reset(k, 16); err != nil {
							b.Fatal(err)
						}
					}
					n++
					if _, err := sealer.Seal(sealed, plaintext, context); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		opened := make([]byte, 0, size+128)
		sealed = floor.seal(sealed, plaintext, context)
		run("open", "floor", func(b *testing.B) {
			for b.Loop() {
				if _, err := floor.open(opened, sealed, context); err != nil {
					b.Fatal(err)
				}
			}
		})
		for s := Default; s <= Compact; s++ {
			k := newKey(b, s, 1, secret)
			ct := mustSeal(b, k, plaintext, context)
			run("open", names[s], func(b *testing.B) {
				for b.Loop() {
					if _, err := k.Open(opened, ct, context); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

var names = [...]string{Default: "default", Compact: "compact"}

// A floor is AES-256-GCM by hand, as the mode allows it.
type floor struct {
	aead        cipher.AEAD
	makesNonces bool
}

func newFloor(b testing.TB, key []byte) floor {
	block, err := aes.NewCipher(key)
	if err != nil {
		b.Fatal(err)
	}
	f := floor{makesNonces: fips140.Enforced()}
	if f.makesNonces {
		f.aead, err = cipher.NewGCMWithRandomNonce(block)
	} else {
		f.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func (f floor) seal(dst, plaintext, aad []byte) []byte {
	if f.makesNonces {
		return f.aead.Seal(dst, nil, plaintext, aad)
	}
	nonce := dst[:12]
	rand.Read(nonce)
	return f.aead.Seal(nonce, nonce, plaintext, aad)
}

func (f floor) open(dst, sealed, aad []byte) ([]byte, error) {
	if f.makesNonces {
		return f.aead.Open(dst, nil, sealed, aad)
	}
	return f.aead.Open(dst, sealed[:12], sealed[12:], aad)
}
