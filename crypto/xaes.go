package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// A writer keeps a salt and its subkey for this many messages and this
	// long. With q messages a salt and N in all, two messages share subkey and
	// nonce with a chance of about N(q-1)/2^97 + N^2/2^193: 2^55 messages at
	// 2^-32. docs/format.md has the derivation.
	saltMessages = 1024
	saltAge      = time.Second

	// Readers keep this many derived subkeys per key, about 0.7 MB when full.
	// Power of two.
	subkeyCacheSize = 512
)

// xaes derives subkeys as XAES-256-GCM does (C2SP XAES-256-GCM; NIST SP
// 800-108r1 KDF in counter mode with CMAC).
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte

	writing atomic.Pointer[writer]
	// cache is indexed by two bytes of the salt. Salts are random, so entries
	// spread evenly; an attacker who picks colliding salts only makes reads
	// derive again. It lives and dies with the key object, so that no subkey is
	// ever found by anything but the key it belongs to.
	cache [subkeyCacheSize]atomic.Pointer[subkey]
}

type subkey struct {
	salt [saltSize]byte
	*gcm
}

type writer struct {
	*subkey
	born time.Time
	used atomic.Uint32
}

func newXAES(key []byte) (*xaes, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("crypto: %w", err)
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	// Double in GF(2^128), in constant time.
	msb := byte(0)
	for i := len(x.k1) - 1; i >= 0; i-- {
		b := x.k1[i]
		x.k1[i] = b<<1 | msb
		msb = b >> 7
	}
	x.k1[len(x.k1)-1] ^= msb * 0x87
	return x, nil
}

// derive computes the AES-GCM key of a salt.
func (x *xaes) derive(salt *[saltSize]byte) (key [32]byte) {
	copy(key[:], []byte{0, 1, 'X', 0})
	copy(key[4:], salt[:])
	copy(key[16:], []byte{0, 2, 'X', 0})
	copy(key[20:], salt[:])
	for i, b := range x.k1 {
		key[i] ^= b
		key[16+i] ^= b
	}
	x.block.Encrypt(key[:16], key[:16])
	x.block.Encrypt(key[16:], key[16:])
	return key
}

func (x *xaes) newSubkey(salt *[saltSize]byte) (*subkey, error) {
	key := x.derive(salt)
	defer clear(key[:])
	g, err := newGCM(key[:])
	if err != nil {
		return nil, err
	}
	return &subkey{salt: *salt, gcm: g}, nil
}

// reading returns the subkey of a salt that a ciphertext names.
func (x *xaes) reading(salt *[saltSize]byte) (*subkey, error) {
	slot := &x.cache[binary.LittleEndian.Uint16(salt[:])%subkeyCacheSize]
	if s := slot.Load(); s != nil && s.salt == *salt {
		return s, nil
	}
	s, err := x.newSubkey(salt)
	if err != nil {
		return nil, err
	}
	slot.Store(s)
	return s, nil
}

// reserve returns a subkey for n (at most saltMessages) new messages.
func (x *xaes) reserve(n uint32) (*subkey, error) {
	if w := x.writing.Load(); w != nil && w.used.Add(n) <= saltMessages && time.Since(w.born) < saltAge {
		return w.subkey, nil
	}
	// Racing writers each make a subkey of their own; the last one is kept.
	var salt [saltSize]byte
	rand.Read(salt[:])
	s, err := x.newSubkey(&salt)
	if err != nil {
		return nil, err
	}
	w := &writer{subkey: s, born: time.Now()}
	w.used.Store(n)
	x.writing.Store(w)
	// What was just written is often read next.
	x.cache[binary.LittleEndian.Uint16(salt[:])%subkeyCacheSize].Store(s)
	return s, nil
}

func (x *xaes) wipe() {
	clear(x.k1[:])
	x.writing.Store(nil)
	for i := range x.cache {
		x.cache[i].Store(nil)
	}
}
