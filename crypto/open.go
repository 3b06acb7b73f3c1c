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
	g, start, skip := c.gcm, prefixSize, 0
	if c.suite == Default {
		sub, err := c.xaes.reading((*[saltSize]byte)(ciphertext[prefixSize:]))
		if err != nil {
			return nil, err
		}
		g, start, skip = &sub, prefixSize+saltSize, commitSize
	}
	body := ciphertext[start:]
	n := len(body) - nonceSize - tagSize
	if cap(dst)-len(dst) < n {
		return g.openElsewhere(dst, ciphertext, start, context, skip)
	}
	if to := dst[len(dst) : len(dst)+n]; overlaps(to, ciphertext) || overlaps(to, context) {
		return g.openElsewhere(dst, ciphertext, start, context, skip)
	}
	// Behind dst, as decrypt does it; a call more is a twentieth of opening a short value.
	var out []byte
	if g.makesNonces {
		out, err = g.aead.Open(dst, nil, body, context)
	} else {
		out, err = g.aead.Open(dst, body[:nonceSize], body[nonceSize:], context)
	}
	if err != nil {
		return nil, ErrTampered
	}
	if skip == 0 {
		return out, nil
	}
	// The text moves to the front, over the skipped bytes.
	text := out[len(dst):]
	if !committed(text) {
		clear(text)
		return nil, ErrTampered
	}
	move(text[:n-skip], text[skip:])
	*(*[commitSize]byte)(text[n-skip:]) = [commitSize]byte{} // what moving left behind
	return out[:len(out)-skip], nil
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
	g, start, skip := c.gcm, prefixSize, 0
	if c.suite == Default {
		sub, err := c.xaes.reading((*[saltSize]byte)(ciphertext[prefixSize:]))
		if err != nil {
			return nil, err
		}
		g, start, skip = &sub, prefixSize+saltSize, commitSize
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
	c := st.live.Load()
	if c == nil || len(ciphertext) < suites[c.suite].overhead || ciphertext[0] != 1 || binary.BigEndian.Uint32(ciphertext[1:]) != st.id {
		return nil, st.cannotOpen(ciphertext)
	}
	return c, nil
}

// cannotOpen says why a key doesn't open a ciphertext.
func (st *keyState) cannotOpen(ciphertext []byte) error {
	switch id, err := KeyID(ciphertext); {
	case err != nil:
		return err
	case id != st.id:
		return fmt.Errorf("crypto: %w %08x: this is key %08x", ErrUnknownKey, id, st.id)
	case len(ciphertext) < suites[st.suite].overhead && st.live.Load() != nil:
		return ErrTruncated
	}
	return st.wiped()
}
