package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// A choice says which records of a manifest a verb works on, and how. Flags make it, on
// top of the file with settings.
type choice struct {
	records []string          // labels; none: all that have a table
	table   string            // of the record, instead of the manifest's
	without []string          // "customer.notes"
	index   map[string]string // columns, and the field that each is of: "customer.email"
	bind    map[string]string
	columns map[string]string // that have what the program binds
	key     []string
	rows    map[string]rowSettings // by record
	perPart int                    // rows
}

// A chosen record is one of a table, with the fields that are in columns of it.
type chosen struct {
	manifest.Record
	options sqlrows.Options
}

// choose returns what to work on, one for each label and table. Apart are the labels of
// records that were left out without being asked for: the manifest knows no table of
// them, or no column.
func (c choice) choose(m *manifest.Manifest) (out []chosen, apart []string, err error) {
	for _, label := range append(slices.Sorted(maps.Keys(c.rows)), c.records...) {
		if m.Record(label) == nil {
			return nil, nil, fmt.Errorf("the manifest has no record %q", label)
		}
	}
	var found, left []manifest.Record
	for _, r := range m.Records {
		if len(c.records) > 0 && !slices.Contains(c.records, r.Label) {
			continue
		}
		if other := c.rows[r.Label].Table; other != "" {
			r.Table = other
		}
		if r.Table != "" || c.table != "" {
			found = append(found, r)
		} else {
			left = append(left, r)
		}
	}
	for _, label := range c.records {
		if !slices.ContainsFunc(found, func(r manifest.Record) bool { return r.Label == label }) {
			return nil, nil, fmt.Errorf("record %s has no table in the manifest: name it with --table", label)
		}
	}
	if c.table != "" {
		if found, err = inTable(found, c.table); err != nil {
			return nil, nil, err
		}
	}
	if found, err = merge(found); err != nil {
		return nil, nil, err
	}
	if len(c.key) > 0 && len(found) > 1 {
		return nil, nil, errors.New("--key is for one table: choose its record with --record")
	}
	var errs []error
	unused := slices.Clone(c.without)
	for _, r := range found {
		one := chosen{Record: r, options: c.options(r.Label)}
		errs = append(errs, one.fields(c, &unused), one.bindings())
		if len(one.Fields) == 0 {
			left = append(left, r)
			continue
		}
		out = append(out, one)
	}
	for column, field := range c.index {
		if !slices.ContainsFunc(found, func(r manifest.Record) bool { return strings.HasPrefix(field, r.Label+".") }) {
			errs = append(errs, fmt.Errorf("no record that was chosen has the field %q, which column %s is to be an index of: fields are named RECORD.LABEL", field, column))
		}
	}
	for _, name := range unused {
		errs = append(errs, fmt.Errorf("no record that was chosen has a field %q to leave out: fields are named RECORD.LABEL", name))
	}
	errs = append(errs, bindsUsed(out, c.bind, c.columns))
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	if len(out) == 0 {
		return nil, nil, errors.New("the manifest has no record with a table: name one with --record and --table")
	}
	for _, r := range left {
		if !covered(r, out) {
			apart = append(apart, r.Label)
		}
	}
	slices.Sort(apart)
	return out, slices.Compact(apart), nil
}

// options are what the rows of a record need: of the settings, and of flags.
func (c choice) options(label string) sqlrows.Options {
	set := c.rows[label]
	o := sqlrows.Options{Key: set.Key, Bind: maps.Clone(set.Bind), BindColumn: maps.Clone(set.BindColumn), Index: maps.Clone(set.Index), PartRows: c.perPart}
	for column, field := range c.index {
		if path, ours := strings.CutPrefix(field, label+"."); ours {
			if o.Index == nil {
				o.Index = make(map[string]string)
			}
			o.Index[column] = path
		}
	}
	if len(c.key) > 0 {
		o.Key = c.key
	}
	put := func(into, other *map[string]string, from map[string]string) {
		for label, value := range from {
			if *into == nil {
				*into = make(map[string]string)
			}
			(*into)[label] = value
			delete(*other, label)
		}
	}
	put(&o.Bind, &o.BindColumn, c.bind)
	put(&o.BindColumn, &o.Bind, c.columns)
	return o
}

// fields keeps the fields that a job over columns can do. Others have to be left out
// by name, and unused loses the names that were.
func (r *chosen) fields(c choice, unused *[]string) error {
	without := slices.Clone(c.without)
	for _, path := range c.rows[r.Label].Without {
		without = append(without, r.Label+"."+path)
	}
	var errs []error
	all := r.Fields
	r.Fields = nil
	for _, f := range all {
		names := fieldNames(&r.Record, &f)
		named := func(n string) bool { return slices.Contains(names, n) }
		switch {
		case slices.ContainsFunc(without, named):
			*unused = slices.DeleteFunc(*unused, named)
		case f.Form == manifest.FormRecord && f.Column == "": // it has a table of its own
		case f.Column == "":
			errs = append(errs, fmt.Errorf("field %s is in no column that the manifest knows: leave it out with --without %s, and treat it in a program of yours", names[0], names[0]))
		case f.Many || f.Form == manifest.FormRecord || f.Form == manifest.FormRecursive:
			errs = append(errs, fmt.Errorf("field %s: column %s of table %s holds several values, which only the program can take apart: leave it out with --without %s, and treat it in a program of yours", names[0], f.Column, r.Table, names[0]))
		default:
			r.Fields = append(r.Fields, f)
		}
	}
	return errors.Join(errs...)
}

// bindings refuses a record with a binding that nobody knows.
func (r *chosen) bindings() error {
	var errs []error
	for _, label := range r.Require {
		if r.options.Bind[label] == "" && r.options.BindColumn[label] == "" {
			errs = append(errs, fmt.Errorf("record %s: the program binds %q itself (require=%s): give --bind %s=VALUE, or --bind-column %s=COLUMN", r.Label, label, label, label, label))
		}
	}
	return errors.Join(errs...)
}

// bindsUsed refuses a label that no record asks for: it is misspelt.
func bindsUsed(records []chosen, given ...map[string]string) error {
	asked := make(map[string]bool)
	for _, r := range records {
		for _, label := range r.Require {
			asked[label] = true
		}
	}
	for _, g := range given {
		for _, label := range slices.Sorted(maps.Keys(g)) {
			if !asked[label] {
				return fmt.Errorf("no record that was chosen asks for the binding %q (require=%s)", label, label)
			}
		}
	}
	return nil
}

// covered reports whether a record is part of another one, which has a table: as what a
// query returns is.
func covered(r manifest.Record, by []chosen) bool {
	for _, f := range r.Fields {
		same := func(g manifest.Field) bool { return slices.Equal(f.Path, g.Path) && f.Form == g.Form }
		if !slices.ContainsFunc(by, func(o chosen) bool { return o.Label == r.Label && slices.ContainsFunc(o.Fields, same) }) {
			return false
		}
	}
	return true
}

// fieldNames are what --without may call a field: its path of labels, which a record
// inside doesn't have, and its Go name.
func fieldNames(r *manifest.Record, f *manifest.Field) []string {
	byType := r.Label + "." + f.Field
	if len(f.Path) == 0 {
		return []string{byType}
	}
	return []string{r.FieldLabel(f), byType}
}

// inTable keeps the records of a table, or puts the only one there.
func inTable(records []manifest.Record, table string) ([]manifest.Record, error) {
	var there []manifest.Record
	labels := make(map[string]bool)
	for _, r := range records {
		labels[r.Label] = true
		if r.Table == table {
			there = append(there, r)
		}
	}
	switch {
	case len(there) > 0:
		return there, nil
	case len(labels) > 1:
		return nil, fmt.Errorf("the manifest has no record in table %q, and several elsewhere: say with --record which one is there", table)
	}
	for _, r := range records {
		r.Table = table
		there = append(there, r)
	}
	return there, nil
}

// merge makes one record of those with the same label and table, such as a whole row
// and a part of it: one job does them all.
func merge(records []manifest.Record) ([]manifest.Record, error) {
	var out []manifest.Record
	for _, r := range records {
		i := slices.IndexFunc(out, func(o manifest.Record) bool { return o.Label == r.Label && o.Table == r.Table })
		if i < 0 {
			r.Fields = slices.Clone(r.Fields)
			out = append(out, r)
			continue
		}
		o := &out[i]
		same := slices.EqualFunc(o.Binds, r.Binds, func(a, b manifest.Bind) bool {
			return a.Label == b.Label && a.Column == b.Column && a.Kind == b.Kind && a.Subject == b.Subject && a.SubjectKind == b.SubjectKind
		})
		if !same || !slices.Equal(o.Require, r.Require) {
			return nil, fmt.Errorf("record %s, table %s: %s and %s are bound to different fields or columns, and a job can't know which of them wrote a row", r.Label, r.Table, o.Type, r.Type)
		}
		for _, f := range r.Fields {
			j := slices.IndexFunc(o.Fields, func(have manifest.Field) bool {
				return strings.Join(have.Path, ".") == strings.Join(f.Path, ".") && have.Column == f.Column && (len(f.Path) > 0 || have.Field == f.Field)
			})
			switch {
			case j < 0:
				o.Fields = append(o.Fields, f)
			case o.Fields[j].Det != f.Det || o.Fields[j].Many != f.Many || o.Fields[j].Form != f.Form:
				return nil, fmt.Errorf("record %s, table %s: field %s means one thing in %s and another in %s", r.Label, r.Table, r.FieldLabel(&f), o.Type, r.Type)
			}
		}
	}
	return out, nil
}

// byLabel reads arguments of the form NAME=VALUE.
func byLabel(flag string, args []string) (map[string]string, error) {
	out := make(map[string]string)
	for _, a := range args {
		label, value, ok := strings.Cut(a, "=")
		if _, twice := out[label]; !ok || label == "" || value == "" || twice {
			return nil, usageError{fmt.Errorf("--%s %q: it is NAME=VALUE, once for each name", flag, a)}
		}
		out[label] = value
	}
	return out, nil
}
