package sqlrows

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
)

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// Table is the table's name, with its schema if need be: "crm.customers". Default:
	// the manifest's.
	Table string

	// Key are the columns that order and identify rows: UNIQUE together, NOT NULL, and
	// with an index. Default: the primary key.
	Key []string

	// Bind gives values to labels that the program binds itself (require=LABEL), the
	// same for all rows.
	Bind map[string]string

	// BindColumn says in which column the value of such a label is.
	BindColumn map[string]string

	// Without are fields to leave out, by their paths of labels: "address.street".
	// Columns of several values have to be left out.
	Without []string

	// Index are columns by which fields are searched, beside those that the manifest
	// knows, with the path of the field: "email_hash": "email". Jobs compare them before
	// they write, rotate.Sweep empties them, rotate.Reindex makes them anew.
	Index map[string]string

	// PartRows is how many rows a worker claims at once. Default: 20,000.
	PartRows int

	// TablePrefix begins the names of the tables of jobs. Default: "structseal_".
	TablePrefix string
}

const (
	defaultPartRows = 20_000
	defaultPrefix   = "structseal_"
)

// A Table is a [rotate.Source]. It is safe for concurrent use.
type Table struct {
	db      *sql.DB
	d       dialect
	name    string // for people
	quoted  string
	record  manifest.Record
	keys    []column
	binds   []column // with an empty name: constant
	cells   []column
	indexes []column
	jobs    string // quoted tables
	parts   string
	perPart int
	sql     statements
}

var (
	_ rotate.Source   = (*Table)(nil)
	_ rotate.Lagging  = (*Table)(nil)
	_ rotate.Counting = (*Table)(nil)
)

// A column is one that jobs read.
type column struct {
	name     string // "" for a constant
	constant string
	typ      string // as the driver names it
	text     bool   // not of bytes
	kind     manifest.BindKind
}

// New checks that the table has what the manifest says, and returns it. It makes two
// queries.
//
// Errors: rotate.ErrMismatch with all that is missing; the database's.
func New(ctx context.Context, db *sql.DB, d sqlstore.Dialect, record manifest.Record, opts *Options) (*Table, error) {
	if opts == nil {
		opts = new(Options)
	}
	t := &Table{db: db, d: dialect{d}, name: opts.Table, perPart: opts.PartRows}
	if t.name == "" {
		t.name = record.Table
	}
	if t.perPart <= 0 {
		t.perPart = defaultPartRows
	}
	prefix := opts.TablePrefix
	if prefix == "" {
		prefix = defaultPrefix
	}
	t.jobs, t.parts = t.d.quote(prefix+"jobs"), t.d.quote(prefix+"parts")
	if t.name == "" {
		return nil, mismatch("record %s has no table: name it", record.Label)
	}
	t.quoted = t.d.quote(t.name)
	if err := t.layout(record, opts); err != nil {
		return nil, err
	}
	types, err := t.columnTypes(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqlrows: table %s: %w", t.name, err)
	}
	key := opts.Key
	if len(key) == 0 {
		if key, err = t.d.primaryKey(ctx, db, t.name); err != nil {
			return nil, fmt.Errorf("sqlrows: primary key of %s: %w", t.name, err)
		}
		if len(key) == 0 {
			return nil, mismatch("table %s has no primary key: give the columns of a unique one", t.name)
		}
	}
	for _, name := range key {
		t.keys = append(t.keys, column{name: name})
	}
	var errs []error
	for _, list := range [][]column{t.keys, t.binds, t.cells, t.indexes} {
		for i := range list {
			c := &list[i]
			if c.name == "" {
				continue
			}
			typ, ok := types[strings.ToLower(c.name)]
			if !ok {
				errs = append(errs, mismatch("table %s has no column %q", t.name, c.name))
			}
			c.typ, c.text = strings.ToUpper(typ), ok && !t.d.isBytes(typ)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t.sql = t.statements()
	return t, nil
}

func mismatch(format string, args ...any) error {
	return fmt.Errorf("sqlrows: %w: %s", rotate.ErrMismatch, fmt.Sprintf(format, args...))
}

// layout takes from the record what is in columns.
func (t *Table) layout(record manifest.Record, opts *Options) error {
	var errs []error
	t.record = record
	t.record.Binds, t.record.Fields = slices.Clone(record.Binds), nil
	for _, b := range record.Binds {
		t.binds = append(t.binds, column{name: b.Column, kind: b.Kind})
		if b.Column == "" {
			errs = append(errs, mismatch("record %s: bind field %s has no column", record.Label, b.Label))
		}
	}
	for _, label := range record.Require {
		value, constant := opts.Bind[label]
		name, inColumn := opts.BindColumn[label]
		if constant || inColumn {
			t.record.Binds = append(t.record.Binds, manifest.Bind{Label: label, Column: name, Kind: manifest.BindText})
			t.binds = append(t.binds, column{name: name, constant: value, kind: manifest.BindText})
		}
	}
	t.record.Indexes = slices.Clone(record.Indexes)
	for _, name := range slices.Sorted(maps.Keys(opts.Index)) {
		if !slices.ContainsFunc(record.Fields, func(f manifest.Field) bool { return strings.Join(f.Path, ".") == opts.Index[name] }) {
			errs = append(errs, mismatch("record %s has no field %q, which the column %s is to be an index of", record.Label, opts.Index[name], name))
		}
		t.record.Indexes = append(t.record.Indexes, manifest.Index{Label: name, Of: opts.Index[name], Column: name})
	}
	for _, x := range t.record.Indexes {
		t.indexes = append(t.indexes, column{name: x.Column})
	}
	left := slices.Clone(opts.Without)
	for _, f := range record.Fields {
		path := strings.Join(f.Path, ".")
		if i := slices.Index(left, path); i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		if f.Column == "" && !f.Many {
			errs = append(errs, mismatch("record %s: field %s has no column", record.Label, path))
		}
		t.record.Fields = append(t.record.Fields, f)
		t.cells = append(t.cells, column{name: f.Column})
	}
	for _, path := range left {
		errs = append(errs, mismatch("record %s has no field %q to leave out", record.Label, path))
	}
	return errors.Join(errs...)
}

func (t *Table) columnTypes(ctx context.Context) (map[string]string, error) {
	rows, err := t.db.QueryContext(ctx, "SELECT * FROM "+t.quoted+" WHERE 1 = 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(types))
	for _, c := range types {
		out[strings.ToLower(c.Name())] = c.DatabaseTypeName()
	}
	return out, rows.Err()
}

// Name implements [rotate.Source].
func (t *Table) Name() string { return t.name }

// Record implements [rotate.Source].
func (t *Table) Record() *manifest.Record { return &t.record }

// Estimate implements [rotate.Source] with what the database's statistics say, or a
// count if they say nothing.
func (t *Table) Estimate(ctx context.Context) (int64, error) {
	var n sql.NullInt64
	if query, args := t.d.estimate(t.name); query != "" {
		if err := t.db.QueryRowContext(ctx, query, args...).Scan(&n); err == nil && n.Valid && n.Int64 > 0 {
			return n.Int64, nil
		}
	}
	if err := t.db.QueryRowContext(ctx, "SELECT count(*) FROM "+t.quoted).Scan(&n); err != nil {
		return 0, fmt.Errorf("sqlrows: %s: %w", t.name, err)
	}
	return n.Int64, nil
}

// Lag implements [rotate.Lagging]: how far the furthest of PostgreSQL's replicas is
// behind. It needs the role pg_monitor, or none is seen. For the other databases it is
// always 0.
func (t *Table) Lag(ctx context.Context) (time.Duration, error) {
	if t.d.Dialect != sqlstore.PostgreSQL {
		return 0, nil
	}
	var seconds float64
	err := t.db.QueryRowContext(ctx, "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 FROM pg_stat_replication").Scan(&seconds)
	return time.Duration(seconds * float64(time.Second)), err
}
