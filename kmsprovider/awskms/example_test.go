package awskms_test

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/structseal/structseal/kmsprovider/awskms"
)

// The credentials come as they do for every program of AWS: from the environment, a
// profile, a web identity or the role of the instance. Nothing is called here.
func Example() {
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithRegion("eu-west-1"))
	if err != nil {
		log.Fatal(err)
	}
	provider, err := awskms.New(kms.NewFromConfig(cfg), "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(provider)
	// Output: awskms.Provider(arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab)
}
