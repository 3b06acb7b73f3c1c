package inventory_test

import (
	"context"
	"fmt"
	"log"

	"github.com/structseal/structseal/cmd/structseal/inventory"
)

func ExampleLoad() {
	inv, err := inventory.Load(context.Background(), inventory.Options{Patterns: []string{"./testdata/good/other"}})
	if err != nil {
		log.Fatal(err) // a *LoadError says where the source doesn't compile
	}
	for _, p := range inv.Problems {
		fmt.Println(p) // tags that package structseal refuses
	}
	for _, r := range inv.Manifest.Records {
		fmt.Println(r.Label, r.Position, len(r.Fields))
	}
	// Output:
	// line inventory/testdata/good/other/other.go:13 1
}
