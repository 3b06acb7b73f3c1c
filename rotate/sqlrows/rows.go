package sqlrows

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/structseal/structseal/rotate"
)

// A row is a rotate.Row with what it was read as.
type row struct {
	rotate.Row
	key  []any
	read []any // binds, cells and indexes, as the database gave them
}

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// read reads rows by a statement that selects t.sql.columns.
func (t *Table) read(ctx context.Context, q querier, query string, args []any) ([]row, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []row
	for rows.Next() {
		r, err := t.scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func (t *Table) scan(rows *sql.Rows) (r row, err error) {
	values := make([]any, t.sql.width)
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return row{}, err
	}
	r = row{key: values[:len(t.keys)], read: values[len(t.keys):]}
	for i, c := range t.keys {
		r.key[i] = c.value(r.key[i])
	}
	r.Key = keyText(r.key)
	rest := r.read
	r.Binds = make([]string, len(t.binds))
	for i, c := range t.binds {
		if c.name == "" {
			r.Binds[i] = c.constant
			continue
		}
		rest[0] = c.value(rest[0])
		text, err := c.bindText(rest[0])
		if err != nil {
			return row{}, fmt.Errorf("row %s, column %s: %w", r.Key, c.name, err)
		}
		r.Binds[i], rest = text, rest[1:]
	}
	if r.Cells, err = r.cells(t.cells, rest); err == nil {
		r.Indexes, err = r.cells(t.indexes, rest[len(t.cells):])
	}
	return r, err
}

// cells returns what columns hold, whose values are given.
func (r *row) cells(columns []column, values []any) ([]rotate.Cell, error) {
	out := make([]rotate.Cell, len(columns))
	for i, c := range columns {
		values[i] = c.value(values[i])
		switch v := values[i].(type) {
		case nil:
		case string:
			out[i] = rotate.Cell{Value: []byte(v), Text: true}
		case []byte:
			out[i] = rotate.Cell{Value: v}
		default:
			return nil, fmt.Errorf("row %s: %w: column %s holds a %T, neither text nor bytes", r.Key, rotate.ErrMismatch, c.name, v)
		}
	}
	return out, nil
}

// plain are the rows without what this package needs of them.
func plain(rows []row) []rotate.Row {
	out := make([]rotate.Row, len(rows))
	for i := range rows {
		out[i] = rows[i].Row
	}
	return out
}

// Scan implements [rotate.Source].
func (t *Table) Scan(ctx context.Context, after string, limit int) ([]rotate.Row, string, error) {
	key, err := t.position(after)
	if err != nil {
		return nil, "", err
	}
	query, args := t.between(t.sql.columns, key, nil, limit)
	rows, err := t.read(ctx, t.db, t.d.number(query), args)
	if err != nil || len(rows) < limit {
		return plain(rows), "", err
	}
	next, err := encodeKey(rows[len(rows)-1].key)
	return plain(rows), next, err
}
