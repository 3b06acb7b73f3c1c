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
	body := ciphertext[prefixSize:]
	switch c.suite {
	case Default:
		sub, err := c.xaes.reading((*[saltSize]byte)(body))
		if err != nil {
			return nil, err
		}
		return sub.open(dst, ciphertext, prefixSize+saltSize, context, commitSize)
	case Compact:
		return c.gcm.open(dst, ciphertext, prefixSize, context, 0)
	default:
		out, err := c.siv.open(body, context)
		if err != nil {
			return nil, err
		}
		dst = append(grow(dst, len(out), context), out...)
		clear(out) // no second copy of the plaintext stays behind
		return dst, nil
	}
}
