package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"encoding/binary"
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
	if suite == Default {
		// In one piece of memory: programs hold a key for each subject.
		c := new(struct {
			cipherState
			x xaes
		})
		c.cipherState = cipherState{id: id, suite: suite, xaes: &c.x}
		return &c.cipherState, c.x.init(secret)
	}
	c := &cipherState{id: id, suite: suite}
	var err error
	switch suite {
	case Compact:
		c.gcm = new(gcm)
		err = c.gcm.init(secret)
	case Deterministic:
		c.siv, err = newSIV(secret)
	}
	return c, err
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

func (g *gcm) init(key []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("crypto: %w", err)
	}
	g.makesNonces = fips140.Enforced()
	if g.makesNonces {
		g.aead, err = cipher.NewGCMWithRandomNonce(block)
	} else {
		g.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		return fmt.Errorf("crypto: %w", err)
	}
	return nil
}

// seal writes the ciphertext of text behind the nonce at frame[at:], to the end of
// frame. text is apart from frame or where place has put it. Where the mode makes
// nonces, that writes one.
func (g *gcm) seal(frame []byte, at int, text, aad []byte) {
	if g.makesNonces {
		g.aead.Seal(frame[:at], nil, text, aad)
		return
	}
	g.aead.Seal(frame[:at+nonceSize], frame[at:at+nonceSize], text, aad)
}

// placed returns where in body (nonce || ciphertext) the text must be for seal to
// encrypt it where it is.
func (g *gcm) placed(body []byte) []byte {
	if g.makesNonces {
		// The random-nonce form writes its nonce where dst ends, and wants the
		// plaintext exactly there or apart. It moves the text by itself.
		return body[:len(body)-nonceSize]
	}
	return body[nonceSize:]
}

// move copies src to dst, which has its length, unless it is there already.
func move(dst, src []byte) {
	if len(src) < longMove {
		copy(dst, src)
		return
	}
	moveLong(dst, src)
}

// longMove is from where on copy, on amd64, moves strings: slow when the text only moves
// by the 32 bytes of a commitment. From 1 MiB on it stores past the caches, although
// AES-GCM reads the bytes next.
const longMove = 2 << 10

func moveLong(dst, src []byte) {
	const megabyte = 1 << 20
	to, from := uintptr(unsafe.Pointer(&dst[0])), uintptr(unsafe.Pointer(&src[0]))
	piece := len(src)
	switch {
	case to == from:
		return
	case !overlaps(dst, src):
		if len(src) >= megabyte && len(src) < 8*megabyte { // more wouldn't stay in the caches
			piece = megabyte / 4
		}
	case to < from: // else the first pieces would be written over the last ones
		piece = longMove - 512
	}
	for len(src) > piece {
		copy(dst, src[:piece])
		dst, src = dst[piece:], src[piece:]
	}
	copy(dst, src)
}

// openElsewhere decrypts frame[start:] (nonce || ciphertext || tag) and appends the text,
// less the first skip bytes, which must be zero, to dst, when there isn't room for all of
// it behind dst.
func (g *gcm) openElsewhere(dst, frame []byte, start int, aad []byte, skip int) ([]byte, error) {
	body := frame[start:]
	n := len(body) - nonceSize - tagSize // of text
	size := n - skip                     // of it to append
	room := cap(dst) - len(dst)

	// In place: the caller wants the plaintext where the ciphertext is, and what
	// dst holds is out of the way. AEADs refuse inexact overlaps, so the text
	// appears over the ciphertext first and moves then.
	fits := room >= size && !overlaps(dst[len(dst):len(dst)+size], aad)
	if over := g.inPlace(body); fits && overlaps(dst[len(dst):len(dst)+size], frame) &&
		!overlaps(dst, over) && !overlaps(over, aad) {
		out, err := g.decrypt(over[:0], body, aad, skip)
		if err != nil {
			return nil, err
		}
		to := dst[len(dst) : len(dst)+size]
		move(to, out[skip:])
		clearExcept(out, to)
		return dst[:len(dst)+size], nil
	}

	// In new memory. The skipped bytes make place for what dst holds.
	out, err := g.decrypt(make([]byte, len(dst), len(dst)+n), body, aad, skip)
	if err != nil {
		return nil, err
	}
	if fits { // dst has room for the plaintext, but not for the skipped bytes
		text := out[len(dst):]
		dst = append(dst, text[skip:]...)
		clear(text)
		return dst, nil
	}
	out = out[skip:]
	copy(out, dst)
	return out, nil
}

// inPlace returns the part of body that decrypt can write to while it reads.
func (g *gcm) inPlace(body []byte) []byte {
	if g.makesNonces {
		return body
	}
	return body[nonceSize:]
}

// decrypt appends the text of body to dst, which has room for it, and checks
// that it starts with skip zero bytes.
func (g *gcm) decrypt(dst, body, aad []byte, skip int) ([]byte, error) {
	var out []byte
	var err error
	if g.makesNonces {
		out, err = g.aead.Open(dst, nil, body, aad)
	} else {
		out, err = g.aead.Open(dst, body[:nonceSize], body[nonceSize:], aad)
	}
	if err != nil {
		return nil, ErrTampered
	}
	// Key commitment: without this check a ciphertext could be made to open
	// under two keys (partitioning oracles, "invisible salamanders").
	if text := out[len(dst):]; skip > 0 && !committed(text) {
		clear(text)
		return nil, ErrTampered
	}
	return out, nil
}

// committed reports whether a text starts with the 32 zero bytes, in a time that
// doesn't depend on where they end. It looks at eight bytes at a time, because
// subtle.ConstantTimeCompare looks at one.
func committed(text []byte) bool {
	c := (*[commitSize]byte)(text)
	var or uint64
	for i := 0; i < commitSize; i += 8 {
		or |= binary.LittleEndian.Uint64(c[i:])
	}
	return or == 0
}

// grow returns dst with room for n more bytes that aren't keep's, so that keep
// survives writing them.
func grow(dst []byte, n int, keep []byte) []byte {
	if cap(dst)-len(dst) >= n && !overlaps(dst[len(dst):len(dst)+n], keep) {
		return dst
	}
	out := make([]byte, len(dst), len(dst)+n)
	copy(out, dst)
	return out
}

// overlaps reports whether a and b share memory.
func overlaps(a, b []byte) bool {
	between := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(a)))
	return len(a) > 0 && len(b) > 0 && (between < uintptr(len(a)) || -between < uintptr(len(b)))
}

// clearExcept clears what of b is not in keep.
func clearExcept(b, keep []byte) {
	if !overlaps(b, keep) {
		clear(b)
		return
	}
	from := int(uintptr(unsafe.Pointer(&keep[0])) - uintptr(unsafe.Pointer(&b[0])))
	clear(b[:min(max(from, 0), len(b))])
	clear(b[min(max(from+len(keep), 0), len(b)):])
}

// stringBytes views a string as bytes that must not be written to.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
