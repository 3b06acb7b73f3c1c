package fakeaws_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/awskms"
	"github.com/structseal/structseal/kmsprovider/awskms/fakeaws"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// What a program does when its key at AWS is disabled can be tried.
func Example() {
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	fake := fakeaws.New(arn)
	server := httptest.NewServer(fake)
	defer server.Close()
	provider, err := awskms.New(kms.New(kms.Options{
		Region: "eu-west-1", BaseEndpoint: &server.URL,
		Credentials: credentials.NewStaticCredentialsProvider("anybody", "any secret that is as long as one of AWS", ""),
	}), arn, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, store := context.Background(), keyring.NewMemoryStore()
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
