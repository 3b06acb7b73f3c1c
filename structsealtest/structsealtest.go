// Package structsealtest helps to test programs that use structseal.
package structsealtest

import (
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// Ring returns a new keyring in memory, wrapped by a random key in memory, and
// closes it when the test ends. Nothing of it outlives the test.
func Ring(t testing.TB) *keyring.Keyring {
	t.Helper()
	kms := localkms.NewRandom()
	ring, _, err := keyring.Create(t.Context(), "test", keyring.NewMemoryStore(), kms, nil)
	if err != nil {
		t.Fatalf("structsealtest: %v", err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring
}

// AssertSealed reports an error for every sealed field of v (a struct or a
// pointer to one) that doesn't hold a ciphertext: what a test asks of a row before
// it is stored. NULLs are left out. It returns whether all is well. A v without
// any sealed value fails, since the assertion would mean nothing.
func AssertSealed(t testing.TB, v any, opts ...structseal.Option) bool {
	t.Helper()
	states, err := structseal.Inspect(v, opts...)
	if err != nil {
		t.Errorf("structsealtest: %v", err)
		return false
	}
	if len(states) == 0 {
		t.Errorf("structsealtest: %T holds no value to seal", v)
		return false
	}
	ok := true
	for _, s := range states {
		if !s.Sealed {
			t.Errorf("structsealtest: %T: %s is not encrypted", v, s.Label)
			ok = false
		}
	}
	return ok
}
