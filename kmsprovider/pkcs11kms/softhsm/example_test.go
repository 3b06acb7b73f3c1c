//go:build cgo

package softhsm_test

import (
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms/softhsm"
)

// In a test of a program:
func Example() {
	_ = func(t *testing.T) {
		hsm, err := softhsm.New(t.TempDir(), softhsm.Library(t))
		if err != nil {
			t.Fatal(err)
		}
		hsm.MakeKey(t, "kek")
		kms, err := pkcs11kms.New(hsm.Options("kek"))
		if err != nil {
			t.Fatal(err)
		}
		defer kms.Close()
		ring, _, err := keyring.Create(t.Context(), "app", keyring.NewMemoryStore(), kms, nil)
		if err != nil {
			t.Fatal(err)
		}
		ring.Close()
	}
}
