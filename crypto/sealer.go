package crypto

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
)

// A Sealer seals the values of a record, or of a few, with one read of randomness per
// 16 values. It is for one goroutine and one call of its user's: it holds random bytes
// for nonces, which must not outlive the call. The zero Sealer is ready for Reset.
type Sealer struct {
	// r is shared by copies of the Sealer. If each had its own, two copies would
	// use the same nonces, which is the end of AES-GCM. It is a closure, and not
	// alone, for the reasons given at Key.
	r func() *shared
	_ int
}

type shared struct {
	sealing
	frames []byte // of SealAllText: ciphertexts
	busy   atomic.Bool
}

// Reset starts a record, or several, of about n values together under k. Unused
// randomness of an earlier one is dropped.
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

// Drop forgets the key, and drops unused randomness: Reset announced more values than
// there were. The Sealer is ready for Reset again.
func (s *Sealer) Drop() {
	if s.r == nil {
		return
	}
	r := s.r()
	r.lock()
	defer r.busy.Store(false)
	r.drop()
}

func (r *sealing) drop() {
	r.key, r.w, r.want, r.left, r.unused = nil, nil, 0, 0, 0
	clear(r.random[:])
}

// unlock also drops what a call that failed, or panicked, leaves.
func (r *shared) unlock(done *bool) {
	if !*done {
		r.drop()
	}
	r.busy.Store(false)
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
	want   int // values announced and not yet sealed
	left   int // values that w may still seal, or that are counted already
	unused int // bytes of random not used yet, counted from the end
	random [sealerNonces * nonceSize]byte
}

// reset stores no pointer that is there already: see sealAll.
func (r *sealing) reset(k *Key, n int) error {
	if st := k.load(); r.key != st {
		r.key = st
	}
	if r.w != nil {
		r.w = nil
	}
	r.want, r.left, r.unused = n, 0, 0
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
func (r *sealing) nonce(n *[nonceSize]byte) { *n = [nonceSize]byte(r.nonces(1)) }

// nonces returns 12 fresh random bytes for each of n values, at most sealerNonces.
func (r *sealing) nonces(n int) []byte {
	if r.unused < n*nonceSize {
		r.unused = max(n, r.batch()) * nonceSize
		rand.Read(r.random[len(r.random)-r.unused:])
	}
	from := len(r.random) - r.unused
	r.unused -= n * nonceSize
	return r.random[from : from+n*nonceSize]
}

// batch is how many values to provide for at once.
func (r *sealing) batch() int { return min(max(r.want, 1), sealerNonces) }
