package structseal_test

import (
	"fmt"
	"reflect"
)

// deepCopy copies what a verb could change: pointers, slices, maps and arrays,
// at any depth. Structs with unexported fields (Sealed, time.Time) are immutable.
func deepCopy[T any](v T) T {
	out := copyValue(reflect.ValueOf(&v).Elem())
	return out.Interface().(T)
}

func copyValue(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(copyValue(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(copyValue(v.Index(i)))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			out.Index(i).Set(copyValue(v.Index(i)))
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMap(v.Type()))
			for it := v.MapRange(); it.Next(); {
				out.SetMapIndex(it.Key(), copyValue(it.Value()))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				out.Field(i).Set(copyValue(v.Field(i)))
			}
		}
	}
	return out
}

// difference tells the first place where a and b differ, "" if they are equal.
// Types with an Equal method (Sealed, time.Time) decide themselves; nil and empty
// are different.
func difference(a, b any) string {
	return differenceAt("", reflect.ValueOf(a), reflect.ValueOf(b))
}

func differenceAt(path string, a, b reflect.Value) string {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return fmt.Sprintf("%s: %v and %v", path, a, b)
	}
	if !a.IsValid() {
		return ""
	}
	if equal, ok := a.Type().MethodByName("Equal"); ok && a.Kind() == reflect.Struct && a.CanInterface() &&
		equal.Type.NumIn() == 2 && equal.Type.In(1) == a.Type() {
		if !a.Method(equal.Index).Call([]reflect.Value{b})[0].Bool() {
			return path + ": not Equal"
		}
		return ""
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return path + ": one is nil"
			}
			return ""
		}
		return differenceAt(path, a.Elem(), b.Elem())
	case reflect.Slice, reflect.Array:
		if a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() {
			return path + ": one is nil"
		}
		if a.Len() != b.Len() {
			return fmt.Sprintf("%s: %d and %d elements", path, a.Len(), b.Len())
		}
		for i := range a.Len() {
			if d := differenceAt(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i)); d != "" {
				return d
			}
		}
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return path + ": one is nil, or another length"
		}
		for it := a.MapRange(); it.Next(); {
			at := fmt.Sprintf("%s{%v}", path, it.Key())
			other := b.MapIndex(it.Key())
			if !other.IsValid() {
				return at + ": missing"
			}
			if d := differenceAt(at, it.Value(), other); d != "" {
				return d
			}
		}
	case reflect.Struct:
		for i := range a.NumField() {
			if d := differenceAt(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i)); d != "" {
				return d
			}
		}
	case reflect.String:
		if a.String() != b.String() {
			return fmt.Sprintf("%s: %q and %q", path, a.String(), b.String())
		}
	case reflect.Func:
		if !a.IsNil() || !b.IsNil() {
			return path + ": functions"
		}
	default:
		if !a.Equal(b) {
			return fmt.Sprintf("%s: %v and %v", path, a, b)
		}
	}
	return ""
}
