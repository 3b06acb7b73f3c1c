package crypto

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"sync"

	"github.com/structseal/structseal/internal/aad"
)

// A BlindIndexKey turns values into blind-index tags: HMAC-SHA-256 (RFC 2104,
// FIPS 198-1) cut to few bits on purpose, so that one tag stands for several
// values and equality can be searched without decrypting. It is safe for
// concurrent use and never prints its bytes. The zero key is unusable.
type BlindIndexKey struct {
	state func() *blindIndexState // a closure, and not alone, for the reasons given at Key
	_     int
}

type blindIndexState struct {
	mu  sync.RWMutex // keeps Wipe from clearing key under Append
	key []byte       // nil after Wipe
}

// indexKeySize is the length of an index root and of an index key in bytes.
const indexKeySize = 32

// DeriveBlindIndexKey derives the key of one index from the ring's index root
// (32 bytes) with HKDF-SHA256 (RFC 5869). The four names make the info, each
// with its length, so no two indexes share a key.
//
// Errors: ErrInvalidKey when root isn't 32 bytes or is all zero.
func DeriveBlindIndexKey(root []byte, ring, record, field, index string) (*BlindIndexKey, error) {
	if len(root) != indexKeySize {
		return nil, fmt.Errorf("crypto: %w: an index root has 32 bytes, not %d", ErrInvalidKey, len(root))
	}
	if subtle.ConstantTimeCompare(root, make([]byte, indexKeySize)) == 1 {
		return nil, fmt.Errorf("crypto: %w: all bytes of the index root are zero", ErrInvalidKey)
	}
	info := []byte("structseal/v1/index")
	for _, s := range []string{ring, record, field, index} {
		info = aad.AppendString(info, s)
	}
	key, err := hkdf.Key(sha256.New, root, nil, string(info), indexKeySize)
	if err != nil {
		return nil, fmt.Errorf("crypto: blind index: %w", err)
	}
	st := &blindIndexState{key: key}
	return &BlindIndexKey{state: func() *blindIndexState { return st }}, nil
}

// Append appends the tag of value, cut to bits (1 to 256), to dst: ceil(bits/8)
// bytes, the unused low bits of the last one zero.
//
// Errors: ErrWiped; ErrInvalidKey for the zero key or bits out of range.
func (k *BlindIndexKey) Append(dst, value []byte, bits int) ([]byte, error) {
	if k == nil || k.state == nil || bits < 1 || bits > 8*sha256.Size {
		return nil, fmt.Errorf("crypto: %w: blind index of %d bits", ErrInvalidKey, bits)
	}
	st := k.state()
	st.mu.RLock()
	defer st.mu.RUnlock()
	if st.key == nil {
		return nil, fmt.Errorf("crypto: blind index: %w", ErrWiped)
	}
	mac := hmac.New(sha256.New, st.key)
	mac.Write(value)
	var sum [sha256.Size]byte
	tag := mac.Sum(sum[:0])[:(bits+7)/8]
	if spare := len(tag)*8 - bits; spare > 0 {
		tag[len(tag)-1] &^= 1<<spare - 1
	}
	return append(dst, tag...), nil
}

// Wipe clears the key, also for copies of k; later calls of Append return
// ErrWiped. Wipe may be called more than once and at any time.
func (k *BlindIndexKey) Wipe() {
	if k == nil || k.state == nil {
		return
	}
	st := k.state()
	st.mu.Lock()
	defer st.mu.Unlock()
	clear(st.key)
	st.key = nil
}

// String names the type and nothing else.
func (k BlindIndexKey) String() string { return "crypto.BlindIndexKey" }

// GoString is String.
func (k BlindIndexKey) GoString() string { return k.String() }

// Format writes String for every verb.
func (k BlindIndexKey) Format(f fmt.State, verb rune) { redact(f, verb, k.String()) }

// LogValue logs String.
func (k BlindIndexKey) LogValue() slog.Value { return slog.StringValue(k.String()) }
