package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

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
}

func (r rowSettings) options() *sqlrows.Options {
	return &sqlrows.Options{Table: r.Table, Key: r.Key, Bind: r.Bind, BindColumn: r.BindColumn, Without: r.Without}
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

// tablesOf returns what the tables of a manifest hold, one record a table: types that
// share a record and a table, such as a full row and a part of it, are put together.
// Records without a table are in apart: they stand in others' columns, or nobody knows
// where.
func (w *work) tablesOf(m *manifest.Manifest) (tables []manifest.Record, apart []string, err error) {
	at := make(map[string]int)
	labels := make(map[string]bool)
	for _, r := range m.Records {
		labels[r.Label] = true
		if set := w.Rows[r.Label]; set.Table != "" {
			r.Table = set.Table
		}
		if r.Table == "" {
			apart = append(apart, r.Label)
			continue
		}
		key := r.Label + "\x00" + r.Table
		i, ok := at[key]
		if !ok {
			at[key] = len(tables)
			r.Fields = slices.Clone(r.Fields)
			tables = append(tables, r)
			continue
		}
		for _, f := range r.Fields {
			if !slices.ContainsFunc(tables[i].Fields, func(g manifest.Field) bool { return slices.Equal(f.Path, g.Path) }) {
				tables[i].Fields = append(tables[i].Fields, f)
			}
		}
	}
	for _, label := range slices.Sorted(maps.Keys(w.Rows)) {
		if !labels[label] {
			return nil, nil, usageError{fmt.Errorf("%q in the file with settings: the manifest has no record %s", "rows", label)}
		}
	}
	slices.Sort(apart)
	return tables, slices.Compact(apart), nil
}

// openTables opens the tables of the records with the labels given, or all of them.
func (w *work) openTables(ctx context.Context, labels ...string) ([]*sqlrows.Table, error) {
	m, err := w.loadManifest()
	if err != nil {
		return nil, err
	}
	records, apart, err := w.tablesOf(m)
	if err != nil {
		return nil, err
	}
	for _, label := range labels {
		if slices.Contains(apart, label) {
			return nil, fmt.Errorf("record %s has no table: name it as rows.%s.table in the file with settings", label, label)
		}
		if len(m.Record(label)) == 0 {
			return nil, usageError{fmt.Errorf("%s has no record %q", w.Manifest, label)}
		}
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("%s: no record has a table (%s)", w.Manifest, strings.Join(apart, ", "))
	}
	db, err := w.openRows(ctx)
	if err != nil {
		return nil, err
	}
	var tables []*sqlrows.Table
	for _, r := range records {
		if len(labels) > 0 && !slices.Contains(labels, r.Label) {
			continue
		}
		opts := w.Rows[r.Label].options()
		opts.Table = r.Table
		table, err := sqlrows.New(ctx, db.DB, db.dialect, r, opts)
		if err != nil {
			return nil, err
		}
		tables = append(tables, table)
	}
	return tables, nil
}
