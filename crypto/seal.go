package crypto

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
)

// Seal appends the sealed plaintext to dst and returns the extended slice.
// context is what binds the ciphertext to its place ([Context.Append] makes
// one); Open needs the same bytes. dst may share memory with plaintext; it must
// not share memory with context. plaintext and context aren't changed, unless
// dst overlaps plaintext.
//
// Seal is safe for concurrent use.
//
// Errors: ErrWiped, ErrTooLarge, ErrNotApproved (Deterministic in enforced FIPS
// 140 mode). On error the result is nil and dst is unchanged up to its length.
func (k *Key) Seal(dst, plaintext, context []byte) ([]byte, error) {
	var s Sealer
	if err := s.Reset(k, 1); err != nil {
		return nil, err
	}
	return s.Seal(dst, plaintext, context)
}

// sealerNonces is how many nonces a Sealer reads at once.
const sealerNonces = 16

// A Sealer seals the values of one record with one look at the key and one read
// of randomness per 16 values. It is for one goroutine and one record: it holds
// random bytes for nonces that must not outlive the call. The zero Sealer is
// ready for Reset.
type Sealer struct {
	c      *cipherState
	sub    *subkey
	want   int // values announced and not yet provided for
	left   int // values that sub may still seal
	unused int // bytes of random not used yet, counted from the end
	random [sealerNonces * nonceSize]byte
}

// Reset starts a record of about n values under k. Unused randomness of an
// earlier record is dropped.
//
// Errors: ErrWiped.
func (s *Sealer) Reset(k *Key, n int) error {
	s.c, s.sub, s.want, s.left, s.unused = nil, nil, n, 0, 0
	st := k.load()
	if st == nil {
		return ErrWiped
	}
	if s.c = st.live.Load(); s.c == nil {
		return fmt.Errorf("crypto: key %08x: %w", st.id, ErrWiped)
	}
	return nil
}

// nonce returns 12 fresh random bytes.
func (s *Sealer) nonce() *[nonceSize]byte {
	if s.unused == 0 {
		s.unused = s.batch() * nonceSize
		rand.Read(s.random[len(s.random)-s.unused:])
	}
	n := (*[nonceSize]byte)(s.random[len(s.random)-s.unused:])
	s.unused -= nonceSize
	return n
}

// subkey returns the subkey for one value.
func (s *Sealer) subkey() (*subkey, error) {
	if s.left == 0 {
		n := s.batch()
		sub, err := s.c.xaes.reserve(uint32(n))
		if err != nil {
			return nil, err
		}
		s.sub, s.left = sub, n
	}
	s.left--
	return s.sub, nil
}

// batch is how many values to provide for at once.
func (s *Sealer) batch() int { return min(max(s.want, 1), sealerNonces) }

// Seal is [Key.Seal] under the key given to Reset.
func (s *Sealer) Seal(dst, plaintext, context []byte) ([]byte, error) {
	if s.c == nil {
		return nil, ErrWiped
	}
	if uint64(len(plaintext)) > MaxPlaintext {
		return nil, fmt.Errorf("crypto: %w: %d bytes", ErrTooLarge, len(plaintext))
	}
	c, start := s.c, len(dst)
	switch c.suite {
	case Default:
		sub, err := s.subkey()
		if err != nil {
			return nil, err
		}
		const at = prefixSize + saltSize
		const text = at + nonceSize + commitSize
		buf := grow(dst, suites[Default].overhead+len(plaintext))[:start+text+len(plaintext)]
		frame := buf[start:]
		copy(frame[text:], plaintext) // first: dst may overlap plaintext
		putPrefix(frame, c.id)
		copy(frame[prefixSize:], sub.salt[:])
		copy(frame[at+nonceSize:], zeros[:])
		nonce := s.nonceFor(sub.gcm)
		s.want--
		return sub.seal(buf, start+at, nonce, context), nil
	case Compact:
		const text = prefixSize + nonceSize
		buf := grow(dst, suites[Compact].overhead+len(plaintext))[:start+text+len(plaintext)]
		frame := buf[start:]
		copy(frame[text:], plaintext)
		putPrefix(frame, c.id)
		nonce := s.nonceFor(c.gcm)
		s.want--
		return c.gcm.seal(buf, start+prefixSize, nonce, context), nil
	default:
		body, err := c.siv.seal(plaintext, context)
		if err != nil {
			return nil, err
		}
		var prefix [prefixSize]byte
		putPrefix(prefix[:], c.id)
		return append(append(dst, prefix[:]...), body...), nil
	}
}

// nonceFor reads no randomness where the mode makes its own nonces.
func (s *Sealer) nonceFor(g *gcm) *[nonceSize]byte {
	if g.makesNonces {
		return nil
	}
	return s.nonce()
}

func putPrefix(frame []byte, id uint32) {
	frame[0] = 1
	binary.BigEndian.PutUint32(frame[1:], id)
}
