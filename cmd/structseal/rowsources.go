package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// rowSettings say of the rows of a record what its manifest can't know; see
// sqlrows.Options.
type rowSettings struct {
	Table      string            `json:"table"`
	Key        []string          `json:"key"`
	Bind       map[string]string `json:"bind"`
	BindColumn map[string]string `json:"bind_column"`
	Without    []string          `json:"without"`
	Index      map[string]string `json:"index"` // columns, and the field that each is of
}

// openRows opens the database with the rows.
func (w *work) openRows(ctx context.Context) (*database, error) {
	if w.DSN == "" {
		return nil, missing("dsn")
	}
	db, err := openDatabase(ctx, "rows", w.DSN, false)
	if err != nil {
		return nil, err
	}
	w.onClose(db.Close)
	return db, nil
}

// loadManifest reads the manifest.
func (w *work) loadManifest() (*manifest.Manifest, error) {
	if w.Manifest == "" {
		return nil, missing("manifest")
	}
	return manifest.Load(w.Manifest)
}

// tablesOf returns what the tables of a manifest hold, and the labels of the records that
// are apart: the manifest knows no table, or no column, of them.
func (w *work) tablesOf(m *manifest.Manifest) ([]chosen, []string, error) {
	return choice{rows: w.Rows}.choose(m)
}

// rowTables are the tables of records, and the database that they are in.
type rowTables struct {
	db     *database
	tables []*sqlrows.Table
	apart  []string // labels of records that the manifest knows no table of
}

// choose opens the tables of the records that were chosen.
func (w *work) choose(ctx context.Context, c choice) (*rowTables, error) {
	m, err := w.loadManifest()
	if err != nil {
		return nil, err
	}
	c.rows = w.Rows
	records, apart, err := c.choose(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.Manifest, err)
	}
	db, err := w.openRows(ctx)
	if err != nil {
		return nil, err
	}
	out := &rowTables{db: db, apart: apart}
	var errs []error
	for _, r := range records {
		t, err := sqlrows.New(ctx, db.DB, db.dialect, r.Record, &r.options)
		errs = append(errs, err)
		out.tables = append(out.tables, t)
	}
	return out, errors.Join(errs...)
}

// openTables opens the tables of the records with the labels given, or all of them.
func (w *work) openTables(ctx context.Context, labels ...string) ([]*sqlrows.Table, error) {
	t, err := w.choose(ctx, choice{records: labels})
	if err != nil {
		return nil, err
	}
	return t.tables, nil
}
