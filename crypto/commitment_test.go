package crypto

import (
	"bytes"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"testing"
)

// craftTwoKeys changes block free of ct so that one AES-GCM tag is right under
// two keys, and returns the tag. The tag is linear in a block of ciphertext:
// T = R + C*H^p, with R the tag when the block is zero, H the hash key and p the
// distance of the block from the end. Equal tags give
// C = (R1 + R2) / (H1^p + H2^p).
func craftTwoKeys(key1, key2, nonce, ct []byte, free int, aad []byte) (tag []byte) {
	block := ct[16*free : 16*free+16]
	clear(block)
	diff := refGFBytes(refTag(key1, nonce, ct, aad)).add(refGFBytes(refTag(key2, nonce, ct, aad)))
	p := (len(ct)+15)/16 - free + 1
	power := func(key []byte) refGF {
		h := refGFBytes(refBlock(key, make([]byte, 16)))
		z := h
		for range p - 1 {
			z = z.mul(h)
		}
		return z
	}
	copy(block, diff.mul(power(key1).add(power(key2)).inverse()).bytes())
	return refTag(key1, nonce, ct, aad)
}

func TestP2_TwoKeyCiphertextsAreRefused(t *testing.T) {
	rng := mrand.NewChaCha8([32]byte{2})
	random := func(n int) []byte {
		b := make([]byte, n)
		rng.Read(b)
		return b
	}
	const id1, id2 = 0x11111111, 0x22222222
	secret1, secret2 := random(32), random(32)
	// The same keys under one id too, as in two rings.
	keys := []*Key{
		newKey(t, Default, id1, secret1), newKey(t, Default, id2, secret2), newKey(t, Default, id1, secret2),
	}
	opened := 0
	for i := range 1000 {
		salt, nonce, context := random(12), random(12), random(i%40)
		sub1, sub2 := refXAESKey(secret1, salt), refXAESKey(secret2, salt)
		ct := random(32 + 16 + i%100)
		switch i % 3 {
		case 0: // key 1 finds its 32 zero bytes: only the commitment stops key 2
			copy(ct, refCTR(sub1, nonce, make([]byte, 32)))
		case 1: // each key finds one block of zeros
			copy(ct, refCTR(sub1, nonce, make([]byte, 16)))
			copy(ct[16:], refCTR(sub2, nonce, make([]byte, 32))[16:])
		}
		body := append(ct, craftTwoKeys(sub1, sub2, nonce, ct, 2, context)...)

		// The attack is real: both texts come out of plain AES-GCM, and of the
		// suite that commits to nothing.
		for _, sub := range [][]byte{sub1, sub2} {
			want, ok := refGCMOpen(sub, nonce, body, context)
			if !ok {
				t.Fatalf("%d: the crafted tag is wrong", i)
			}
			compact := newKey(t, Compact, id1, sub)
			got, err := compact.Open(nil, frame(id1, nonce, body), context)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d: %s refused it: %v", i, Compact, err)
			}
		}

		// Default gives at most one of them, also when the subkeys are cached.
		for _, k := range keys {
			secret := secret2
			if k == keys[0] {
				secret = secret1
			}
			warm := refSeal(Default, k.ID(), secret, salt, nonce, nil, nil)
			if _, err := k.Open(nil, warm, nil); err != nil {
				t.Fatal(err)
			}
			dst := make([]byte, 0, 200)
			got, err := k.Open(dst, frame(k.ID(), salt, nonce, body), context)
			if i%3 == 0 && k == keys[0] {
				if err != nil {
					t.Fatalf("%d: the key that was committed to: %v", i, err)
				}
				opened++
				continue
			}
			if !errors.Is(err, ErrTampered) || got != nil {
				t.Fatalf("%d: %s opened a two-key ciphertext: %v", i, k, err)
			}
			if !bytes.Equal(dst[:cap(dst)], make([]byte, cap(dst))) {
				t.Fatalf("%d: a refused plaintext was left in dst", i)
			}
		}
	}
	if opened != 334 {
		t.Errorf("%d opened under the key they commit to", opened)
	}
}

// frame puts the prefix before the parts of a ciphertext.
func frame(id uint32, parts ...[]byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{1}, id), bytes.Join(parts, nil)...)
}

// Each byte of the commitment counts.
func TestP2_EveryByteOfTheCommitmentIsChecked(t *testing.T) {
	k := newKey(t, Default, 1, testSecret(Default))
	salt, nonce := make([]byte, 12), make([]byte, 12)
	sub := refXAESKey(testSecret(Default), salt)
	for i := range 33 {
		text := append(make([]byte, 32), "value"...)
		if i < 32 {
			text[i] = 0x80
		}
		got, err := k.Open(nil, frame(1, salt, nonce, refGCM(sub, nonce, text, nil)), nil)
		switch {
		case i == 32 && (err != nil || string(got) != "value"):
			t.Errorf("the right commitment: %q, %v", got, err)
		case i < 32 && (!errors.Is(err, ErrTampered) || got != nil):
			t.Errorf("byte %d of the commitment is not checked: %q, %v", i, got, err)
		}
	}
	// Authentic, but too short to hold a commitment.
	for n := range 32 {
		ct := frame(1, salt, nonce, refGCM(sub, nonce, make([]byte, n), nil))
		if _, err := k.Open(nil, ct, nil); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes of commitment: %v", n, err)
		}
	}
}

// The id names the key and is not authenticated: whoever changes it gets one
// try with another key, never a second one with this.
func TestP4_OnlyTheNamedKeyIsTried(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		secret := testSecret(k.Suite())
		twin := newKey(t, k.Suite(), 9, secret) // would open it, if it were asked to
		ct := mustSeal(t, k, []byte("value"), nil)
		if _, err := twin.Open(nil, ct, nil); !errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrTampered) {
			t.Errorf("a key opened what names another: %v", err)
		}
		// Not even its length is looked at before the id.
		if _, err := twin.Open(nil, ct[:21], nil); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%v", err)
		}
		// Under the id of another key the ciphertext is refused by that key.
		secret[0] ^= 2
		other := newKey(t, k.Suite(), 9, secret)
		binary.BigEndian.PutUint32(ct[1:], 9)
		if _, err := other.Open(nil, ct, nil); !errors.Is(err, ErrTampered) {
			t.Errorf("%v", err)
		}
		for id, want := range map[uint32]error{0: ErrUnknownKey, k.ID() ^ 1: ErrUnknownKey, k.ID(): nil} {
			binary.BigEndian.PutUint32(ct[1:], id)
			if _, err := k.Open(nil, ct, nil); !errors.Is(err, want) {
				t.Errorf("id %08x: %v", id, err)
			}
		}
	})
}
