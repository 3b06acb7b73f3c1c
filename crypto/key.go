package crypto

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/structseal/structseal/internal/secretaccess"
)

// A Key seals and opens with one suite under one key id. It is safe for
// concurrent use and never prints its bytes.
//
// The zero Key is unusable; make one with [NewKey].
type Key struct {
	// state is a closure and not a pointer: printers that walk unexported
	// fields by reflection (spew, kr/pretty, failing assertions) follow
	// pointers into the key bytes, but can't look into a function.
	state func() *keyState
	// A struct of one pointer-shaped word is stored in an interface as that
	// word. Some of those printers mistake it for an address, and the program
	// dies. Two words are safe.
	_ int
}

type keyState struct {
	id    uint32
	suite Suite

	// live is what seals and opens; Wipe sets it to nil. One load per call.
	live atomic.Pointer[cipherState]

	mu     sync.Mutex
	secret []byte   // guarded by mu; in bytes
	bytes  [64]byte // of any suite

	meter *meter // of Compact
}

// CheckSize is the length of a key check value in bytes.
const CheckSize = 32

// NewKey returns a key of the suite under a Tink key id. It copies secret,
// whose length must be suite.KeySize(); the caller wipes its own copy.
//
// Errors: ErrInvalidKey (length, id 0, all-zero bytes); ErrNotApproved for
// Deterministic while FIPS 140 mode is enforced.
func NewKey(suite Suite, id uint32, secret []byte) (*Key, error) {
	if !suite.valid() {
		return nil, fmt.Errorf("crypto: %w: unknown suite %d", ErrInvalidKey, uint8(suite))
	}
	if len(secret) != suite.KeySize() {
		return nil, fmt.Errorf("crypto: %w: %s takes %d bytes, not %d", ErrInvalidKey, suite, suite.KeySize(), len(secret))
	}
	if id == 0 {
		return nil, fmt.Errorf("crypto: %w: id 0 is reserved", ErrInvalidKey)
	}
	// A KMS or store that answers with zeros must not become a key.
	if subtle.ConstantTimeCompare(secret, make([]byte, len(secret))) == 1 {
		return nil, fmt.Errorf("crypto: %w: all bytes are zero", ErrInvalidKey)
	}
	live, err := newCipherState(suite, id, secret)
	if err != nil {
		return nil, err
	}
	st := &keyState{id: id, suite: suite}
	st.secret = append(st.bytes[:0], secret...)
	if suite == Compact {
		st.meter = new(meter)
		st.meter.allowed.Store(CompactMessages)
	}
	st.live.Store(live)
	return &Key{state: func() *keyState { return st }}, nil
}

// Check returns the 32-byte check value of key bytes used for purpose: HKDF-
// SHA256 (RFC 5869) with no salt and the info "structseal/v1/check/" and the
// purpose. It is public: it tells whether two copies of a key are equal and
// nothing else about a random key.
//
// Errors: whatever HKDF returns (secrets below 14 bytes in FIPS 140 mode).
func Check(purpose string, secret []byte) (c [CheckSize]byte, err error) {
	out, err := hkdf.Key(sha256.New, secret, nil, "structseal/v1/check/"+purpose, CheckSize)
	if err != nil {
		return c, fmt.Errorf("crypto: key check: %w", err)
	}
	copy(c[:], out)
	return c, nil
}

func (k *Key) load() *keyState {
	if k == nil || k.state == nil {
		return nil
	}
	return k.state()
}

// cipher returns what to compute with. It is asked for every value, so that Wipe
// also stops records that are under way.
func (st *keyState) cipher() (*cipherState, error) {
	if st != nil {
		if c := st.live.Load(); c != nil {
			return c, nil
		}
	}
	return nil, st.wiped()
}

func (st *keyState) wiped() error {
	if st == nil {
		return ErrWiped
	}
	return fmt.Errorf("crypto: key %08x: %w", st.id, ErrWiped)
}

// ID returns the Tink key id; 0 for the zero Key.
func (k *Key) ID() uint32 {
	if st := k.load(); st != nil {
		return st.id
	}
	return 0
}

// Suite returns the suite; 0 for the zero Key.
func (k *Key) Suite() Suite {
	if st := k.load(); st != nil {
		return st.suite
	}
	return 0
}

// Check returns the key check value: [Check] for the suite's name. A key that was
// wiped has none, and it is zero.
func (k *Key) Check() (c [CheckSize]byte) {
	st := k.load()
	if st == nil {
		return c
	}
	// Not when the key is made: most keys, those of subjects, are never asked.
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.secret != nil {
		c, _ = Check(st.suite.String(), st.secret) // long enough for any mode
	}
	return c
}

// Wipe clears the key and drops all subkeys derived from it. Calls under way
// finish or return ErrWiped; later ones, also through a [Sealer], return
// ErrWiped. Wipe may be called more than once and at any time.
func (k *Key) Wipe() {
	st := k.load()
	if st == nil {
		return
	}
	if live := st.live.Swap(nil); live != nil {
		live.wipe()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	clear(st.secret)
	st.secret = nil
}

// Secret returns a copy of the key bytes. Only packages of this module get a
// Token that works; see package insecuretink for the way to export keys.
//
// Errors: ErrWiped; ErrInvalidKey for a Token that doesn't work.
func (k *Key) Secret(t secretaccess.Token) ([]byte, error) {
	if !t.Valid() {
		return nil, fmt.Errorf("crypto: %w: its bytes are for packages of this module", ErrInvalidKey)
	}
	st := k.load()
	if st == nil {
		return nil, ErrWiped
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.secret == nil {
		return nil, ErrWiped
	}
	return append([]byte(nil), st.secret...), nil
}

// String returns the id and the suite.
func (k Key) String() string {
	st := k.load()
	if st == nil {
		return "crypto.Key(none)"
	}
	return fmt.Sprintf("crypto.Key(%08x %s)", st.id, st.suite)
}

// GoString is String: %#v shows no bytes either.
func (k Key) GoString() string { return k.String() }

// Format writes String for every verb.
func (k Key) Format(f fmt.State, verb rune) { redact(f, verb, k.String()) }

// LogValue logs String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// redact prints s whatever the verb is.
func redact(f fmt.State, verb rune, s string) {
	if verb == 'q' {
		fmt.Fprintf(f, "%q", s)
		return
	}
	fmt.Fprint(f, s)
}
