// Package describe turns what the tags of a struct type mean into the record of a
// manifest. It is shared by those who find out what they mean: by reflection, or
// from source.
package describe

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/structseal/structseal/internal/sealtag"
	"github.com/structseal/structseal/manifest"
)

// A Struct is a struct type, with the structs that it embeds without a tag folded in.
type Struct struct {
	Path     string // import path of its package
	Name     string // as package reflect has it; "" for a type without a name
	Position string
	Marker   sealtag.Tag

	TableName string // what its method TableName returns
	BunTag    string // of an embedded BaseModel

	Binds  []Member // by label
	Fields []Member // in declaration order
}

// A Member is a tagged field, or one that holds a record of its own.
type Member struct {
	Tag      sealtag.Tag // zero for a record without a tag
	Chain    []GoField   // the embedded structs on the way, and the field
	Type     string      // as package reflect writes it
	Position string

	Kind manifest.BindKind // of a bind field

	// Of the others. Form is that of the value behind all containers; it is "" for a
	// struct that belongs to the record, and FormRecord for a record of its own.
	Form       manifest.Form
	Containers string // "[]" and "{}", the outermost first
	Nullable   bool
	Inner      *Struct
}

// A GoField is a field of a struct type.
type GoField struct {
	Name      string
	Tag       string // all of it
	Anonymous bool
}

// maxFields is what structs may multiply to that hold each other.
const maxFields = 10_000

// Record describes a struct type that has a marker. It returns an error when it has
// more than 10,000 sealed fields, along all ways.
func Record(s *Struct) (manifest.Record, error) {
	r := manifest.Record{
		Label:    s.Marker.Label,
		Type:     typeName(s),
		Position: s.Position,
		Table:    tableOf(s),
		Category: s.Marker.Category,
		Unbound:  s.Marker.Unbound,
		Require:  slices.Sorted(slices.Values(s.Marker.Require)),
		Fields:   []manifest.Field{},
	}
	for _, m := range s.Binds {
		column, _ := columnOf(prefixOf(m.Chain), m)
		r.Binds = append(r.Binds, manifest.Bind{
			Label:       m.Tag.Label,
			Field:       goName(m.Chain),
			Type:        TypeText(m.Type),
			Position:    m.Position,
			Column:      column,
			Kind:        m.Kind,
			Subject:     m.Tag.Subject,
			SubjectKind: m.Tag.SubjectKind,
			Category:    m.Tag.Category,
		})
	}
	r.Fields = appendFields(r.Fields, s, place{open: []*Struct{s}})
	if len(r.Fields) >= maxFields {
		return r, fmt.Errorf("record %s has %d sealed fields or more, too many to list", r.Label, maxFields)
	}
	return r, nil
}

func typeName(s *Struct) string {
	if s.Name == "" {
		return "struct"
	}
	return s.Path + "." + TypeText(s.Name)
}

// place is where a struct is within the record.
type place struct {
	path     []string
	shape    string
	field    string
	prefix   string // of columns
	inColumn bool   // all of the struct is in one column
	column   string // which
	many     bool   // there is a slice, an array or a map on the way
	nullable bool
	category string
	open     []*Struct // those on the way
}

func appendFields(fields []manifest.Field, s *Struct, at place) []manifest.Field {
	for _, m := range s.Fields {
		if len(fields) >= maxFields {
			break
		}
		in := at
		in.field = strings.TrimPrefix(at.field+"."+goName(m.Chain), ".")
		if m.Tag.Label != "" {
			in.path = append(slices.Clone(at.path), m.Tag.Label)
			in.shape = strings.TrimPrefix(at.shape+"."+m.Tag.Label, ".")
		}
		in.shape += m.Containers
		in.many = at.many || m.Containers != ""
		in.nullable = at.nullable || m.Nullable
		if m.Tag.Category != "" {
			in.category = m.Tag.Category
		}
		prefix := at.prefix + prefixOf(m.Chain)
		column, explicit := columnOf(prefix, m)
		f := manifest.Field{
			Path:     append([]string{}, in.path...),
			Field:    in.field,
			Type:     TypeText(m.Type),
			Position: m.Position,
			Form:     m.Form,
			Nullable: in.nullable,
			Many:     true,
			Det:      m.Tag.Det,
			Category: in.category,
		}
		if strings.ContainsAny(in.shape, "[{") {
			f.Shape = in.shape
		}
		switch {
		case m.Form == manifest.FormRecord:
			if explicit {
				f.Column = column
			}
			f.Record = m.Inner.Marker.Label
			fields = append(fields, f)
			continue
		case at.inColumn && m.Tag.Column == "":
			f.Column = at.column
		default:
			f.Column, f.Many = column, in.many
		}
		if m.Form != "" {
			fields = append(fields, f)
			continue
		}
		if slices.Contains(in.open, m.Inner) {
			f.Form, f.Many = manifest.FormRecursive, true
			fields = append(fields, f)
			continue
		}
		in.open = append(slices.Clone(at.open), m.Inner)
		if flat, more := embeds(m); flat && !at.inColumn && m.Containers == "" && m.Tag.Column == "" {
			in.prefix = prefix + more
		} else {
			in.inColumn, in.column = true, f.Column
		}
		fields = appendFields(fields, m.Inner, in)
	}
	return fields
}

func goName(chain []GoField) string {
	names := make([]string, len(chain))
	for i, f := range chain {
		names[i] = f.Name
	}
	return strings.Join(names, ".")
}

var (
	importPath = regexp.MustCompile(`[\w.~!%-]+/`)
	localType  = regexp.MustCompile(`·\d+`)
	byteType   = regexp.MustCompile(`\]uint8\b`)
)

// TypeText shortens a type as package reflect writes it to what stands in source:
// type arguments without their import paths, byte and any.
func TypeText(s string) string {
	s = importPath.ReplaceAllString(s, "")
	s = localType.ReplaceAllString(s, "")
	s = byteType.ReplaceAllString(s, "]byte")
	return strings.ReplaceAll(s, "interface {}", "any")
}
