package crypto

import (
	"crypto/fips140"
	"fmt"
	"sync"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"
)

// sivKey is AES-256-SIV (RFC 5297) from Tink. Tink's object refers to the key
// bytes it was made from, so a lock keeps Wipe from clearing them under a call.
type sivKey struct {
	mu  sync.RWMutex
	key []byte
	siv *subtle.AESSIV
}

func newSIV(secret []byte) (*sivKey, error) {
	if err := sivAllowed(); err != nil {
		return nil, err
	}
	key := append([]byte(nil), secret...)
	siv, err := subtle.NewAESSIV(key)
	if err != nil {
		return nil, fmt.Errorf("crypto: %w", err)
	}
	return &sivKey{key: key, siv: siv}, nil
}

// sivAllowed refuses what the runtime would let pass: AES-SIV is built from
// CMAC and CTR, both approved, but is no approved mode itself.
func sivAllowed() error {
	if fips140.Enforced() {
		return fmt.Errorf("crypto: %s: %w", Deterministic, ErrNotApproved)
	}
	return nil
}

func (s *sivKey) seal(plaintext, aad []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.siv == nil {
		return nil, ErrWiped
	}
	if err := sivAllowed(); err != nil {
		return nil, err
	}
	return s.siv.EncryptDeterministically(plaintext, aad)
}

func (s *sivKey) open(body, aad []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.siv == nil {
		return nil, ErrWiped
	}
	if err := sivAllowed(); err != nil {
		return nil, err
	}
	out, err := s.siv.DecryptDeterministically(body, aad)
	if err != nil {
		return nil, ErrTampered
	}
	return out, nil
}

func (s *sivKey) wipe() {
	s.mu.Lock() // waits for the calls under way
	defer s.mu.Unlock()
	clear(s.key)
	s.siv = nil
}
