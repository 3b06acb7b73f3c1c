package crypto_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/structseal/structseal/crypto"
)

// Seal a value for one place and open it there.
func Example() {
	secret := make([]byte, crypto.Default.KeySize())
	rand.Read(secret)
	key, err := crypto.NewKey(crypto.Default, 0x5ea1ed01, secret)
	if err != nil {
		panic(err)
	}
	defer key.Wipe()

	context, err := crypto.Context{
		Ring:   "main",
		Record: "customer",
		Path:   []crypto.Element{crypto.Label("email")},
		Bind:   []crypto.Binding{{Label: "id", Value: "42"}},
	}.Append(nil)
	if err != nil {
		panic(err)
	}
	ciphertext, err := key.Seal(nil, []byte("grace@example.com"), context)
	if err != nil {
		panic(err)
	}
	plaintext, err := key.Open(nil, ciphertext, context)
	fmt.Printf("%s %v\n", plaintext, err)

	_, err = key.Open(nil, ciphertext, []byte("another place"))
	fmt.Println(errors.Is(err, crypto.ErrTampered))
	// Output:
	// grace@example.com <nil>
	// true
}

// Keys print their id and suite, whatever the verb, and never their bytes.
func ExampleKey() {
	key, err := crypto.NewKey(crypto.Compact, 0x5ea1ed01, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%v\n%x\n", key, key)
	// Output:
	// crypto.Key(5ea1ed01 aes-256-gcm)
	// crypto.Key(5ea1ed01 aes-256-gcm)
}

// One Sealer seals the values of a record.
func ExampleSealer() {
	key, err := crypto.NewKey(crypto.Default, 1, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	values := []string{"Grace", "Hopper"}
	var sealer crypto.Sealer
	if err := sealer.Reset(key, len(values)); err != nil {
		panic(err)
	}
	for _, v := range values {
		context, err := crypto.Context{Ring: "main", Record: "customer", Path: []crypto.Element{crypto.Label(v)}}.Append(nil)
		if err != nil {
			panic(err)
		}
		ciphertext, err := sealer.Seal(nil, []byte(v), context)
		fmt.Println(len(ciphertext)-len(v), err)
	}
	// Output:
	// 77 <nil>
	// 77 <nil>
}

func ExampleContext() {
	c := crypto.Context{
		Ring:   "main",
		Record: "customer",
		Path:   []crypto.Element{crypto.Label("notes"), crypto.Index(2, 3)},
		Bind:   []crypto.Binding{{Label: "id", Value: "42"}},
	}
	encoded, err := c.Append(nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(c)
	fmt.Println(hex.EncodeToString(encoded))
	back, err := crypto.ParseContext(encoded)
	fmt.Println(back, err)
	// Output:
	// main/customer.notes[2/3]
	// 7374727563747365616c2f7631046d61696e08637573746f6d65720201056e6f74657302020301026964023432
	// main/customer.notes[2/3] <nil>
}

// Text columns hold the text form.
func ExampleAppendText() {
	ciphertext := []byte{0x01, 0x5e, 0xa1, 0xed, 0x01, 0xff, 0xfe} // of Key.Seal, cut short here
	text := string(crypto.AppendText(nil, ciphertext))
	fmt.Println(text)

	back, err := crypto.ParseText(nil, text)
	fmt.Println(bytes.Equal(back, ciphertext), err)

	// Each ciphertext has one text form. This one has a padding too many.
	_, err = crypto.ParseText(nil, text+"==")
	fmt.Println(errors.Is(err, crypto.ErrMalformed))
	// Output:
	// s1.AV6h7QH__g
	// true <nil>
	// true
}

// Equal values have equal tags; so do a few others, on purpose.
func ExampleBlindIndexKey() {
	root := bytes.Repeat([]byte{7}, 32) // the ring's index root
	key, err := crypto.DeriveBlindIndexKey(root, "main", "customer", "email", "email_eq")
	if err != nil {
		panic(err)
	}
	defer key.Wipe()
	tag, err := key.Append(nil, []byte("grace@example.com"), 12)
	fmt.Printf("%x %v\n", tag, err)
	// Output:
	// a970 <nil>
}
