package printtest

import (
	"fmt"
	"reflect"
)

// A holder is one way in which a program keeps a value: printers treat each
// differently, above all unexported fields, whose methods they can't call.
type holder struct {
	name string
	v    any
}

type (
	exported[T any]   struct{ V T }
	unexported[T any] struct{ v T }
	embedded[T any]   struct{ unexported[T] }
	nested[T any]     struct {
		Out exported[T]
		in  struct{ in *unexported[T] }
	}
	inInterface    struct{ V any }
	inPrivateIface struct{ v any }
	inError[T any] struct{ v T }
)

// Error names the type and prints nothing, as a careless printer would find it.
func (e *inError[T]) Error() string { return fmt.Sprintf("error with %T", e.v) }

// holders puts v into every kind of holder.
func holders[T any](v T) []holder {
	n := nested[T]{Out: exported[T]{v}}
	n.in.in = &unexported[T]{v}
	p := &v
	out := []holder{
		{"directly", v},
		{"by pointer", p},
		{"by pointer to pointer", &p},
		{"in an exported field", exported[T]{v}},
		{"in an exported field by pointer", &exported[T]{v}},
		{"in an exported pointer field", exported[*T]{p}},
		{"in an unexported field", unexported[T]{v}},
		{"in an unexported field by pointer", &unexported[T]{v}},
		{"in an unexported pointer field", unexported[*T]{p}},
		{"in an embedded struct", embedded[T]{unexported[T]{v}}},
		{"in nested structs", n},
		{"in nested structs by pointer", &n},
		{"as map value", map[string]T{"k": v}},
		{"in a slice", []T{v}},
		{"in a slice of pointers", []*T{p}},
		{"in an array", [1]T{v}},
		{"in an interface field", inInterface{v}},
		{"in an unexported interface field", inPrivateIface{v}},
		{"in an unexported interface field by pointer", &inPrivateIface{p}},
		{"in a slice of any", []any{v}},
		{"in a map of any", map[string]any{"k": v}},
		{"in a slice in an unexported field", unexported[[]T]{[]T{v}}},
		{"in a map in an unexported field", unexported[map[string]T]{map[string]T{"k": v}}},
		{"in an error", &inError[T]{v}},
	}
	if reflect.ValueOf(&v).Elem().Comparable() {
		out = append(out, holder{"as map key", map[any]string{v: "k"}})
	}
	return out
}
