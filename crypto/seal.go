package crypto

import (
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
// Seal is safe for concurrent use.
//
// Errors: ErrWiped, ErrTooLarge, ErrNotApproved (Deterministic in enforced FIPS
// 140 mode); for Compact ErrExhausted and what [Key.Meter] returns. On error the result is nil and dst is unchanged up to its length.
func (k *Key) Seal(dst, plaintext, context []byte) ([]byte, error) {
	var r sealing
	if err := r.reset(k, 1); err != nil {
		return nil, err
	}
	return r.seal(dst, plaintext, context)
}

// seal is [Key.Seal] under the key given to reset.
func (r *sealing) seal(dst, plaintext, context []byte) ([]byte, error) {
	c, err := r.live()
	if err != nil {
		return nil, err
	}
	if err := checkSize(c.suite, len(dst), len(plaintext)); err != nil {
		return nil, err
	}
	start := len(dst)
	switch c.suite {
	case Default:
		w, err := r.writer(c.xaes)
		if err != nil {
			return nil, err
		}
		const at = prefixSize + saltSize
		const text = at + nonceSize + commitSize
		buf := grow(dst, len(plaintext)+suites[Default].overhead, context)[:start+text+len(plaintext)]
		frame := buf[start:]
		copy(frame[text:], plaintext) // first: dst may overlap plaintext
		putPrefix(frame, c.id)
		copy(frame[prefixSize:], w.salt[:])
		copy(frame[at+nonceSize:], zeros[:])
		nonce := r.nonceFor(&w.gcm)
		r.want--
		return w.seal(buf, start+at, nonce, context), nil
	case Compact:
		const text = prefixSize + nonceSize
		if err := r.count(c, 1); err != nil {
			return nil, err
		}
		buf := grow(dst, len(plaintext)+suites[Compact].overhead, context)[:start+text+len(plaintext)]
		frame := buf[start:]
		apart := !overlaps(buf[start:cap(buf)], plaintext)
		if !apart {
			copy(frame[text:], plaintext)
		}
		putPrefix(frame, c.id)
		nonce := r.nonceFor(c.gcm)
		r.want--
		if apart { // there is nothing to move
			return c.gcm.sealFrom(buf, start+prefixSize, nonce, plaintext, context), nil
		}
		return c.gcm.seal(buf, start+prefixSize, nonce, context), nil
	default:
		body, err := c.siv.seal(plaintext, context)
		if err != nil {
			return nil, err
		}
		var prefix [prefixSize]byte
		putPrefix(prefix[:], c.id)
		return append(append(grow(dst, prefixSize+len(body), context), prefix[:]...), body...), nil
	}
}

// count takes n messages of the compact suite from the key's allowance.
func (r *sealing) count(c *cipherState, n int) error {
	if r.left < n {
		// Once per record: a count that all cores write to is not free.
		more := max(n-r.left, min(r.batch(), sealerNonces))
		if err := r.key.meter.take(more); err != nil {
			return fmt.Errorf("crypto: key %08x: %w", c.id, err)
		}
		r.left += more
	}
	r.left -= n
	return nil
}

// checkSize refuses what AES-GCM can't seal and what the machine can't address.
func checkSize(s Suite, dst, plaintext int) error {
	if int64(plaintext) > MaxPlaintext || plaintext > math.MaxInt-dst-s.Overhead() {
		return fmt.Errorf("crypto: %w: %d bytes", ErrTooLarge, plaintext)
	}
	return nil
}

func putPrefix(frame []byte, id uint32) {
	frame[0] = 1
	binary.BigEndian.PutUint32(frame[1:], id)
}
