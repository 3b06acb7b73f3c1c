package vaultkms_test

import (
	"fmt"
	"log"

	"github.com/structseal/structseal/kmsprovider/vaultkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// New makes no call: keyring.Create and keyring.Open do.
func Example() {
	client, err := vaultapi.New(&vaultapi.Options{
		Address: "https://vault.example.org:8200",
		Login:   vaultapi.Kubernetes("", "app", ""), // or AppRole; or Token: vaultapi.TokenFile("/vault/token")
	})
	if err != nil {
		log.Fatal(err)
	}
	kms, err := vaultkms.New("hcvault://vault.example.org:8200/transit/keys/app", client)
	if err != nil {
		log.Fatal(err)
	}
	// Once: ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)
	// Then: ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
	fmt.Println(kms.ID())
	// Output: hcvault://vault.example.org:8200/transit/keys/app
}
