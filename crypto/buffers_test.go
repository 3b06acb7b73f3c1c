package crypto

import (
	"bytes"
	"errors"
	mrand "math/rand/v2"
	"testing"
)

// arena is memory in which the arguments of a call lie anywhere, overlapping or
// not.
type arena struct {
	rng    *mrand.ChaCha8
	mem    []byte
	before []byte
}

func newArena(rng *mrand.ChaCha8, size int) *arena {
	a := &arena{rng: rng, mem: make([]byte, size)}
	rng.Read(a.mem)
	return a
}

func (a *arena) below(n int) int { return int(a.rng.Uint64() % uint64(n)) }

// slice returns n bytes somewhere.
func (a *arena) slice(n int) []byte {
	at := a.below(len(a.mem) - n + 1)
	return a.mem[at : at+n : at+n]
}

// dst returns a slice somewhere, with any length and capacity.
func (a *arena) dst() []byte {
	at := a.below(len(a.mem) + 1)
	n := a.below(min(len(a.mem)-at, 40) + 1)
	return a.mem[at : at+n : at+n+a.below(len(a.mem)-at-n+1)]
}

func (a *arena) freeze() { a.before = bytes.Clone(a.mem) }

// changedOutside reports whether a byte outside of the given parts changed.
func (a *arena) changedOutside(parts ...[]byte) bool {
	for i := range a.mem {
		inside := false
		for _, p := range parts {
			inside = inside || overlaps(a.mem[i:i+1], p)
		}
		if !inside && a.mem[i] != a.before[i] {
			return true
		}
	}
	return false
}

// holds reports whether eight bytes in a row of secret are in the arena,
// outside of the result.
func (a *arena) holds(secret, result []byte) bool {
	rest := bytes.Clone(a.mem)
	for i := range rest {
		if overlaps(a.mem[i:i+1], result) {
			rest[i] = 0
		}
	}
	for ; len(secret) >= 8; secret = secret[1:] {
		if bytes.Contains(rest, secret[:8]) {
			return true
		}
	}
	return false
}

const arenaRounds = 10_000

// Seal is right wherever its arguments lie, and writes to nothing but what it
// returns.
func TestSealAnyOverlap(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		rng := mrand.NewChaCha8([32]byte{5})
		inDst := 0
		for i := range arenaRounds {
			a := newArena(rng, 250)
			plaintext, context, dst := a.slice(a.below(60)), a.slice(a.below(30)), a.dst()
			a.freeze()
			p, c, d := bytes.Clone(plaintext), bytes.Clone(context), bytes.Clone(dst)

			out, err := k.Seal(dst, plaintext, context)
			if err != nil {
				t.Fatal(err)
			}
			total := len(d) + len(p) + k.Suite().Overhead()
			if len(out) != total || !bytes.Equal(out[:len(d)], d) || !bytes.Equal(dst, d) {
				t.Fatalf("%d: dst was lost", i)
			}
			if !bytes.Equal(context, c) {
				t.Fatalf("%d: context was changed", i)
			}
			written := out[len(d):]
			if overlaps(out, a.mem) {
				inDst++
				if a.changedOutside(written) {
					t.Fatalf("%d: something else was changed", i)
				}
			} else if a.changedOutside() {
				t.Fatalf("%d: arguments were changed for a result in new memory", i)
			}
			if cap(dst) >= total && !overlaps(dst[len(d):total], context) && !overlaps(out, a.mem) {
				t.Fatalf("%d: dst had room and was not used", i)
			}
			if got, err := k.Open(nil, bytes.Clone(written), c); err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%d: %v", i, err)
			}
		}
		if inDst < arenaRounds/20 {
			t.Errorf("only %d rounds had room", inDst)
		}
	})
}

// Open is right wherever its arguments lie, and leaves no plaintext anywhere
// but in what it returns; when it fails, nowhere.
func TestOpenAnyOverlap(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		rng := mrand.NewChaCha8([32]byte{6})
		var inPlace, elsewhere, failed int
		for i := range arenaRounds {
			a := newArena(rng, 250)
			p, c := make([]byte, a.below(60)), make([]byte, a.below(30))
			rng.Read(p)
			rng.Read(c)
			ciphertext, context, dst := a.slice(len(p)+k.Suite().Overhead()), a.slice(len(c)), a.dst()
			if overlaps(ciphertext, context) {
				context = c // can't hold both
			}
			copy(context, c)
			text, salt, nonce := p, make([]byte, 12), make([]byte, 12)
			rng.Read(nonce)
			salt[0] = byte(i % 4)
			fail := i%4 == 3
			ct := refSeal(k.Suite(), k.ID(), testSecret(k.Suite()), salt, nonce, text, c)
			if fail {
				if k.Suite() == Default && i%8 == 7 { // authentic, but committed to nothing
					text = append(bytes.Repeat([]byte{1}, 32), p...)
					ct = frame(k.ID(), salt, nonce, refGCM(refXAESKey(testSecret(Default), salt), nonce, text, c))
				} else {
					ct[len(ct)-1-a.below(16)] ^= 1 << a.below(8)
				}
			}
			copy(ciphertext, ct)
			a.freeze()
			d := bytes.Clone(dst)

			out, err := k.Open(dst, ciphertext, context)
			if !bytes.Equal(dst, d) {
				t.Fatalf("%d: dst was lost", i)
			}
			if !bytes.Equal(context, c) {
				t.Fatalf("%d: context was changed", i)
			}
			if fail {
				failed++
				if err == nil || out != nil {
					t.Fatalf("%d: opened", i)
				}
				if a.holds(p, nil) {
					t.Fatalf("%d: refused plaintext was left behind", i)
				}
				continue
			}
			if err != nil || !bytes.Equal(out, append(d, p...)) {
				t.Fatalf("%d: opened to %x, %v, want %x", i, out, err, p)
			}
			if a.holds(p, out[len(d):]) {
				t.Fatalf("%d: a second copy of the plaintext was left behind", i)
			}
			total := len(d) + len(p)
			room := cap(dst) >= total
			switch wanted := dst[len(d):min(total, cap(dst))]; {
			case room && overlaps(wanted, ciphertext):
				inPlace++
				scratch := dst[len(d):min(total+commitSize, cap(dst))]
				if a.changedOutside(scratch, ciphertext) {
					t.Fatalf("%d: something else was changed", i)
				}
			case a.changedOutside(dst[len(d):min(total+commitSize, cap(dst))]):
				t.Fatalf("%d: something else was changed", i)
			case !bytes.Equal(ciphertext, ct):
				t.Fatalf("%d: ciphertext was changed", i)
			default:
				elsewhere++
			}
			if room && len(p) > 0 && !overlaps(dst[len(d):total], context) && !overlaps(out[len(d):], a.mem) {
				t.Fatalf("%d: dst had room and was not used", i)
			}
		}
		if inPlace < arenaRounds/20 || elsewhere < arenaRounds/20 || failed < arenaRounds/20 {
			t.Errorf("%d in place, %d elsewhere, %d failed: too few to tell", inPlace, elsewhere, failed)
		}
	})
}

// The context may even be a part of the ciphertext: AES-GCM's ciphertext, other
// than its tag, doesn't depend on it.
func TestOpenContextInsideCiphertext(t *testing.T) {
	for s := Default; s <= Compact; s++ {
		k := newKey(t, s, 1, testSecret(s))
		salt, nonce, plaintext := make([]byte, 12), make([]byte, 12), stream("value", 30)
		ct := refSeal(s, 1, testSecret(s), salt, nonce, plaintext, nil)
		for from := range len(ct) - 16 {
			for _, n := range []int{1, 5, 16} {
				to := min(from+n, len(ct)-16)
				sealed := refSeal(s, 1, testSecret(s), salt, nonce, plaintext, ct[from:to])
				for at := range len(sealed) {
					mem := bytes.Clone(sealed)
					context := mem[from:to]
					out, err := k.Open(mem[at:at], mem, context)
					if err != nil || !bytes.Equal(out, plaintext) {
						t.Fatalf("%s: context at %d, dst at %d: %x, %v", s, from, at, out, err)
					}
					if !bytes.Equal(context, ct[from:to]) {
						t.Fatalf("%s: context at %d, dst at %d: context was changed", s, from, at)
					}
				}
			}
		}
	}
}

// OpenInPlace gives a part of the ciphertext; on failure no plaintext is left.
func TestOpenInPlaceOnly(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		for n := range 100 {
			plaintext, context := stream("in place", n), []byte("context")
			ct := mustSeal(t, k, plaintext, context)
			changed := bytes.Clone(ct)
			changed[len(ct)-1] ^= 1
			if out, err := k.OpenInPlace(changed, context); !errors.Is(err, ErrTampered) || out != nil {
				t.Fatalf("%d bytes, changed: %x, %v", n, out, err)
			}
			if n >= 8 && bytes.Contains(changed, plaintext[:8]) {
				t.Fatalf("%d bytes: refused plaintext was left behind", n)
			}
			out, err := k.OpenInPlace(ct, context)
			if err != nil || !bytes.Equal(out, plaintext) || n > 0 && !overlaps(out, ct) {
				t.Fatalf("%d bytes: %x, %v", n, out, err)
			}
			if string(context) != "context" {
				t.Fatal("context was changed")
			}
		}
		for err, ct := range map[error][]byte{
			ErrNotEncrypted: nil, ErrTruncated: {1, 2}, ErrUnknownKey: append([]byte{1, 9}, make([]byte, 99)...),
		} {
			if out, got := k.OpenInPlace(ct, nil); !errors.Is(got, err) || out != nil {
				t.Errorf("%v instead of %v", got, err)
			}
		}
		ct := mustSeal(t, k, nil, nil)
		k.Wipe()
		if _, err := k.OpenInPlace(ct, nil); !errors.Is(err, ErrWiped) {
			t.Errorf("after Wipe: %v", err)
		}
	})
}

// Authentic text without the commitment is cleared where it was decrypted.
func TestOpenInPlaceChecksTheCommitment(t *testing.T) {
	k := newKey(t, Default, 1, testSecret(Default))
	salt, nonce := make([]byte, 12), make([]byte, 12)
	text := append(bytes.Repeat([]byte{1}, 32), "a plaintext to look for"...)
	ct := frame(1, salt, nonce, refGCM(refXAESKey(testSecret(Default), salt), nonce, text, nil))
	if out, err := k.OpenInPlace(ct, nil); !errors.Is(err, ErrTampered) || out != nil || bytes.Contains(ct, text[32:]) {
		t.Errorf("%x, %v", out, err)
	}
}

// The documented way to open in place gives the result at the front.
func TestOpenInPlace(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		ct := mustSeal(t, k, []byte("value"), []byte("context"))
		out, err := k.Open(ct[:0], ct, []byte("context"))
		if err != nil || string(out) != "value" || &out[0] != &ct[0] {
			t.Errorf("%q, %v", out, err)
		}
	})
}
