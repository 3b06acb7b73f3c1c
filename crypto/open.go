package crypto

import (
	"encoding/binary"
	"fmt"
)

// KeyID returns the key id that a ciphertext names, without opening it.
//
// Errors: ErrNotEncrypted when the first byte isn't 0x01 or there is none;
// ErrTruncated when the bytes are shorter than any ciphertext (21 bytes).
func KeyID(ciphertext []byte) (uint32, error) {
	if len(ciphertext) == 0 || ciphertext[0] != 1 {
		return 0, ErrNotEncrypted
	}
	if len(ciphertext) < suites[Deterministic].overhead {
		return 0, ErrTruncated
	}
	return binary.BigEndian.Uint32(ciphertext[1:]), nil
}

// Open appends the plaintext of a ciphertext to dst and returns the extended
// slice. context must be what Seal was given. dst may share memory with the
// other arguments. ciphertext is changed only where the plaintext is to be
// written over it: to open in place use ciphertext[:0] as dst. The ciphertext
// is then lost, also when Open fails. context is never changed: if the result
// would be written over it, the result is in new memory.
//
// Open is safe for concurrent use.
//
// Errors: ErrNotEncrypted, ErrTruncated, ErrUnknownKey (the ciphertext names
// another key), ErrTampered, ErrWiped, ErrNotApproved. On error the result is
// nil, dst is unchanged up to its length, and no plaintext is left behind it.
// Up to 32 bytes of dst's capacity behind the result serve as scratch space.
func (k *Key) Open(dst, ciphertext, context []byte) ([]byte, error) {
	c, err := k.opening(ciphertext)
	if err != nil {
		return nil, err
	}
	if c.suite == Deterministic {
		out, err := c.siv.open(ciphertext[prefixSize:], context)
		if err != nil {
			return nil, err
		}
		dst = append(grow(dst, len(out), context), out...)
		clear(out) // no second copy of the plaintext stays behind
		return dst, nil
	}
	g, start, skip, err := c.gcmOf(ciphertext)
	if err != nil {
		return nil, err
	}
	return g.open(dst, ciphertext, start, context, skip)
}

// OpenInPlace decrypts a ciphertext over itself and returns the part of it that
// is the plaintext then: nothing is allocated or moved. The ciphertext is lost,
// also when OpenInPlace fails. context must not share memory with ciphertext.
//
// Other than that it is [Key.Open], errors included.
func (k *Key) OpenInPlace(ciphertext, context []byte) ([]byte, error) {
	c, err := k.opening(ciphertext)
	if err != nil {
		return nil, err
	}
	if c.suite == Deterministic {
		return k.Open(ciphertext[:0], ciphertext, context)
	}
	g, start, skip, err := c.gcmOf(ciphertext)
	if err != nil {
		return nil, err
	}
	body := ciphertext[start:]
	out, err := g.decrypt(g.inPlace(body)[:0], body, context, skip)
	if err != nil {
		return nil, err
	}
	return out[skip:], nil
}

// opening returns what opens a ciphertext, if it names this key.
func (k *Key) opening(ciphertext []byte) (*cipherState, error) {
	st := k.load()
	if st == nil {
		return nil, ErrWiped
	}
	id, err := KeyID(ciphertext)
	if err != nil {
		return nil, err
	}
	if id != st.id {
		return nil, fmt.Errorf("crypto: %w %08x: this is key %08x", ErrUnknownKey, id, st.id)
	}
	c := st.live.Load()
	if c == nil {
		return nil, fmt.Errorf("crypto: key %08x: %w", st.id, ErrWiped)
	}
	if len(ciphertext) < c.suite.Overhead() {
		return nil, ErrTruncated
	}
	return c, nil
}

// gcmOf returns the AES-GCM that opens a ciphertext of Default or Compact, where
// its nonce starts, and how many bytes of commitment precede the plaintext.
func (c *cipherState) gcmOf(ciphertext []byte) (g *gcm, start, skip int, err error) {
	if c.suite == Compact {
		return c.gcm, prefixSize, 0, nil
	}
	sub, err := c.xaes.reading((*[saltSize]byte)(ciphertext[prefixSize:]))
	if err != nil {
		return nil, 0, 0, err
	}
	return &sub.gcm, prefixSize + saltSize, commitSize, nil
}
