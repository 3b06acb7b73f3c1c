package main

import (
	"fmt"
	"time"

	"github.com/structseal/structseal"
)

// Customer is one row of the table. What has a seal tag is ciphertext in the
// database; what has none is stored as it is.
type Customer struct {
	_       structseal.Record            `seal:"customer"` // permanent name of the record
	ID      string                       `seal:"id,bind"`  // readable; ties the other values to this row
	Country string                       // no tag: readable
	Name    string                       `seal:"name"`
	Email   string                       `seal:"email"`
	Phone   string                       `seal:"phone"`
	Born    structseal.Sealed[time.Time] `seal:"born"` // any type that can't hold its own ciphertext
	Notes   string                       `seal:"notes"`
}

// equal compares field by field: a Sealed keeps its value where == and
// reflect.DeepEqual can't see it, because then printers can't either.
func (c Customer) equal(o Customer) bool {
	return c.ID == o.ID && c.Country == o.Country && c.Name == o.Name && c.Email == o.Email &&
		c.Phone == o.Phone && c.Born.Equal(o.Born) && c.Notes == o.Notes
}

// customerID makes the ids. They are the program's and not the database's, since
// values are tied to the id of their row before the row exists.
func customerID(n int) string { return fmt.Sprintf("c-%04d", n) }

// newCustomers come in after the key was rotated. n is the number of the first.
func newCustomers(n int) []Customer {
	born := structseal.Of(time.Date(1999, time.December, 31, 0, 0, 0, 0, time.UTC))
	return []Customer{
		{ID: customerID(n), Country: "NO", Name: "Ødegård Mønster", Email: "odegard@example.org", Phone: "+1 305 555 0101", Born: born},
		{ID: customerID(n + 1), Country: "RO", Name: "Ștefan Exemplu", Email: "stefan@example.com", Phone: "+1 305 555 0102", Born: born},
		{ID: customerID(n + 2), Country: "ZA", Name: "Thandeka Isibonelo", Email: "thandeka@example.net", Phone: "+1 305 555 0103", Born: born},
	}
}
