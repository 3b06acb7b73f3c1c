package kmsprovider_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A wrap opens under its own context and no other.
func Example() {
	ctx := context.Background()
	var kms kmsprovider.Provider = localkms.NewRandom()
	wrapped, err := kms.Wrap(ctx, []byte("a data key"), kmsprovider.Context{"structseal-ring": "app"})
	if err != nil {
		log.Fatal(err)
	}
	secret, err := kms.Unwrap(ctx, wrapped, kmsprovider.Context{"structseal-ring": "app"})
	fmt.Println(string(secret), err)
	_, err = kms.Unwrap(ctx, wrapped, kmsprovider.Context{"structseal-ring": "other"})
	fmt.Println(errors.Is(err, kmsprovider.ErrRejected), kmsprovider.Retryable(err))
	// Output:
	// a data key <nil>
	// true false
}
