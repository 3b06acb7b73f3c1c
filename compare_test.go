package structseal_test

import (
	"bytes"
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
			if reflect.Copy(out, v); v.Type().Elem().Kind() == reflect.Uint8 {
				break
			}
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
func difference(a, b any) string { return differ(reflect.ValueOf(a), reflect.ValueOf(b)) }

func differ(a, b reflect.Value) string {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return fmt.Sprintf(": %v and %v", a, b)
	}
	if !a.IsValid() {
		return ""
	}
	if a.Kind() == reflect.Struct && a.CanInterface() {
		if equal, ok := a.Type().MethodByName("Equal"); ok && equal.Type.NumIn() == 2 && equal.Type.In(1) == a.Type() {
			if !a.Method(equal.Index).Call([]reflect.Value{b})[0].Bool() {
				return ": not Equal"
			}
			return ""
		}
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map, reflect.Func:
		if a.IsNil() != b.IsNil() {
			return ": one is nil"
		}
		if a.IsNil() {
			return ""
		}
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		return differ(a.Elem(), b.Elem())
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return fmt.Sprintf(": %d and %d elements", a.Len(), b.Len())
		}
		if a.Kind() == reflect.Slice && a.Type().Elem().Kind() == reflect.Uint8 {
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				return fmt.Sprintf(": %x and %x", a.Bytes(), b.Bytes())
			}
			return ""
		}
		for i := range a.Len() {
			if d := differ(a.Index(i), b.Index(i)); d != "" {
				return fmt.Sprintf("[%d]%s", i, d)
			}
		}
	case reflect.Map:
		if a.Len() != b.Len() {
			return fmt.Sprintf(": %d and %d entries", a.Len(), b.Len())
		}
		for it := a.MapRange(); it.Next(); {
			if d := differ(it.Value(), b.MapIndex(it.Key())); d != "" {
				return fmt.Sprintf("{%v}%s", it.Key(), d)
			}
		}
	case reflect.Struct:
		for i := range a.NumField() {
			if d := differ(a.Field(i), b.Field(i)); d != "" {
				return "." + a.Type().Field(i).Name + d
			}
		}
	case reflect.Func:
		return ": functions"
	default:
		if !a.Equal(b) {
			return fmt.Sprintf(": %v and %v", a, b)
		}
	}
	return ""
}
