package fakeazure

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// keyWrap is RFC 3394, section 2.2.1.
func keyWrap(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil || len(key)%8 != 0 || len(key) < 16 {
		return nil, errors.New("key wrap")
	}
	out := append([]byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}, key...)
	n := uint64(len(key) / 8)
	var b [16]byte
	for t := uint64(1); t <= 6*n; t++ {
		r := out[8*((t-1)%n+1):][:8]
		copy(b[:8], out[:8])
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		binary.BigEndian.PutUint64(out[:8], binary.BigEndian.Uint64(b[:8])^t)
		copy(r, b[8:])
	}
	return out, nil
}

// keyUnwrap is RFC 3394, section 2.2.2.
func keyUnwrap(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil || len(wrapped)%8 != 0 || len(wrapped) < 24 {
		return nil, errors.New("key unwrap")
	}
	out := append([]byte(nil), wrapped...)
	n := uint64(len(wrapped)/8 - 1)
	var b [16]byte
	for t := 6 * n; t >= 1; t-- {
		r := out[8*((t-1)%n+1):][:8]
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(out[:8])^t)
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(out[:8], b[:8])
		copy(r, b[8:])
	}
	if subtle.ConstantTimeCompare(out[:8], []byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}) != 1 {
		return nil, errors.New("key unwrap")
	}
	return out[8:], nil
}
