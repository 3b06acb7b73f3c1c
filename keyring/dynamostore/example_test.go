package dynamostore_test

import (
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/structseal/structseal/keyring/dynamostore"
)

// New makes no call: keyring.Create and keyring.Open do.
func Example() {
	client := dynamodb.New(dynamodb.Options{Region: "eu-central-1"}) // or dynamodb.NewFromConfig
	store, err := dynamostore.New(client, "structseal-rings")
	if err != nil {
		log.Fatal(err)
	}
	// Once: dynamostore.CreateTable(ctx, client, "structseal-rings")
	// Then: keyring.Open(ctx, "app", store, kms, pin, nil)
	fmt.Println(store)
	// Output: dynamostore.Store(structseal-rings)
}
