package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/structseal/structseal/internal/ratio"
)

// BenchmarkBytes seals and opens values of three lengths, with a context of 64 bytes, into
// memory that is already there, in turns with the bare standard library doing the same by
// hand: AES-256-GCM with a nonce from crypto/rand in front of each message. sealer is a
// Sealer for 16 values; inplace has the plaintext where the ciphertext has it
// (Suite.Headroom), or opens over the ciphertext, of which both make a copy first.
func BenchmarkBytes(b *testing.B) {
	context, secret := make([]byte, 64), testSecret(Default)
	floor := newFloor(b, secret)
	for _, size := range []int{64, 4 << 10, 1 << 20} {
		plaintext := make([]byte, size)
		buf := make([]byte, 0, size+128)
		run := func(op, impl string, floor func(), f func() error) {
			b.Run(fmt.Sprintf("size=%d/op=%s/impl=%s", size, op, impl), func(b *testing.B) {
				ratio.Bench(b, floor, func() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				})
			})
		}
		byHand := floor.seal(make([]byte, 0, size+128), plaintext, context)
		seal := func() { floor.seal(buf, plaintext, context) }
		open := func() { floor.open(buf, byHand, context) }
		over := func() {
			ct := append(buf, byHand...)
			floor.open(ct[floor.text():floor.text()], ct, context)
		}
		for s := Default; s <= Compact; s++ {
			name := [...]string{Default: "default", Compact: "compact"}[s]
			k := newKey(b, s, 1, secret)
			run("seal", name, seal, func() error { _, err := k.Seal(buf, plaintext, context); return err })
			run("seal", name+"-inplace", seal, func() error {
				_, err := k.Seal(buf, buf[s.Headroom():s.Headroom()+size], context)
				return err
			})
			var sealer Sealer
			n := 0
			run("seal", name+"-sealer", seal, func() error {
				if n++; n%16 == 1 {
					if err := sealer.Reset(k, 16); err != nil {
						return err
					}
				}
				_, err := sealer.Seal(buf, plaintext, context)
				return err
			})
			sealed := mustSeal(b, k, plaintext, context)
			run("open", name, open, func() error { _, err := k.Open(buf, sealed, context); return err })
			run("open-inplace", name, over, func() error { _, err := k.OpenInPlace(append(buf, sealed...), context); return err })
		}
	}
}

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

// text is where in sealed a call of open may write over it.
func (f floor) text() int {
	if f.makesNonces {
		return 0
	}
	return 12
}
