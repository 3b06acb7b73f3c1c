package structseal_test

import (
	"crypto/fips140"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/secretaccess"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// Keys of every ring that fixedRing makes.
const (
	primaryID = 0x11223344 // XAES-256-GCM
	olderID   = 0x55667788 // XAES-256-GCM
	compactID = 0x0c0ffee0 // AES-256-GCM
	detID     = 0x0badcafe // AES-256-SIV
)

// fixedRing makes a ring of a name with keys that never change. Rings of other
// names have the same keys and ids, so only the context tells them apart.
func fixedRing(t testing.TB, name string) *keyring.Keyring {
	t.Helper()
	return fixedRingUnder(t, name, primaryID)
}

// fixedRingUnder is fixedRing with another primary data key.
func fixedRingUnder(t testing.TB, name string, primary uint32) *keyring.Keyring {
	t.Helper()
	key := func(id uint32, p keyring.Purpose, suite crypto.Suite, seed string) keyring.KeyMaterial {
		state := keyring.Enabled
		if id == primary || p == keyring.Deterministic {
			state = keyring.Primary
		}
		short, long := sha256.Sum256([]byte(seed)), sha512.Sum512([]byte(seed))
		secret := short[:]
		if suite.KeySize() == len(long) {
			secret = long[:]
		}
		return keyring.NewKeyMaterial(secretaccess.Grant(), id, p, suite, state, secret)
	}
	ring, _, err := keyring.Import(t.Context(), secretaccess.Grant(), name, keyring.NewMemoryStore(), localkms.NewRandom(), []keyring.KeyMaterial{
		key(primaryID, keyring.Data, crypto.Default, "structseal test key: primary"),
		key(olderID, keyring.Data, crypto.Default, "structseal test key: older"),
		key(compactID, keyring.Data, crypto.Compact, "structseal test key: compact"),
		key(detID, keyring.Deterministic, crypto.Deterministic, "structseal test key: deterministic"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring
}

// needDeterministic skips where the runtime may not compute AES-SIV.
func needDeterministic(t testing.TB) {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("AES-SIV isn't approved: deterministic fields are ErrNotApproved in FIPS-only mode")
	}
}

// must returns v, or ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantErr reports whether err is each of the sentinels.
func wantErr(t testing.TB, what string, err error, sentinels ...error) {
	t.Helper()
	for _, s := range sentinels {
		if !errors.Is(err, s) {
			t.Errorf("%s: got %v, want %v", what, err, s)
		}
	}
}
