package fakeazure_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/azurekms"
	"github.com/structseal/structseal/kmsprovider/azurekms/fakeazure"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// What a program does when its key at Azure is disabled can be tried.
func Example() {
	vault := fakeazure.New("customers")
	server := httptest.NewTLSServer(vault)
	defer server.Close()
	provider, err := azurekms.New(server.URL+"/keys/customers", vault, &azurekms.Options{Client: azkeys.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: server.Client()},
		DisableChallengeResourceVerification: true, // the host isn't under vault.azure.net
	}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, store := context.Background(), keyring.NewMemoryStore()
	ring, pin, err := keyring.Create(ctx, "customers", store, provider, nil)
	if err != nil {
		log.Fatal(err)
	}
	ring.Close()
	vault.Set(kmstest.Disabled)
	_, err = keyring.Open(ctx, "customers", store, provider, pin, nil)
	fmt.Println(errors.Is(err, kmsprovider.ErrDisabled))
	// Output: true
}
