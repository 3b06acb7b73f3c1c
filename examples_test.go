package structseal_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// exampleRing is a ring that lasts as long as the process.
func exampleRing() *keyring.Keyring {
	ring, _, err := keyring.Create(context.Background(), "examples", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		log.Fatal(err)
	}
	return ring
}

// A page of rows, on all cores. One bad row is left out instead of failing the
// page.
func ExampleEncryptAll() {
	ctx, ring := context.Background(), exampleRing()

	page := []Customer{{ID: "c-1", Email: "ada@example.net"}, {Email: "nobody@example.net"}, {ID: "c-3", Email: "grace@example.net"}}
	rows, err := structseal.EncryptAll(ctx, ring, page, structseal.OnError(func(i int, err error) error {
		fmt.Println("left out:", i, errors.Is(err, structseal.ErrUnbound))
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	for _, row := range rows {
		fmt.Printf("%q sealed=%t\n", row.ID, row.Born.IsSealed())
	}
	// Output:
	// left out: 1 true
	// "c-1" sealed=true
	// "" sealed=false
	// "c-3" sealed=true
}

// A SELECT of some columns, or an UPDATE of some: the other fields are left as
// they are. Bind fields must be there all the same.
func ExampleOnly() {
	ctx, ring := context.Background(), exampleRing()

	update := Customer{ID: "c-1", Email: "ada@example.net"}
	row, err := structseal.Encrypt(ctx, ring, update, structseal.Only("email"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(row.Email[:3], row.Born.IsSealed())
	// Output: s1. false
}

type Message struct {
	_    structseal.Record `seal:"message,require=tenant"`
	ID   int64             `seal:"id,bind"`
	Text string            `seal:"text"`
}

// What no field holds can be bound as well: here the tenant, without which the
// marker lets nothing be sealed.
func ExampleBind() {
	ctx, ring := context.Background(), exampleRing()

	row, err := structseal.Encrypt(ctx, ring, Message{ID: 1, Text: "hello"}, structseal.Bind("tenant", "acme"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = structseal.Decrypt(ctx, ring, row, structseal.Bind("tenant", "other"))
	fmt.Println("another tenant:", errors.Is(err, structseal.ErrTampered))
	_, err = structseal.Decrypt(ctx, ring, row)
	fmt.Println("forgotten:     ", errors.Is(err, structseal.ErrUnbound))
	// Output:
	// another tenant: true
	// forgotten:      true
}

// A test, or an init, that finds every bad tag of a type.
func ExampleCheck() {
	type Account struct {
		_    structseal.Record `seal:"account"`
		ID   string            `seal:"id,bnid"`
		IBAN string            `seal:"iban"`
	}
	err := structseal.Check[Account]()
	var tagError *structseal.TagError
	fmt.Println(errors.As(err, &tagError), tagError.Field, tagError.Reason)
	// Output: true ID unknown option "bnid": did you mean "bind"?
}

// A table that is being migrated holds both. The counter tells when the option
// can go.
func ExampleAllowPlaintext() {
	ctx, ring := context.Background(), exampleRing()

	var plaintexts atomic.Int64
	old := Message{ID: 1, Text: "written before structseal"}
	v, err := structseal.Decrypt(ctx, ring, old, structseal.Bind("tenant", "acme"), structseal.AllowPlaintext(&plaintexts))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(v.Text, plaintexts.Load())
	// Output: written before structseal 1
}

// A Sealed holds any type, and shows nothing but its ciphertext.
func ExampleSealed() {
	ctx, ring := context.Background(), exampleRing()

	v := Customer{ID: "c-1", Born: structseal.Of(time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC))}
	_, err := v.Born.Value() // what database/sql asks for
	fmt.Println("unsealed:", v.Born, errors.Is(err, structseal.ErrNotEncrypted))

	row, err := structseal.Encrypt(ctx, ring, v)
	if err != nil {
		log.Fatal(err)
	}
	text, _ := row.Born.Value()
	fmt.Println("sealed:  ", row.Born, text.(string)[:3])
	_, err = row.Born.Get()
	fmt.Println("Get:     ", errors.Is(err, structseal.ErrEncrypted))
	// Output:
	// unsealed: Sealed[time.Time](redacted) true
	// sealed:   Sealed[time.Time](sealed) s1.
	// Get:      true
}
