package main

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"net/url"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite"
)

// A database holds customers as they are given to it. It has no keys, and knows
// nothing of encryption: sealed fields are columns of text.
type database struct {
	*sql.DB
	path string
}

var columnNames = []string{"id", "country", "name", "email", "phone", "born", "notes"}

const schema = `CREATE TABLE IF NOT EXISTS customers (
	id      TEXT PRIMARY KEY,
	country TEXT NOT NULL,
	name    TEXT NOT NULL,
	email   TEXT NOT NULL,
	phone   TEXT NOT NULL,
	born    TEXT NOT NULL,
	notes   TEXT NOT NULL
)`

var selectFrom = "SELECT " + strings.Join(columnNames, ", ") + " FROM customers "

func openDatabase(ctx context.Context, path string) (*database, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	name := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(abs), "/"), RawQuery: "_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &database{db, path}, nil
}

func (db *database) count(ctx context.Context) (n int, err error) {
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM customers").Scan(&n)
	return n, err
}

// lastNumber returns the highest number of a customer's id.
func (db *database) lastNumber(ctx context.Context) (n int, err error) {
	err = db.QueryRowContext(ctx, "SELECT max(CAST(substr(id, 3) AS INTEGER)) FROM customers").Scan(&n)
	return n, err
}

// columns returns a row as text, the way any tool would show it.
func (db *database) columns(ctx context.Context, id string) ([]string, error) {
	text := make([]string, len(columnNames))
	dest := make([]any, len(text))
	for i := range text {
		dest[i] = &text[i]
	}
	err := db.QueryRowContext(ctx, selectFrom+"WHERE id = ?", id).Scan(dest...)
	return text, err
}

// insert adds rows in one transaction: all of them or none.
func (db *database) insert(ctx context.Context, rows []Customer) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	stmt, err := tx.PrepareContext(ctx, "INSERT INTO customers (id, country, name, email, phone, born, notes) VALUES (?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	for _, c := range rows {
		if _, err := stmt.ExecContext(ctx, c.ID, c.Country, c.Name, c.Email, c.Phone, c.Born, c.Notes); err != nil {
			return fmt.Errorf("customer %s: %w", c.ID, err)
		}
	}
	return tx.Commit()
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// selectCustomers yields the rows that a WHERE or ORDER BY picks, as they are
// stored. q is a database or a transaction.
func selectCustomers(ctx context.Context, q querier, where string, args ...any) iter.Seq2[Customer, error] {
	return func(yield func(Customer, error) bool) {
		rows, err := q.QueryContext(ctx, selectFrom+where, args...)
		if err != nil {
			yield(Customer{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var c Customer
			err := rows.Scan(&c.ID, &c.Country, &c.Name, &c.Email, &c.Phone, &c.Born, &c.Notes)
			if !yield(c, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Customer{}, err)
		}
	}
}

func selectCustomer(ctx context.Context, q querier, id string) (Customer, error) {
	for c, err := range selectCustomers(ctx, q, "WHERE id = ?", id) {
		return c, err
	}
	return Customer{}, fmt.Errorf("customer %s: %w", id, sql.ErrNoRows)
}
