package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/subtle"
	"fmt"
	"unsafe"
)

// cipherState is what a live key computes with: one of the three suites.
type cipherState struct {
	id    uint32
	suite Suite
	xaes  *xaes   // Default
	gcm   *gcm    // Compact
	siv   *sivKey // Deterministic
}

func newCipherState(suite Suite, id uint32, secret []byte) (*cipherState, error) {
	c := &cipherState{id: id, suite: suite}
	var err error
	switch suite {
	case Default:
		c.xaes, err = newXAES(secret)
	case Compact:
		c.gcm, err = newGCM(secret)
	case Deterministic:
		c.siv, err = newSIV(secret)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *cipherState) wipe() {
	if c.xaes != nil {
		c.xaes.wipe()
	}
	if c.siv != nil {
		c.siv.wipe()
	}
}

// gcm is AES-256-GCM in the form the running mode allows. Both forms read and
// write nonce || ciphertext || tag.
type gcm struct {
	aead        cipher.AEAD
	makesNonces bool // NewGCMWithRandomNonce: the only one FIPS-only mode has
}

func newGCM(key []byte) (*gcm, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("crypto: %w", err)
	}
	g := &gcm{makesNonces: fips140.Enforced()}
	if g.makesNonces {
		g.aead, err = cipher.NewGCMWithRandomNonce(block)
	} else {
		g.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		return nil, fmt.Errorf("crypto: %w", err)
	}
	return g, nil
}

// seal encrypts buf[at+nonceSize:] in place. buf has room for the tag behind
// it; nonce is copied to buf[at:], unless the mode makes its own.
func (g *gcm) seal(buf []byte, at int, nonce *[nonceSize]byte, aad []byte) []byte {
	body := buf[at+nonceSize:]
	if g.makesNonces {
		// The random-nonce form writes its nonce where dst ends, and wants the
		// plaintext exactly there or apart. It moves the text by itself.
		copy(buf[at:], body)
		return g.aead.Seal(buf[:at], nil, buf[at:at+len(body)], aad)
	}
	copy(buf[at:], nonce[:])
	return g.aead.Seal(buf[:at+nonceSize], buf[at:at+nonceSize], body, aad)
}

// open decrypts body (nonce || ciphertext || tag) and appends the text, less
// the first skip bytes, which must be zero, to dst.
func (g *gcm) open(dst, body, aad []byte, skip int) ([]byte, error) {
	n := len(body) - nonceSize - tagSize
	// Where to decrypt to: behind dst; over the ciphertext, if that is what dst
	// overlaps (AEADs refuse partial overlaps); else to new memory, in which
	// the skipped bytes make place for what dst holds.
	var buf []byte
	at := len(dst)
	switch {
	case cap(dst)-len(dst) >= n && !overlaps(dst[len(dst):len(dst)+n], body):
		buf = dst
	case overlaps(dst[:cap(dst)], body):
		buf, at = body[nonceSize:], 0
		if g.makesNonces {
			buf = body
		}
	default:
		buf = make([]byte, at, at+n)
	}
	var out []byte
	var err error
	if g.makesNonces {
		out, err = g.aead.Open(buf[:at], nil, body, aad)
	} else {
		out, err = g.aead.Open(buf[:at], body[:nonceSize], body[nonceSize:], aad)
	}
	if err != nil {
		return nil, ErrTampered
	}
	// Key commitment: without this check a ciphertext could be made to open
	// under two keys (partitioning oracles, "invisible salamanders").
	if text := out[at:]; subtle.ConstantTimeCompare(text[:skip], zeros[:skip]) != 1 {
		clear(text)
		return nil, ErrTampered
	}
	if at == len(dst) && cap(buf) != cap(dst) { // new memory
		copy(out[skip:], dst)
		return out[skip:], nil
	}
	return append(dst, out[at+skip:]...), nil
}

var zeros [commitSize]byte

// grow returns dst with room for n more bytes.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	out := make([]byte, len(dst), len(dst)+n)
	copy(out, dst)
	return out
}

// overlaps reports whether a and b share memory.
func overlaps(a, b []byte) bool {
	return len(a) > 0 && len(b) > 0 &&
		uintptr(unsafe.Pointer(&a[0])) <= uintptr(unsafe.Pointer(&b[len(b)-1])) &&
		uintptr(unsafe.Pointer(&b[0])) <= uintptr(unsafe.Pointer(&a[len(a)-1]))
}

// stringBytes views a string as bytes that must not be written to.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
