package crypto

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
)

// Seal appends the sealed plaintext to dst and returns the extended slice.
// context is what binds the ciphertext to its place ([Context.Append] makes
// one); Open needs the same bytes. dst may share memory with the other
// arguments. plaintext is changed only where the result is written over it;
// context is never changed: if the result would be written over it, the result
// is in new memory.
//
// Large values are best sealed in place: a plaintext that lies in dst's memory
// where the ciphertext has it, [Suite.Headroom] bytes behind len(dst), is
// encrypted there and not moved before (but under GODEBUG=fips140=only). dst needs
// capacity for the whole ciphertext, else the result is in new memory.
//
// Seal is safe for concurrent use.
//
// Errors: ErrWiped, ErrTooLarge, ErrNotApproved (Deterministic in enforced FIPS
// 140 mode); for Compact ErrExhausted and what [Key.Meter] returns. On error the
// result is nil and dst is unchanged up to its length.
func (k *Key) Seal(dst, plaintext, context []byte) ([]byte, error) {
	st := k.load()
	c, err := st.cipher()
	if err != nil {
		return nil, err
	}
	if tooLarge(c.suite, len(dst), len(plaintext)) {
		return nil, errTooLarge(len(plaintext))
	}
	switch c.suite {
	case Default:
		w, err := c.xaes.reserve(1)
		if err != nil {
			return nil, err
		}
		return w.seal(c.id, nil, dst, plaintext, context), nil
	case Compact:
		if err := st.take(1); err != nil {
			return nil, err
		}
		return c.gcm.sealCompact(c.id, nil, dst, plaintext, context), nil
	default:
		return c.sealSIV(dst, plaintext, context)
	}
}

// seal is [Key.Seal] under the key given to reset.
func (r *sealing) seal(dst, plaintext, context []byte) ([]byte, error) {
	c, err := r.key.cipher()
	if err != nil {
		return nil, err
	}
	if tooLarge(c.suite, len(dst), len(plaintext)) {
		return nil, errTooLarge(len(plaintext))
	}
	switch c.suite {
	case Default:
		w, err := r.writer(c.xaes)
		if err != nil {
			return nil, err
		}
		dst = w.seal(c.id, r, dst, plaintext, context)
	case Compact:
		if err := r.count(1); err != nil {
			return nil, err
		}
		dst = c.gcm.sealCompact(c.id, r, dst, plaintext, context)
	default:
		return c.sealSIV(dst, plaintext, context)
	}
	r.want--
	return dst, nil
}

// seal appends the frame of the default suite. The nonce is the next of r, or a fresh
// one without r.
func (s *subkey) seal(id uint32, r *sealing, dst, plaintext, context []byte) []byte {
	const at = prefixSize + saltSize // of the nonce
	start, size := len(dst), at+nonceSize+commitSize+len(plaintext)+tagSize
	buf := grow(dst, size, context)[:start+size]
	frame := buf[start:]
	text := s.placed(frame[at : size-tagSize])
	move(text[commitSize:], plaintext) // first: dst may overlap plaintext
	*(*[commitSize]byte)(text) = [commitSize]byte{}
	putPrefix(frame, id)
	*(*[saltSize]byte)(frame[prefixSize:]) = s.salt
	s.sealFresh(r, frame, at, text, context)
	return buf
}

// sealCompact appends the frame of the compact suite, as seal of a subkey does that of
// the default suite.
func (g *gcm) sealCompact(id uint32, r *sealing, dst, plaintext, context []byte) []byte {
	const at = prefixSize
	start, size := len(dst), at+nonceSize+len(plaintext)+tagSize
	buf := grow(dst, size, context)[:start+size]
	frame := buf[start:]
	if overlaps(frame, plaintext) {
		text := g.placed(frame[at : size-tagSize])
		move(text, plaintext)
		plaintext = text
	}
	putPrefix(frame, id)
	g.sealFresh(r, frame, at, plaintext, context)
	return buf
}

// sealFresh is seal with a nonce that nothing has used: the next of r, or one of its own
// without r.
func (g *gcm) sealFresh(r *sealing, frame []byte, at int, text, aad []byte) {
	if !g.makesNonces {
		nonce := (*[nonceSize]byte)(frame[at:])
		if r == nil {
			rand.Read(nonce[:])
		} else {
			r.nonce(nonce)
		}
	}
	g.seal(frame, at, text, aad)
}

func (c *cipherState) sealSIV(dst, plaintext, context []byte) ([]byte, error) {
	body, err := c.siv.seal(plaintext, context)
	if err != nil {
		return nil, err
	}
	var prefix [prefixSize]byte
	putPrefix(prefix[:], c.id)
	return append(append(grow(dst, prefixSize+len(body), context), prefix[:]...), body...), nil
}

// count takes n messages of the compact suite from the key's allowance.
func (r *sealing) count(n int) error {
	if r.left < n {
		// Once per record: a count that all cores write to is not free.
		more := max(n-r.left, min(r.batch(), sealerNonces))
		if err := r.key.take(more); err != nil {
			return err
		}
		r.left += more
	}
	r.left -= n
	return nil
}

// take is [meter.take] of a key of the compact suite.
func (st *keyState) take(n int) error {
	if err := st.meter.take(n); err != nil {
		return fmt.Errorf("crypto: key %08x: %w", st.id, err)
	}
	return nil
}

// tooLarge tells what AES-GCM can't seal and what the machine can't address.
func tooLarge(s Suite, dst, plaintext int) bool {
	return int64(plaintext) > MaxPlaintext || plaintext > math.MaxInt-dst-suites[s].overhead
}

func errTooLarge(n int) error { return fmt.Errorf("crypto: %w: %d bytes", ErrTooLarge, n) }

func putPrefix(frame []byte, id uint32) {
	frame[0] = 1
	binary.BigEndian.PutUint32(frame[1:], id)
}
