//go:build cgo

package pkcs11kms_test

import (
	"context"
	"log"
	"os"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
)

// A ring whose keys a token wraps. The PIN comes from the environment here; a file
// that only the program may read is better.
func Example() {
	kms, err := pkcs11kms.New(pkcs11kms.Options{
		Module: "/usr/lib/softhsm/libsofthsm2.so",
		Token:  "app",
		Object: "kek",
		PIN:    func() (string, error) { return os.Getenv("HSM_PIN"), nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer kms.Close()
	ring, pin, err := keyring.Create(context.Background(), "app", keyring.NewMemoryStore(), kms, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	log.Print(kms.ID(), pin)
}
