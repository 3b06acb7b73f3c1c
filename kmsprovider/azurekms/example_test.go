package azurekms_test

import (
	"fmt"
	"log"

	"github.com/structseal/structseal/kmsprovider/azurekms"
)

// New makes no call: keyring.Create and keyring.Open do.
func Example() {
	credential := givenToken("") // azidentity.NewDefaultAzureCredential(nil)
	kms, err := azurekms.New("https://myvault.vault.azure.net/keys/app", credential, nil)
	if err != nil {
		log.Fatal(err)
	}
	// Once: ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)
	// Then: ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
	fmt.Println(kms.ID())
	// Output: azure-kv://myvault.vault.azure.net/keys/app
}
