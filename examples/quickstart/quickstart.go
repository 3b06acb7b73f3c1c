package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
)

const databaseName = "customers.db"

// quickstart does everything in dir, which may hold what an earlier run left
// there, complete or not.
func quickstart(ctx context.Context, dir string, out io.Writer) error {
	customers, err := readCSV()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d customers go into an SQLite database, their personal data encrypted.\n\n", len(customers))
	db, err := openDatabase(ctx, filepath.Join(dir, databaseName))
	if err != nil {
		return err
	}
	defer db.Close()
	ring, err := keysFor(ctx, db, filepath.Join(dir, "keys"), out)
	if err != nil {
		return err
	}
	defer ring.Close()

	p := program{ring, db, customers, out}
	for _, step := range []func(context.Context) error{p.write, p.show, p.read, p.search, p.move, p.rotate} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// program is what any program has that uses structseal: a ring and a database.
type program struct {
	ring      *keyring.Keyring
	db        *database
	customers []Customer // of customers.csv
	out       io.Writer
}

// keysFor opens the keys, or makes them if there is nothing yet that they would
// have to open.
func keysFor(ctx context.Context, db *database, dir string, out io.Writer) (*keyring.Keyring, error) {
	n, err := db.count(ctx)
	if err != nil {
		return nil, err
	}
	found, err := exists(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case !found && n > 0:
		return nil, fmt.Errorf("%s holds %d customers, and their keys are gone: put %s back, or take another -dir", db.path, n, dir)
	case !found:
		if err := createKeys(ctx, dir, out); err != nil {
			return nil, err
		}
	case n == 0:
		fmt.Fprintln(out, "Found    Keys, and no customers: the last run was interrupted. It begins again.")
	default:
		fmt.Fprintf(out, "Found    Keys and %d customers of an earlier run. They stay as they are.\n", n)
	}
	return openKeys(ctx, dir)
}

// write encrypts all customers and inserts them in one transaction.
func (p program) write(ctx context.Context) error {
	if n, err := p.db.count(ctx); err != nil || n > 0 {
		return err
	}
	// All are encrypted before the transaction begins: that keeps it short, and
	// an error leaves nothing to roll back.
	rows, err := structseal.EncryptAll(ctx, p.ring, p.customers)
	if err != nil {
		return err
	}
	if err := p.db.insert(ctx, rows); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "Write    %d customers in one transaction.\n", len(rows))
	return nil
}

// show prints a customer's row before and after decryption.
func (p program) show(ctx context.Context) error {
	id := p.customers[0].ID
	stored, err := p.db.columns(ctx, id)
	if err != nil {
		return err
	}
	row, err := selectCustomer(ctx, p.db, id)
	if err != nil {
		return err
	}
	customer, err := structseal.Decrypt(ctx, p.ring, row)
	if err != nil {
		return err
	}
	return printRow(p.out, customer, stored)
}

// read decrypts the whole table while it is read, and compares it with the file.
func (p program) read(ctx context.Context) error {
	want := make(map[string]Customer)
	for _, c := range p.customers {
		want[c.ID] = c
	}
	n := 0
	for c, err := range structseal.DecryptSeq(ctx, p.ring, selectCustomers(ctx, p.db, "ORDER BY id")) {
		if err != nil {
			return err
		}
		n++
		if w, ok := want[c.ID]; ok {
			if !c.equal(w) {
				return fmt.Errorf("customer %s isn't what customers.csv says", c.ID)
			}
			delete(want, c.ID)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("%d customers of customers.csv aren't in the database", len(want))
	}
	fmt.Fprintf(p.out, "Read     %d customers. Those of customers.csv (%d) are equal to it in every field.\n", n, len(p.customers))
	return nil
}

// search looks for e-mail addresses in the bytes of the database file, and for an
// id, which must be there: else the search would prove nothing.
func (p program) search(context.Context) error {
	file, err := os.ReadFile(p.db.path)
	if err != nil {
		return err
	}
	for _, c := range p.customers {
		if c.Email != "" && bytes.Contains(file, []byte(c.Email)) {
			return fmt.Errorf("%s holds %s in plain", p.db.path, c.Email)
		}
	}
	id, email := p.customers[0].ID, p.customers[0].Email
	if !bytes.Contains(file, []byte(id)) {
		return fmt.Errorf("%s doesn't hold the id %s", p.db.path, id)
	}
	fmt.Fprintf(p.out, "Search   %s is in the bytes of %s; %s and the other e-mails are not.\n", id, databaseName, email)
	return nil
}

// move does what somebody might who can write the database and has no keys: he
// gives one customer the e-mail of another. It is taken back in the end.
func (p program) move(ctx context.Context) error {
	from, to := p.customers[0].ID, p.customers[1].ID
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE customers SET email = (SELECT email FROM customers WHERE id = ?) WHERE id = ?", from, to); err != nil {
		return err
	}
	row, err := selectCustomer(ctx, tx, to)
	if err != nil {
		return err
	}
	_, err = structseal.Decrypt(ctx, p.ring, row)
	if !errors.Is(err, structseal.ErrTampered) {
		return fmt.Errorf("a ciphertext that was moved should be refused, and the answer was: %v", err)
	}
	fmt.Fprintf(p.out, "Move     The e-mail of %s, pasted into the row of %s, is refused:\n%s", from, to, folded(err.Error()))
	return nil
}

// rotate makes a new key and writes a few customers under it. Those that were
// there stay under the key that they have: both are read side by side.
func (p program) rotate(ctx context.Context) error {
	key, err := p.ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
	if err != nil {
		return err
	}
	last, err := p.db.lastNumber(ctx)
	if err != nil {
		return err
	}
	added := newCustomers(last + 1)
	encrypted, err := structseal.EncryptAll(ctx, p.ring, added)
	if err != nil {
		return err
	}
	if err := p.db.insert(ctx, encrypted); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "Rotate   From now on key %08x encrypts; older ones still decrypt. Side by side:\n", key)

	var rows []Customer
	for _, id := range []string{p.customers[0].ID, customerID(last), added[0].ID} {
		row, err := selectCustomer(ctx, p.db, id)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	read, err := structseal.DecryptAll(ctx, p.ring, rows)
	if err != nil {
		return err
	}
	for i, row := range rows {
		fields, err := structseal.Inspect(row) // looks at headers only, so it needs no ring
		if err != nil {
			return err
		}
		fmt.Fprintf(p.out, "         %s  key %08x  %s\n", row.ID, fields[0].KeyID, read[i].Name)
	}
	return nil
}
