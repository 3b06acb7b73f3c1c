package gcpkms_test

import (
	"context"
	"fmt"
	"log"

	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"

	"github.com/structseal/structseal/kmsprovider/gcpkms"
)

// Programs leave the options away: then the credentials are the application's default
// ones. Nothing is called here.
func Example() {
	ctx := context.Background()
	client, err := kms.NewKeyManagementClient(ctx, option.WithoutAuthentication())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	provider, err := gcpkms.New(client, "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(provider)
	// Output: gcpkms.Provider(projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k)
}
