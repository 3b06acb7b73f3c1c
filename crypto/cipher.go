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

// movePiece is below 1 MiB, from where on copying goes past the processor's caches on
// amd64, although AES-GCM reads or the caller uses the bytes next.
const movePiece = 256 << 10

// move copies src to dst, which has its length, unless it is there already.
func move(dst, src []byte) {
	if len(src) == 0 || &dst[0] == &src[0] {
		return
	}
	if len(src) > movePiece && (uintptr(unsafe.Pointer(&dst[0])) < uintptr(unsafe.Pointer(&src[0])) || !overlaps(dst, src)) {
		for len(src) > movePiece {
			copy(dst, src[:movePiece])
			dst, src = dst[movePiece:], src[movePiece:]
		}
	}
	copy(dst, src)
}

// open decrypts frame[start:] (nonce || ciphertext || tag) and appends the text,
// less the first skip bytes, which must be zero, to dst.
func (g *gcm) open(dst, frame []byte, start int, aad []byte, skip int) ([]byte, error) {
	body := frame[start:]
	n := len(body) - nonceSize - tagSize // of text
	size := n - skip                     // of it to append
	room := cap(dst) - len(dst)

	// Behind dst; then the text moves to the front, over the skipped bytes.
	if room >= n {
		if to := dst[len(dst) : len(dst)+n]; !overlaps(to, frame) && !overlaps(to, aad) {
			out, err := g.decrypt(dst, body, aad, skip)
			if err != nil {
				return nil, err
			}
			text := out[len(dst):]
			move(text[:size], text[skip:])
			clear(text[size:]) // what moving left behind
			return out[:len(dst)+size], nil
		}
	}

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
		at := len(dst)
		dst = append(dst, out[skip:]...)
		clearExcept(out, dst[at:])
		return dst, nil
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
