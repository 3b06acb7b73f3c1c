package kmsurl_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/structseal/structseal/kmsprovider/kmsurl"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A tool that is told its KEK by a flag.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "kmsurl")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	made, err := localkms.CreateKeyFile(filepath.Join(dir, "customers.kek")) // once, by the program
	if err != nil {
		log.Fatal(err)
	}

	kms, done, err := kmsurl.Open(ctx, "file://"+dir+"/customers.kek") // *kekFlag
	if err != nil {
		log.Fatal(err)
	}
	defer done()
	// ring, err := keyring.Open(ctx, "customers", store, kms, pin, nil)
	fmt.Println(kms.ID() == made.ID())
	// Output: true
}

// Configuration is checked without opening anything.
func ExampleCheck() {
	err := kmsurl.Check("pkcs11:token=app;object=kek?pin-value=1234")
	fmt.Println(errors.Is(err, kmsurl.ErrURI))
	fmt.Println(err)
	// Output:
	// true
	// kmsurl: not the URI of a key-encryption key: parameter 1 looks like a credential, and URIs end up in logs: take it out, and consider it known; credentials come from the file that pin-source names
}
