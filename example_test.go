package structseal_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

type Customer struct {
	_     structseal.Record            `seal:"customer"` // permanent name of the record
	ID    string                       `seal:"id,bind"`  // readable; authenticates the rest
	Email string                       `seal:"email"`    // the copy holds ciphertext
	Born  structseal.Sealed[time.Time] `seal:"born"`     // any type
}

func Example() {
	ctx := context.Background()

	// A ring of data keys, wrapped by a KMS. Both are in memory here.
	kms := localkms.NewRandom()
	ring, _, err := keyring.Create(ctx, "customers", keyring.NewMemoryStore(), kms, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()

	ada := Customer{ID: "c-1", Email: "ada@example.net", Born: structseal.Of(time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC))}
	row, err := structseal.Encrypt(ctx, ring, ada)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored:", row.ID, row.Email[:3]+"...", row.Born)

	back, err := structseal.Decrypt(ctx, ring, row)
	if err != nil {
		log.Fatal(err)
	}
	born, _ := back.Born.Get()
	fmt.Println("read:  ", back.ID, back.Email, born.Format(time.DateOnly))

	// A ciphertext opens only in its own row.
	row.ID = "c-2"
	_, err = structseal.Decrypt(ctx, ring, row)
	fmt.Println("moved: ", errors.Is(err, structseal.ErrTampered))

	// Output:
	// stored: c-1 s1.... Sealed[time.Time](sealed)
	// read:   c-1 ada@example.net 1815-12-10
	// moved:  true
}
