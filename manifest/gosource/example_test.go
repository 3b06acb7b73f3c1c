package gosource_test

import (
	"fmt"
	"log"
)

func ExampleRead() {
	// A loader, such as golang.org/x/tools/go/packages, type-checks the packages.
	result, err := read("example.com/app", `package app

import "github.com/structseal/structseal"

type Customer struct {
	_     structseal.Record      `+"`seal:\"customer\"`"+`
	ID    string                 `+"`seal:\"id,bind\"`"+`
	Email string                 `+"`seal:\"email\"`"+`
	Born  structseal.Sealed[int] `+"`seal:\"born\"`"+`
}

type Order struct {
	_   structseal.Record `+"`seal:\"order,unbound\"`"+`
	Sum int               `+"`seal:\"sum\"`"+`
}
`)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range result.Records {
		for _, f := range r.Fields {
			fmt.Println(r.FieldLabel(&f), f.Type, "in", r.Table+"."+f.Column)
		}
	}
	for _, p := range result.Problems {
		fmt.Println(p)
	}
	// Output:
	// customer.email string in customers.email
	// customer.born structseal.Sealed[int] in customers.born
	// example.com/app/app.go:14:2: app.Order.Sum `seal:"sum"`: int can't hold ciphertext; use structseal.Sealed[int]
}
