package crypto

import (
	"bytes"
	"crypto/rand"
	"testing"
)

func TestSealOpenSmoke(t *testing.T) {
	for s := Default; s <= Deterministic; s++ {
		secret := make([]byte, s.KeySize())
		rand.Read(secret)
		k, err := NewKey(s, 7, secret)
		if err != nil {
			t.Skip(err)
		}
		for n := range 100 {
			pt := bytes.Repeat([]byte("x"), n)
			for _, dst := range [][]byte{nil, []byte("abc"), make([]byte, 3, 500)} {
				ct, err := k.Seal(dst, pt, []byte("ctx"))
				if err != nil || len(ct) != len(dst)+n+s.Overhead() || !bytes.Equal(ct[:len(dst)], dst) {
					t.Fatal(err)
				}
				ct = bytes.Clone(ct[len(dst):])
				out, err := k.Open(dst, ct, []byte("ctx"))
				if err != nil || !bytes.Equal(out, append(bytes.Clone(dst), pt...)) {
					t.Fatal(s, n, err, out)
				}
				out, err = k.Open(ct[:0], ct, []byte("ctx"))
				if err != nil || !bytes.Equal(out, pt) {
					t.Fatal(s, n, err, out)
				}
			}
		}
	}
}

func BenchmarkKey(b *testing.B) {
	for s := Default; s <= Deterministic; s++ {
		secret := make([]byte, s.KeySize())
		rand.Read(secret)
		k, _ := NewKey(s, 7, secret)
		pt := make([]byte, 64)
		aad := make([]byte, 64)
		ct, _ := k.Seal(nil, pt, aad)
		buf := make([]byte, 0, 400)
		b.Run("op=seal/suite="+s.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.Seal(buf, pt, aad)
			}
		})
		b.Run("op=open/suite="+s.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.Open(buf, ct, aad)
			}
		})
	}
}
