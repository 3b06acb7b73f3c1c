package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/secretaccess"
	"github.com/structseal/structseal/kmsprovider"
)

// KeyMaterial is a key with its bytes, on its way into or out of a ring. Only
// packages of this module can make one or read its bytes. It never prints them.
type KeyMaterial struct {
	ID      uint32
	Purpose Purpose // Data or Deterministic
	Suite   crypto.Suite
	State   State

	secret hidden
}

// NewKeyMaterial copies secret. Its Token can't be made outside this module; see
// package insecuretink for the way to import keys.
func NewKeyMaterial(_ secretaccess.Token, id uint32, p Purpose, suite crypto.Suite, state State, secret []byte) KeyMaterial {
	return KeyMaterial{ID: id, Purpose: p, Suite: suite, State: state, secret: hide(bytes.Clone(secret))}
}

// Secret returns a copy of the key's bytes; nil for the zero KeyMaterial and for
// callers outside this module.
func (m KeyMaterial) Secret(t secretaccess.Token) []byte {
	if m.secret == nil || !t.Valid() {
		return nil
	}
	return bytes.Clone(m.secret())
}

// Wipe clears the key's bytes, in every copy of m.
func (m KeyMaterial) Wipe() {
	if m.secret != nil {
		clear(m.secret())
	}
}

// String returns the id, the purpose and the suite.
func (m KeyMaterial) String() string {
	return fmt.Sprintf("keyring.KeyMaterial(%08x %s %s)", m.ID, m.Purpose, m.Suite)
}

// GoString is String.
func (m KeyMaterial) GoString() string { return m.String() }

// Format writes String for every verb.
func (m KeyMaterial) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		fmt.Fprintf(f, "%q", m.String())
		return
	}
	fmt.Fprint(f, m.String())
}

// LogValue logs String.
func (m KeyMaterial) LogValue() slog.Value { return slog.StringValue(m.String()) }

// Materials unwraps every key of a purpose (Data or Deterministic) that has
// wraps, whatever its state, for export. The caller wipes them. Its Token can't
// be made outside this module.
//
// Errors: ErrPurpose; those of Primary.
func (r *Keyring) Materials(ctx context.Context, t secretaccess.Token, p Purpose) ([]KeyMaterial, error) {
	if !t.Valid() {
		return nil, ringError(r.name, errors.New("key bytes are for packages of this module; see package insecuretink"))
	}
	all, err := r.materials(ctx, p)
	if err != nil {
		for _, m := range all {
			m.Wipe()
		}
		return nil, ringError(r.name, err)
	}
	return all, nil
}

func (r *Keyring) materials(ctx context.Context, p Purpose) (all []KeyMaterial, err error) {
	if p != Data && p != Deterministic {
		return nil, fmt.Errorf("%w: %s keys are not exported", ErrPurpose, p)
	}
	s := r.live.Load()
	if s == nil {
		return nil, ErrClosed
	}
	for i := range s.record.Keys {
		k := &s.record.Keys[i]
		if k.Purpose != p || len(k.Wraps) == 0 {
			continue
		}
		suite, err := crypto.ParseSuite(k.Suite)
		if err != nil {
			return all, err
		}
		// Not through the cells: a Deterministic key has no crypto.Key while
		// FIPS 140 mode is enforced, and disabled keys have no cell.
		secret, err := r.core().keks.Load().unwrap(ctx, r.name, k)
		if err != nil {
			return all, keyError(k.ID, err)
		}
		all = append(all, KeyMaterial{ID: uint32(k.ID), Purpose: p, Suite: suite, State: k.State, secret: hide(secret)})
	}
	return all, nil
}

// Import is [Create] with Data and Deterministic keys from elsewhere; a purpose
// that has none gets a fresh one. The keys stay the caller's. Its Token can't be
// made outside this module.
//
// Errors: those of Create; ErrCorrupt for ids that are zero or not unique, or
// other than one primary of a purpose.
func Import(ctx context.Context, _ secretaccess.Token, name string, store Store, kms kmsprovider.Provider, keys []KeyMaterial, opts *CreateOptions) (*Keyring, Pin, error) {
	r, err := importKeys(ctx, name, store, kms, keys, opts)
	return created(name, r, err)
}

func importKeys(ctx context.Context, name string, store Store, kms kmsprovider.Provider, keys []KeyMaterial, opts *CreateOptions) (*Keyring, error) {
	var ring []keyMaterial
	have := make(map[Purpose]bool)
	ids := make(map[uint32]bool)
	for _, m := range keys {
		switch {
		case m.Purpose != Data && m.Purpose != Deterministic:
			return nil, fmt.Errorf("%w: %s keys are not imported", ErrPurpose, m.Purpose)
		case !m.Purpose.fits(m.Suite.String()):
			return nil, keyError(keyID(m.ID), fmt.Errorf("%w: %s for %s keys", ErrSuite, m.Suite, m.Purpose))
		case m.ID == 0 || ids[m.ID]:
			return nil, keyError(keyID(m.ID), fmt.Errorf("%w: the id is zero or not unique", ErrCorrupt))
		case m.secret == nil:
			return nil, keyError(keyID(m.ID), errors.New("no key bytes"))
		case m.State < Pending || m.State > Disabled:
			return nil, keyError(keyID(m.ID), fmt.Errorf("%w: state %s", ErrCorrupt, m.State))
		}
		have[m.Purpose], ids[m.ID] = true, true
		ring = append(ring, keyMaterial{m.ID, m.Purpose, m.Suite.String(), m.State, hide(bytes.Clone(m.secret()))})
	}
	for p := Data; p <= MAC; p++ {
		if !have[p] {
			ring = append(ring, newMaterial(p, purposes[p].suites[0]))
		}
	}
	return create(ctx, name, store, kms, opts, ring)
}
