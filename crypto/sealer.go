package crypto

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
)

// A Sealer seals the values of one record with one read of randomness per 16
// values. It is for one goroutine and one record: it holds random bytes for
// nonces that must not outlive the call. The zero Sealer is ready for Reset.
type Sealer struct {
	// r is shared by copies of the Sealer. If each had its own, two copies would
	// use the same nonces, which is the end of AES-GCM. It is a closure, and not
	// alone, for the reasons given at Key.
	r func() *shared
	_ int
}

type shared struct {
	sealing
	busy atomic.Bool
}

// Reset starts a record of about n values under k. Unused randomness of an
// earlier record is dropped.
//
// Errors: ErrWiped.
func (s *Sealer) Reset(k *Key, n int) error {
	r := s.shared()
	r.lock()
	defer r.busy.Store(false)
	return r.reset(k, n)
}

func (s *Sealer) shared() *shared {
	if s.r == nil {
		fresh := new(shared)
		s.r = func() *shared { return fresh }
	}
	return s.r()
}

// Seal is [Key.Seal] under the key given to Reset.
//
// It panics when two goroutines use the Sealer at once: they would use the same
// nonces.
func (s *Sealer) Seal(dst, plaintext, context []byte) ([]byte, error) {
	if s.r == nil {
		return nil, fmt.Errorf("crypto: sealer without a key: %w", ErrWiped)
	}
	r := s.r()
	r.lock()
	defer r.busy.Store(false)
	return r.seal(dst, plaintext, context)
}

func (r *shared) lock() {
	if !r.busy.CompareAndSwap(false, true) {
		panic("crypto: concurrent use of a Sealer")
	}
}

// sealerNonces is how many nonces a record reads at once.
const sealerNonces = 16

// sealing is what seals the values of one record: the key, and what is provided
// for values to come.
type sealing struct {
	key    *keyState
	w      *writer
	want   int // values announced and not yet provided for
	left   int // values that w may still seal, or that are counted already
	unused int // bytes of random not used yet, counted from the end
	random [sealerNonces * nonceSize]byte
}

func (r *sealing) reset(k *Key, n int) error {
	r.key, r.w, r.want, r.left, r.unused = k.load(), nil, n, 0, 0
	_, err := r.key.cipher()
	return err
}

// writer returns the subkey for one value.
func (r *sealing) writer(x *xaes) (*writer, error) {
	// A reservation ends with its salt: a record may take its time.
	if r.left == 0 || !r.w.fresh() {
		n := r.batch()
		w, err := x.reserve(uint32(n))
		if err != nil {
			return nil, err
		}
		r.w, r.left = w, n
	}
	r.left--
	return r.w, nil
}

// nonce writes 12 fresh random bytes to n.
func (r *sealing) nonce(n *[nonceSize]byte) {
	if r.unused == 0 {
		r.unused = r.batch() * nonceSize
		rand.Read(r.random[len(r.random)-r.unused:])
	}
	*n = [nonceSize]byte(r.random[len(r.random)-r.unused:])
	r.unused -= nonceSize
}

// batch is how many values to provide for at once.
func (r *sealing) batch() int { return min(max(r.want, 1), sealerNonces) }
