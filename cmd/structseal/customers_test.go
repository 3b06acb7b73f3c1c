package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/manifest"
)

// customer is a row of the program that scripts about rows run, as `customers`.
type customer struct {
	_     structseal.Record      `seal:"customer"`
	ID    int64                  `seal:"id,bind"`
	Email string                 `seal:"email"`
	Phone *string                `seal:"phone"`
	Score structseal.Sealed[int] `seal:"score"`
}

func person(id int64) customer {
	c := customer{ID: id, Email: fmt.Sprintf("%d@example.net", id), Score: structseal.Of(int(id))}
	if id%2 == 0 {
		phone := fmt.Sprintf("+44 20 %07d", id)
		c.Phone = &phone
	}
	return c
}

// customers is the program. It takes its settings as the tool does.
//
//	customers setup            makes a ring, a database, the manifest and a file with settings
//	customers insert FROM TO   inserts rows
//	customers plain FROM TO    inserts rows in plaintext
//	customers rotate           makes a new primary key, and prints its id and the old one's
//	customers damage FROM TO   changes ciphertexts of rows
//	customers await WORKER     waits until a worker has begun
//	customers parts            prints in how many parts jobs were done
//	customers check N          decrypts all rows, which are N
func customers() {
	err := customersVerb(context.Background(), os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "customers:", err)
		os.Exit(1)
	}
}

func customersVerb(ctx context.Context, verb string, args []string) error {
	if verb == "setup" {
		return setUpCustomers(ctx)
	}
	var numbers []int64
	for _, a := range args {
		if verb == "await" {
			break
		}
		n, err := strconv.ParseInt(a, 10, 64)
		if err != nil {
			return err
		}
		numbers = append(numbers, n)
	}
	set := new(settings)
	if err := set.read(os.Getenv("STRUCTSEAL_CONFIG")); err != nil {
		return err
	}
	w := &work{settings: set}
	defer w.close()
	db, err := w.openRows(ctx)
	if err != nil {
		return err
	}
	if verb == "await" {
		return awaitWorker(ctx, db, args[0])
	}
	ring, err := w.openRing(ctx)
	if err != nil {
		return err
	}
	switch verb {
	case "insert", "plain":
		return insertCustomers(ctx, db, ring, numbers[0], numbers[1], verb == "plain")
	case "rotate":
		old, err := ring.Primary(ctx, keyring.Data)
		if err != nil {
			return err
		}
		id, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
		fmt.Printf("%08x %08x\n", id, old.ID())
		return err
	case "damage":
		// The header stays. The tag isn't that of the value any more.
		_, err := db.ExecContext(ctx, "UPDATE customers SET email = substr(email, 1, 40) || 'AAAA' || substr(email, 45) WHERE id BETWEEN ? AND ?", numbers[0], numbers[1])
		return err
	case "parts":
		var n int
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM structseal_parts").Scan(&n)
		fmt.Println(n)
		return err
	case "check":
		return checkCustomers(ctx, db, ring, numbers[0])
	}
	return errors.New("unknown verb")
}

func setUpCustomers(ctx context.Context) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	key := filepath.Join(dir, "app.kek")
	kms, err := localkms.CreateKeyFile(key)
	if err != nil {
		return err
	}
	store, err := keyring.NewFileStore(filepath.Join(dir, "ring"))
	if err != nil {
		return err
	}
	ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)
	if err != nil {
		return err
	}
	defer ring.Close()
	dsn := "sqlite://" + filepath.Join(dir, "rows.db")
	db, err := openDatabase(ctx, "rows", dsn, true)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT NOT NULL, phone TEXT, score TEXT NOT NULL)"); err != nil {
		return err
	}
	record, err := structseal.Describe[customer]()
	if err != nil {
		return err
	}
	text, err := (&manifest.Manifest{Records: []manifest.Record{record}}).Text()
	if err != nil {
		return err
	}
	if err := os.WriteFile("structseal.json", text, 0o600); err != nil {
		return err
	}
	text, err = json.Marshal(map[string]any{"store": "file://" + dir + "/ring", "kms": []string{"file://" + key}, "ring": "app", "pin": pin.String(), "dsn": dsn})
	if err != nil {
		return err
	}
	return os.WriteFile("structseal.config.json", text, 0o600)
}

func insertCustomers(ctx context.Context, db *database, ring *keyring.Keyring, from, to int64, plain bool) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for id := from; id <= to; id++ {
		c := person(id)
		args := []any{c.ID, c.Email, c.Phone, fmt.Sprint(id)}
		if !plain {
			if c, err = structseal.Encrypt(ctx, ring, c); err != nil {
				return err
			}
			args = []any{c.ID, c.Email, c.Phone, c.Score}
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO customers (id, email, phone, score) VALUES (?, ?, ?, ?)", args...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func checkCustomers(ctx context.Context, db *database, ring *keyring.Keyring, want int64) error {
	rows, err := db.QueryContext(ctx, "SELECT id, email, phone, score FROM customers")
	if err != nil {
		return err
	}
	defer rows.Close()
	n := int64(0)
	for rows.Next() {
		var c customer
		if err := rows.Scan(&c.ID, &c.Email, &c.Phone, &c.Score); err != nil {
			return err
		}
		c, err := structseal.Decrypt(ctx, ring, c)
		if err != nil {
			return err
		}
		p := person(c.ID)
		if c.Email != p.Email || (c.Phone == nil) != (p.Phone == nil) || c.Phone != nil && *c.Phone != *p.Phone || !c.Score.Equal(p.Score) {
			return fmt.Errorf("row %d isn't what it was", c.ID)
		}
		n++
	}
	if n != want {
		return fmt.Errorf("%d rows, want %d", n, want)
	}
	return rows.Err()
}

func awaitWorker(ctx context.Context, db *database, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for look := time.NewTicker(5 * time.Millisecond); ; {
		var n int64
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM structseal_parts WHERE owner = ?", name).Scan(&n); err == nil && n > 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
