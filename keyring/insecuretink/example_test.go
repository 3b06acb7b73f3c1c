package insecuretink_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/insecuretink"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// Keys leave a ring as a Tink keyset and come back as another ring.
func Example() {
	ctx := context.Background()
	store, kms := keyring.NewMemoryStore(), localkms.NewRandom()
	ring, _, err := keyring.Create(ctx, "app", store, kms, nil)
	if err != nil {
		log.Fatal(err)
	}
	var keyset bytes.Buffer // in the clear: encrypt it before it goes anywhere
	if err := insecuretink.Export(ctx, ring, &keyset); err != nil {
		log.Fatal(err)
	}
	moved, _, err := insecuretink.Import(ctx, "moved", store, kms, &keyset, nil)
	if err != nil {
		log.Fatal(err)
	}
	a, err := ring.Primary(ctx, keyring.Data)
	if err != nil {
		log.Fatal(err)
	}
	b, err := moved.Primary(ctx, keyring.Data)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(a.ID() == b.ID(), a.Check() == b.Check())
	// Output: true true
}
