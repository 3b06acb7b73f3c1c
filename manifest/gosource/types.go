package gosource

import (
	"fmt"
	"go/types"
	"slices"
	"strings"

	"github.com/structseal/structseal/internal/sealtag"
)

// root is the import path of package structseal.
const root = "github.com/structseal/structseal"

// canonical returns one value for all identical types.
func (r *reader) canonical(t types.Type) types.Type {
	t = types.Unalias(t)
	if one, ok := r.one[t]; ok {
		return one
	}
	text := types.TypeString(t, nil)
	for _, known := range r.known[text] {
		if types.Identical(known, t) {
			r.one[t] = known
			return known
		}
	}
	r.known[text] = append(r.known[text], t)
	r.one[t] = t
	return t
}

// isNamed reports whether t is the type pkg.name, or an instance of it.
func isNamed(t types.Type, pkg, name string) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == pkg && n.Obj().Name() == name
}

func isRecord(t types.Type) bool { return isNamed(t, root, "Record") }

// sealedOf returns the T of a Sealed[T].
func sealedOf(t types.Type) types.Type {
	n, ok := types.Unalias(t).(*types.Named)
	if !ok || !isNamed(t, root, "Sealed") || n.TypeArgs().Len() != 1 {
		return nil
	}
	return n.TypeArgs().At(0)
}

func structOf(t types.Type) *types.Struct {
	s, _ := t.Underlying().(*types.Struct)
	return s
}

func isStruct(t types.Type) bool { return structOf(t) != nil }

func hasMarker(t types.Type) bool {
	s := structOf(t)
	for i := range numFields(s) {
		if isRecord(s.Field(i).Type()) {
			return true
		}
	}
	return false
}

// hasTag reports whether a struct has a seal tag itself.
func hasTag(t types.Type) bool {
	s := structOf(t)
	for i := range numFields(s) {
		if _, found, _ := sealtag.Lookup(s.Tag(i)); found {
			return true
		}
	}
	return false
}

func numFields(s *types.Struct) int {
	if s == nil {
		return 0
	}
	return s.NumFields()
}

// kindOf returns the basic kind behind a type, types.Invalid if there is none.
func kindOf(t types.Type) types.BasicKind {
	if b, ok := t.Underlying().(*types.Basic); ok {
		return b.Kind()
	}
	return types.Invalid
}

func isByte(t types.Type) bool { return kindOf(t) == types.Uint8 }

func isInteger(t types.Type) bool {
	k := kindOf(t)
	return k >= types.Int && k <= types.Uint64
}

func isInterface(t types.Type) bool {
	_, ok := t.Underlying().(*types.Interface)
	return ok
}

func isPointer(t types.Type) bool {
	_, ok := t.Underlying().(*types.Pointer)
	return ok
}

func isTime(t types.Type) bool { return isNamed(t, "time", "Time") }

// convertsToTime reports time.Time and types of the same fields.
func convertsToTime(t types.Type) bool {
	s := structOf(t)
	return isTime(t) || s != nil && s.NumFields() > 0 && s.Field(0).Name() == "wall" && s.Field(0).Pkg() != nil && s.Field(0).Pkg().Path() == "time"
}

// A method is one that package structseal looks for.
type method struct {
	iface, name     string // the interface as package reflect writes it
	params, results func(types.Type) bool
}

func isBytes(t types.Type) bool {
	s, ok := types.Unalias(t).(*types.Slice)
	return ok && types.Identical(s.Elem(), types.Typ[types.Uint8])
}

var (
	marshalText   = method{"encoding.TextMarshaler", "MarshalText", nil, isBytes}
	unmarshalText = method{"encoding.TextUnmarshaler", "UnmarshalText", isBytes, nil}
	marshalJSON   = method{"json.Marshaler", "MarshalJSON", nil, isBytes}
	unmarshalJSON = method{"json.Unmarshaler", "UnmarshalJSON", isBytes, nil}
	valuer        = method{"driver.Valuer", "Value", nil, func(t types.Type) bool { return isNamed(t, "database/sql/driver", "Value") }}
	tableName     = method{"", "TableName", nil, func(t types.Type) bool { return types.Identical(t, types.Typ[types.String]) }}
)

// of returns the method if t has it, or, with pointer, *t; and whether it is that of
// an embedded field.
func (m method) of(t types.Type, pointer bool) (f *types.Func, promoted bool) {
	obj, index, _ := types.LookupFieldOrMethod(t, pointer, nil, m.name)
	f, ok := obj.(*types.Func)
	if !ok {
		return nil, false
	}
	sig := f.Signature()
	var results []func(types.Type) bool
	if m.results != nil {
		results = append(results, m.results)
	}
	if m.iface != "" {
		results = append(results, func(t types.Type) bool { return types.Identical(t, types.Universe.Lookup("error").Type()) })
	}
	var params []func(types.Type) bool
	if m.params != nil {
		params = append(params, m.params)
	}
	if !fits(sig.Params(), params) || !fits(sig.Results(), results) {
		return nil, false
	}
	return f, len(index) > 1
}

func fits(tuple *types.Tuple, want []func(types.Type) bool) bool {
	if tuple.Len() != len(want) {
		return false
	}
	for i, is := range want {
		if !is(tuple.At(i).Type()) {
			return false
		}
	}
	return true
}

// has reports whether *t has the method, as package reflect sees it.
func (m method) has(t types.Type) bool {
	if isInterface(t) || isPointer(t) {
		return false // a pointer to these has no methods
	}
	f, _ := m.of(t, true)
	return f != nil
}

// implements reports whether t itself has the method.
func (m method) implements(t types.Type) bool {
	f, _ := m.of(t, false)
	return f != nil
}

// hasTypeParams reports whether a type depends on the parameters of something generic.
func hasTypeParams(t types.Type, seen []types.Type) bool {
	t = types.Unalias(t)
	if slices.Contains(seen, t) {
		return false
	}
	seen = append(seen, t)
	switch t := t.(type) {
	case *types.TypeParam:
		return true
	case *types.Named:
		for a := range t.TypeArgs().Types() {
			if hasTypeParams(a, seen) {
				return true
			}
		}
		// A type in a generic function has no arguments of its own.
		local := t.Obj().Pkg() != nil && t.Obj().Parent() != t.Obj().Pkg().Scope()
		return t.TypeArgs().Len() == 0 && local && hasTypeParams(t.Underlying(), seen)
	case *types.Pointer:
		return hasTypeParams(t.Elem(), seen)
	case *types.Slice:
		return hasTypeParams(t.Elem(), seen)
	case *types.Array:
		return hasTypeParams(t.Elem(), seen)
	case *types.Map:
		return hasTypeParams(t.Key(), seen) || hasTypeParams(t.Elem(), seen)
	case *types.Struct:
		for f := range t.Fields() {
			if hasTypeParams(f.Type(), seen) {
				return true
			}
		}
	}
	return false
}

// reflectText writes a type as package reflect does, because errors of package
// structseal have it so.
func reflectText(t types.Type) string { return writeType(t, (*types.Package).Name, false) }

// argumentPath is how package reflect names packages inside of type arguments.
func argumentPath(p *types.Package) string {
	if p.Name() == "main" {
		return "main"
	}
	return p.Path()
}

func writeType(t types.Type, qualify func(*types.Package) string, argument bool) string {
	write := func(t types.Type) string { return writeType(t, qualify, argument) }
	switch t := types.Unalias(t).(type) {
	case *types.Basic:
		if t.Kind() == types.UnsafePointer {
			return "unsafe.Pointer"
		}
		return types.Typ[t.Kind()].Name() // byte is uint8
	case *types.Named:
		if t.Obj().Pkg() == nil {
			return t.Obj().Name()
		}
		return qualify(t.Obj().Pkg()) + "." + nameOf(t)
	case *types.TypeParam:
		return t.Obj().Name()
	case *types.Pointer:
		return "*" + write(t.Elem())
	case *types.Slice:
		return "[]" + write(t.Elem())
	case *types.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), write(t.Elem()))
	case *types.Map:
		return "map[" + write(t.Key()) + "]" + write(t.Elem())
	case *types.Chan:
		return map[types.ChanDir]string{types.SendRecv: "chan ", types.SendOnly: "chan<- ", types.RecvOnly: "<-chan "}[t.Dir()] + write(t.Elem())
	case *types.Struct:
		var fields []string
		for i := range t.NumFields() {
			f := t.Field(i)
			text := write(f.Type())
			switch {
			case f.Embedded():
			case argument && !f.Exported():
				text = qualify(f.Pkg()) + "." + f.Name() + " " + text
			default:
				text = f.Name() + " " + text
			}
			if tag := t.Tag(i); tag != "" {
				text += fmt.Sprintf(" %q", tag)
			}
			fields = append(fields, text)
		}
		if fields == nil {
			return "struct {}"
		}
		return "struct { " + strings.Join(fields, "; ") + " }"
	case *types.Signature:
		return "func" + writeSignature(t, write)
	case *types.Interface:
		if t.NumMethods() == 0 {
			return "interface {}"
		}
		var methods []string
		for m := range t.Methods() {
			methods = append(methods, m.Name()+writeSignature(m.Signature(), write))
		}
		return "interface { " + strings.Join(methods, "; ") + " }"
	}
	return t.String()
}

// nameOf is what package reflect calls a type: with its arguments.
func nameOf(t types.Type) string {
	n, ok := types.Unalias(t).(*types.Named)
	if !ok {
		return ""
	}
	name := n.Obj().Name()
	var args []string
	for a := range n.TypeArgs().Types() {
		args = append(args, writeType(a, argumentPath, true))
	}
	if args != nil {
		name += "[" + strings.Join(args, ",") + "]"
	}
	return name
}

func writeSignature(s *types.Signature, write func(types.Type) string) string {
	list := func(tuple *types.Tuple, variadic bool) []string {
		var out []string
		for v := range tuple.Variables() {
			out = append(out, write(v.Type()))
		}
		if variadic {
			out[len(out)-1] = "..." + strings.TrimPrefix(out[len(out)-1], "[]")
		}
		return out
	}
	text := "(" + strings.Join(list(s.Params(), s.Variadic()), ", ") + ")"
	switch results := list(s.Results(), false); len(results) {
	case 0:
		return text
	case 1:
		return text + " " + results[0]
	default:
		return text + " (" + strings.Join(results, ", ") + ")"
	}
}
