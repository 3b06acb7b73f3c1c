package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
)

// people is a row of the program that scripts about keys run, as `people`: each person
// has keys of its own, and a note that is under the ring's.
type people struct {
	_     structseal.Record `seal:"person"`
	ID    string            `seal:"id,bind,subject=person"`
	Email string            `seal:"email"`
}

type note struct {
	_    structseal.Record `seal:"note"`
	ID   string            `seal:"id,bind"`
	Text string            `seal:"text"`
}

// peopleProgram is a program that has a ring. It takes its settings as the tool does.
//
//	people insert FROM TO   makes the tables, if they aren't there, and rows
//	people plain ID         inserts a note in plaintext
//	people read ID          prints the note and the mail of one
//	people delete           deletes all notes
//	people hashes           prints the indexes of all mails
func peopleProgram() {
	if err := peopleVerb(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "people:", err)
		os.Exit(1)
	}
}

func peopleVerb(ctx context.Context, args []string) error {
	g := &given{}
	s, err := g.load(nil)
	if err != nil {
		return err
	}
	s.TTL, s.MaxStale = 0, 0 // the short waits of a script are no time to encrypt in
	w := &work{settings: s}
	defer w.close()
	ring, err := w.openRing(ctx)
	if err != nil {
		return err
	}
	db, err := openDatabase(ctx, "rows", w.DSN, true)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, table := range []string{"people (id TEXT PRIMARY KEY, email TEXT NOT NULL, email_hash TEXT)", "notes (id TEXT PRIMARY KEY, text TEXT NOT NULL)"} {
		if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+table); err != nil {
			return err
		}
	}
	switch args[0] {
	case "insert":
		return insertPeople(ctx, ring, db, args[1], args[2])
	case "plain":
		_, err = db.ExecContext(ctx, "INSERT INTO notes VALUES (?, 'in the clear')", args[1])
	case "delete":
		_, err = db.ExecContext(ctx, "DELETE FROM notes")
	case "hashes":
		return printHashes(ctx, db)
	case "read":
		return readPerson(ctx, ring, db, args[1])
	}
	return err
}

func insertPeople(ctx context.Context, ring *keyring.Keyring, db *database, from, to string) error {
	first, _ := strconv.Atoi(from)
	last, err := strconv.Atoi(to)
	if err != nil {
		return err
	}
	for i := first; i <= last; i++ {
		id := fmt.Sprintf("p-%d", i)
		p, err := structseal.Encrypt(ctx, ring, people{ID: id, Email: id + "@example.net"})
		if err != nil {
			return err
		}
		n, err := structseal.Encrypt(ctx, ring, note{ID: id, Text: "of " + id})
		if err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO people VALUES (?, ?, ?)", p.ID, p.Email, "hash of "+id); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO notes VALUES (?, ?)", n.ID, n.Text); err != nil {
			return err
		}
	}
	return nil
}

func printHashes(ctx context.Context, db *database) error {
	rows, err := db.QueryContext(ctx, "SELECT id, coalesce(email_hash, 'NULL') FROM people ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, hash string
		if err := rows.Scan(&id, &hash); err != nil {
			return err
		}
		fmt.Println(id, hash)
	}
	return rows.Err()
}

func readPerson(ctx context.Context, ring *keyring.Keyring, db *database, id string) error {
	n, p := note{ID: id}, people{ID: id}
	if err := db.QueryRowContext(ctx, "SELECT text FROM notes WHERE id = ?", id).Scan(&n.Text); err != nil && err != sql.ErrNoRows {
		return err
	} else if err == nil {
		if n, err = structseal.Decrypt(ctx, ring, n); err != nil {
			return err
		}
		fmt.Println(n.Text)
	}
	if err := db.QueryRowContext(ctx, "SELECT email FROM people WHERE id = ?", id).Scan(&p.Email); err != nil {
		return err
	}
	p, err := structseal.Decrypt(ctx, ring, p)
	if err != nil {
		return err
	}
	fmt.Println(p.Email)
	return nil
}
