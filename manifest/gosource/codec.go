package gosource

import (
	"fmt"
	"go/types"
	"reflect"
	"slices"
	"strings"
)

// codecProblem says why a Sealed[T] would lose data, "" if it doesn't.
func codecProblem(r *reader, t types.Type) string {
	if isTime(t) {
		return ""
	}
	if problem := hidden(t); problem != "" {
		return problem
	}
	if marshals(t) {
		return ""
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		if k := u.Kind(); k == types.String || k == types.Bool || isInteger(t) || k == types.Float32 || k == types.Float64 {
			return ""
		}
	case *types.Slice:
		if isByte(u.Elem()) {
			return ""
		}
	case *types.Array:
		if isByte(u.Elem()) {
			return ""
		}
	}
	l := losses{r, map[types.Type]bool{}}
	return l.of(t)
}

// marshals reports whether a T has a text or a JSON form both ways.
func marshals(t types.Type) bool {
	return marshalText.has(t) && unmarshalText.has(t) || marshalJSON.has(t) && unmarshalJSON.has(t)
}

// hidden refuses structs whose text is that of an embedded field.
func hidden(t types.Type) string {
	s := structOf(t)
	if numFields(s) < 2 {
		return ""
	}
	for _, m := range []method{marshalText, marshalJSON} {
		for f := range s.Fields() {
			if !f.Embedded() || !m.implements(f.Type()) && !m.has(f.Type()) {
				continue
			}
			if _, promoted := m.of(t, true); promoted {
				return fmt.Sprintf("%s has the marshaler of its embedded %s, and its other fields would be lost; give that field a name", reflectText(t), f.Name())
			}
		}
	}
	return ""
}

// losses finds what JSON would drop or change.
type losses struct {
	*reader
	seen map[types.Type]bool
}

func (l *losses) of(t types.Type) string {
	t = l.canonical(t)
	if l.seen[t] {
		return ""
	}
	l.seen[t] = true
	if problem := hidden(t); problem != "" {
		return problem
	}
	if isTime(t) || marshals(t) {
		return ""
	}
	switch u := t.Underlying().(type) {
	case *types.Pointer:
		return l.of(u.Elem())
	case *types.Slice:
		return l.of(u.Elem())
	case *types.Array:
		return l.of(u.Elem())
	case *types.Map:
		k := u.Key()
		if kindOf(k) != types.String && !isInteger(k) && !(marshalText.has(k) && unmarshalText.has(k)) {
			return fmt.Sprintf("map key %s has no text form", reflectText(k))
		}
		return l.of(u.Elem())
	case *types.Struct:
		return l.fields(t, nil, map[string]string{})
	case *types.Interface:
		return fmt.Sprintf("%s would come back as another type; use a concrete type or json.RawMessage", reflectText(t))
	case *types.Chan, *types.Signature:
		return reflectText(t) + " has no JSON form"
	case *types.Basic:
		switch u.Kind() {
		case types.Complex64, types.Complex128, types.UnsafePointer, types.Uintptr:
			return reflectText(t) + " has no JSON form"
		}
	}
	return ""
}

// fields goes through what JSON writes for the struct type t, which is embedded in
// outer. It promotes the fields of embedded structs, and of two fields with one name
// it drops one or both.
func (l *losses) fields(t types.Type, outer []types.Type, names map[string]string) string {
	t = l.canonical(t)
	outer = append(outer, t)
	s := structOf(t)
	text := reflectText(t)
	for i := range s.NumFields() {
		f, tag := s.Field(i), reflect.StructTag(s.Tag(i))
		name, _, _ := strings.Cut(tag.Get("json"), ",")
		typ := types.Unalias(f.Type())
		embedded := typ
		if p, ok := typ.Underlying().(*types.Pointer); ok && f.Embedded() {
			embedded = p.Elem()
		}
		promotes := f.Embedded() && name == "" && isStruct(embedded)
		if name == "" {
			name = f.Name()
		}
		switch {
		case strings.Contains(string(tag), "seal:"):
			return fmt.Sprintf("%s.%s has a seal tag: seal its fields or the whole struct, not both", text, f.Name())
		case tag.Get("json") == "-":
			return fmt.Sprintf("%s.%s is json:\"-\" and would be lost", text, f.Name())
		case !f.Exported() && !(promotes && embedded == typ):
			return fmt.Sprintf("%s.%s is unexported and would be lost; give %s MarshalText or MarshalJSON methods, or seal an exported form of it", text, f.Name(), text)
		case promotes && slices.Contains(outer, l.canonical(embedded)):
			return fmt.Sprintf("%s embeds itself and would be lost", reflectText(embedded))
		case promotes:
			if problem := l.fields(embedded, outer, names); problem != "" {
				return problem
			}
			continue
		case names[name] != "":
			return fmt.Sprintf("%s.%s and %s have the same JSON name and would be lost", text, f.Name(), names[name])
		}
		names[name] = text + "." + f.Name()
		if problem := l.of(typ); problem != "" {
			return problem
		}
	}
	return ""
}
