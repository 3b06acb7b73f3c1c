package manifest_test

import (
	"fmt"
	"log"

	"github.com/structseal/structseal/manifest"
)

// What a pull request does to the labels of a program.
func ExampleCompare() {
	older, err := manifest.Parse([]byte(`{"format": "structseal-manifest/1", "records": [{
		"label": "customer", "type": "app.Customer", "position": "customer.go:8",
		"binds": [{"label": "id", "field": "ID", "kind": "text"}],
		"fields": [{"path": ["email"], "field": "Email", "type": "string", "position": "customer.go:11", "form": "string"}]
	}]}`))
	if err != nil {
		log.Fatal(err)
	}
	newer, err := manifest.Parse([]byte(`{"format": "structseal-manifest/1", "records": [{
		"label": "customer", "type": "app.Customer", "position": "customer.go:8",
		"binds": [{"label": "id", "field": "ID", "kind": "text"}],
		"fields": [{"path": ["mail"], "field": "Email", "type": "string", "position": "customer.go:11", "form": "string"}]
	}]}`))
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range manifest.Compare(older, newer) {
		fmt.Println(c.Breaking, c.Label, "-", c.What)
	}
	// Output:
	// true customer.email - the label is gone: its ciphertexts can't be opened any more
	// false customer.mail - added: Email
}
