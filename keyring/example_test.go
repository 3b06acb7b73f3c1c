package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A ring is created once and opened with its pin ever after.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "structseal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// Once, on a machine of your own.
	kms, err := localkms.CreateKeyFile(filepath.Join(dir, "app.kek"))
	if err != nil {
		log.Fatal(err)
	}
	store, err := keyring.NewFileStore(filepath.Join(dir, "keys"))
	if err != nil {
		log.Fatal(err)
	}
	_, pin, err := keyring.Create(ctx, "app", store, kms, nil)
	if err != nil {
		log.Fatal(err)
	}
	config := pin.String() // goes into the program's configuration

	// In the program.
	pin, err = keyring.ParsePin(config)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	key, err := ring.Primary(ctx, keyring.Data)
	if err != nil {
		log.Fatal(err)
	}
	ciphertext, err := key.Seal(nil, []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}

	// Later: a new primary. The old key goes on opening what it sealed.
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		log.Fatal(err)
	}
	id, err := crypto.KeyID(ciphertext)
	if err != nil {
		log.Fatal(err)
	}
	old, err := ring.Key(ctx, keyring.Data, id)
	if err != nil {
		log.Fatal(err)
	}
	text, err := old.Open(nil, ciphertext, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, revision %d\n", text, ring.Revision())
	// Output: hello, revision 2
}

// Two programs with one ring: what one of them changes the other is told of, and
// doesn't wait for TTL.
func ExampleNotifier() {
	ctx := context.Background()
	store, kms := keyring.NewMemoryStore(), localkms.NewRandom()
	one, pin, err := keyring.Create(ctx, "customers", store, kms, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer one.Close()
	other, err := keyring.Open(ctx, "customers", store, kms, pin, &keyring.OpenOptions{
		TTL:      24 * time.Hour,
		MaxStale: 24 * time.Hour,
		Notifier: store, // for PostgreSQL: a pgnotify.Listener
	})
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
	person := keyring.Subject{Kind: "person", ID: "4711"}
	keys, err := other.EnsureSubject(ctx, person)
	if err != nil {
		log.Fatal(err)
	}
	keys.Release()

	if _, err := one.Forget(ctx, person, nil); err != nil {
		log.Fatal(err)
	}
	for err == nil { // a moment
		keys, err = other.Subject(ctx, person)
		keys.Release()
	}
	fmt.Println(errors.Is(err, keyring.ErrForgotten))
	// Output: true
}

// A person asks to be forgotten. The tombstone is kept in another store than the
// keys, so that a restored backup of the keys doesn't undo it.
func ExampleKeyring_Forget() {
	ctx := context.Background()
	ring, _, err := keyring.Create(ctx, "customers", keyring.NewMemoryStore(), localkms.NewRandom(), &keyring.CreateOptions{
		OpenOptions: keyring.OpenOptions{Tombstones: keyring.NewMemoryStore()},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	person := keyring.Subject{Kind: "person", ID: "4711"}
	keys, err := ring.EnsureSubject(ctx, person) // as Encrypt does
	if err != nil {
		log.Fatal(err)
	}
	keys.Release()

	certificate, err := ring.Forget(ctx, person, &keyring.ForgetOptions{Actor: "dpo@example.com"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = ring.Subject(ctx, person)
	fmt.Println(len(certificate.Keys), "key destroyed by", certificate.Actor)
	fmt.Println(errors.Is(err, keyring.ErrForgotten))
	// Output:
	// 1 key destroyed by dpo@example.com
	// true
}
