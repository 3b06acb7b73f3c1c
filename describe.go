package structseal

import (
	"reflect"
	"strings"

	"github.com/structseal/structseal/internal/describe"
	"github.com/structseal/structseal/manifest"
)

// Describe tells what the tags of T say: labels, forms, what binds, tables and
// columns, as the manifest has them that `structseal inventory` makes from source.
// A test that compares it with a value that is written down notices when a label
// changes. Positions are empty, and types of package main are "main.T". The methods
// TableName of T and of the structs inside are called on zero values.
//
// Errors: as [Check]; ErrInvalidArgument for structs that hold each other so often that
// T has 10,000 sealed fields.
func Describe[T any]() (manifest.Record, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return manifest.Record{}, invalid("%s is not a struct or a pointer to one", t)
	}
	p, err := planOf(t)
	if err != nil {
		return manifest.Record{}, err
	}
	r, err := describe.Record(describer{}.plan(p))
	if err != nil {
		return manifest.Record{}, invalid("%s: %v", t, err)
	}
	return r, nil
}

// A describer has what was described already: types may be recursive.
type describer map[*plan]*describe.Struct

func (d describer) plan(p *plan) *describe.Struct {
	if s, ok := d[p]; ok {
		return s
	}
	s := &describe.Struct{Path: p.typ.PkgPath(), Name: p.typ.Name(), Marker: p.marker, TableName: tableName(p.typ), BunTag: bunTag(p.typ)}
	d[p] = s
	for _, b := range p.binds {
		s.Binds = append(s.Binds, describe.Member{Tag: b.source.tag, Chain: b.source.goFields(), Type: b.typ.String(), Kind: b.kind.manifest(b.typ)})
	}
	for _, f := range p.fields {
		m := describe.Member{Tag: f.source.tag, Chain: f.source.goFields(), Type: f.node.typ.String()}
		d.node(&m, f.node)
		s.Fields = append(s.Fields, m)
	}
	return s
}

func (d describer) node(m *describe.Member, n *node) {
	switch n.kind {
	case kindString:
		m.Form = manifest.FormString
	case kindBytes:
		m.Form, m.Nullable = manifest.FormBytes, true
	case kindSealed:
		m.Form = manifest.FormSealed
	case kindNull, kindPointer:
		m.Nullable = true
	case kindSlice:
		m.Containers += "[]"
		m.Nullable = true
	case kindArray:
		m.Containers += "[]"
	case kindMap:
		m.Containers += "{}"
		m.Nullable = true
	case kindStruct:
		m.Inner = d.plan(n.plan)
	case kindRecord:
		m.Form, m.Inner = manifest.FormRecord, d.plan(n.plan)
	}
	if n.elem != nil {
		d.node(m, n.elem)
	}
}

func (s source) goFields() []describe.GoField {
	fields := make([]describe.GoField, len(s.chain))
	for i, f := range s.chain {
		fields[i] = describe.GoField{Name: f.Name, Tag: string(f.Tag), Anonymous: f.Anonymous}
	}
	return fields
}

// manifest says how the value of a bind field of type t becomes text.
func (k bindKind) manifest(t reflect.Type) manifest.BindKind {
	switch k {
	case bindBytes, bindArray:
		return manifest.BindBytes
	case bindInt, bindUint:
		return manifest.BindInteger
	case bindText:
		if t.Kind() == reflect.Array && t.Len() == 16 && t.Elem().Kind() == reflect.Uint8 && strings.EqualFold(t.Name(), "uuid") {
			return manifest.BindUUID
		}
	}
	return manifest.BindText
}

// tableName asks the method that GORM asks. A method that needs more than a zero
// value has no answer.
func tableName(t reflect.Type) (name string) {
	v, ok := reflect.New(t).Interface().(interface{ TableName() string })
	if !ok {
		return ""
	}
	defer func() {
		if recover() != nil {
			name = ""
		}
	}()
	return v.TableName()
}

// bunTag returns the tag of the field that gives a struct its table for bun.
func bunTag(t reflect.Type) string {
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && f.Name == "BaseModel" {
			return f.Tag.Get("bun")
		}
	}
	return ""
}
