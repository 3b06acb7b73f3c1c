package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/structseal/structseal"
)

// TestCustomers holds the file to what makes it worth encrypting, and to being
// made up: reserved domains and numbers only.
func TestCustomers(t *testing.T) {
	email := regexp.MustCompile(`^[a-z0-9.]+@example\.(com|net|org)$`)
	phone := regexp.MustCompile(`^\+1 [2-9]\d\d 555 01\d\d$`)
	scripts := map[string]int{}
	var noEmail, noPhone, noNotes, lines, quotes, longest int
	customers := csvCustomers(t)
	for i, c := range append(customers, newCustomers(301)...) {
		if c.ID != customerID(i+1) || len(c.Country) != 2 || c.Name == "" {
			t.Errorf("customer %d: %q, %q, %q", i, c.ID, c.Country, c.Name)
		}
		if c.Email != "" && !email.MatchString(c.Email) {
			t.Errorf("%s: e-mail %q", c.ID, c.Email)
		}
		if c.Phone != "" && !phone.MatchString(c.Phone) {
			t.Errorf("%s: phone %q", c.ID, c.Phone)
		}
		for _, r := range c.Name {
			for name, table := range unicode.Scripts {
				if name != "Common" && unicode.Is(table, r) {
					scripts[name]++
				}
			}
		}
		count := func(n *int, is bool) {
			if is {
				*n++
			}
		}
		count(&noEmail, c.Email == "")
		count(&noPhone, c.Phone == "")
		count(&noNotes, c.Notes == "")
		count(&lines, strings.Contains(c.Notes, "\n"))
		count(&quotes, strings.Contains(c.Notes, `"`))
		longest = max(longest, len(c.Notes))
	}
	for what, n := range map[string]int{"without e-mail": noEmail, "without phone": noPhone, "without notes": noNotes, "with lines": lines, "with quotes": quotes} {
		if n < 5 {
			t.Errorf("%d customers %s", n, what)
		}
	}
	if len(scripts) < 18 || longest < 500 {
		t.Errorf("scripts %v, longest note %d", scripts, longest)
	}
}

func TestModel(t *testing.T) {
	if err := structseal.Check[Customer](); err != nil {
		t.Error(err)
	}
	// Every column is compared, or "equal to it in every field" would be no claim.
	a := csvCustomers(t)[0]
	if !a.equal(a) {
		t.Error("not equal to itself")
	}
	for name, change := range map[string]func(*Customer){
		"id":      func(c *Customer) { c.ID = "x" },
		"country": func(c *Customer) { c.Country = "x" },
		"name":    func(c *Customer) { c.Name = "x" },
		"email":   func(c *Customer) { c.Email = "x" },
		"phone":   func(c *Customer) { c.Phone = "x" },
		"born":    func(c *Customer) { c.Born = csvCustomers(t)[1].Born },
		"notes":   func(c *Customer) { c.Notes = "x" },
	} {
		b := a
		if change(&b); a.equal(b) {
			t.Errorf("another %s is equal", name)
		}
	}
}
