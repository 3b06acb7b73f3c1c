package tinkkms_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/tinkkms"
)

// A Tink keyset as key-encryption key. A key of a KMS is used in the same way:
// registry.GetKMSClient(uri) has its AEAD.
func Example() {
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		log.Fatal(err)
	}
	a, err := aead.New(handle)
	if err != nil {
		log.Fatal(err)
	}
	kms, err := tinkkms.New("tink:team-a", a, nil)
	if err != nil {
		log.Fatal(err)
	}
	ring, _, err := keyring.Create(context.Background(), "app", keyring.NewMemoryStore(), kms, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	fmt.Println(kms, len(ring.Keys()))
	// Output: tinkkms.Provider(tink:team-a) 6
}
