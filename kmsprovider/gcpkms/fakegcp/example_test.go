package fakegcp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/gcpkms"
	"github.com/structseal/structseal/kmsprovider/gcpkms/fakegcp"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// What a program does when its key at Google is disabled can be tried.
func Example() {
	const name = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"
	fake := fakegcp.New(name)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := fake.Server()
	go server.Serve(listener)
	defer server.Stop()

	ctx := context.Background()
	client, err := kms.NewKeyManagementClient(ctx, option.WithEndpoint(listener.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	provider, err := gcpkms.New(client, name)
	if err != nil {
		log.Fatal(err)
	}
	store := keyring.NewMemoryStore()
	ring, pin, err := keyring.Create(ctx, "customers", store, provider, nil)
	if err != nil {
		log.Fatal(err)
	}
	ring.Close()
	fake.Set(kmstest.Disabled)
	_, err = keyring.Open(ctx, "customers", store, provider, pin, nil)
	fmt.Println(errors.Is(err, kmsprovider.ErrDisabled))
	// Output: true
}
