package structseal

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unsafe"
)

// A bind value is authenticated as text: strings and bytes as they are, integers
// in decimal, everything else as its MarshalText says. So a uuid.UUID and a
// string of it bind alike, and a column may change between the two.

type bindKind uint8

const (
	bindInvalid bindKind = iota
	bindString
	bindBytes
	bindArray
	bindInt
	bindUint
	bindText
)

var (
	textMarshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	timeType            = reflect.TypeFor[time.Time]()
)

// bindKindOf says how a type binds, or why it can't.
func bindKindOf(t reflect.Type) (bindKind, string) {
	switch {
	case t.ConvertibleTo(timeType):
		return bindInvalid, "databases round times, so a time can't bind; bind an id"
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return bindInvalid, "databases round floats, so a float can't bind; bind an id"
	case t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(textMarshalerType):
		return bindText, ""
	}
	switch t.Kind() {
	case reflect.String:
		return bindString, ""
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return bindInt, ""
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return bindUint, ""
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return bindBytes, ""
		}
	case reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return bindArray, ""
		}
	}
	return bindInvalid, fmt.Sprintf("%s can't bind; use a string, []byte, [N]byte, an integer or an encoding.TextMarshaler", t)
}

// appendBind appends the text of the bind value at p.
//
// The zero value is refused: it is what an id has before the database made it,
// and two rows sealed then could be swapped.
func appendBind(dst []byte, kind bindKind, t reflect.Type, p unsafe.Pointer) ([]byte, error) {
	start := len(dst)
	switch kind {
	case bindString:
		dst = append(dst, *(*string)(p)...)
	case bindBytes:
		dst = append(dst, *(*[]byte)(p)...)
	case bindInt:
		n := reflect.NewAt(t, p).Elem().Int()
		if n == 0 {
			return nil, errEmptyBind
		}
		dst = strconv.AppendInt(dst, n, 10)
	case bindUint:
		n := reflect.NewAt(t, p).Elem().Uint()
		if n == 0 {
			return nil, errEmptyBind
		}
		dst = strconv.AppendUint(dst, n, 10)
	case bindArray:
		b := unsafe.Slice((*byte)(p), t.Len())
		if allZero(b) {
			return nil, errEmptyBind
		}
		dst = append(dst, b...)
	case bindText:
		v := reflect.NewAt(t, p)
		if v.Elem().IsZero() {
			return nil, errEmptyBind
		}
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return nil, fmt.Errorf("bind value: %w", err)
		}
		dst = append(dst, text...)
	}
	if len(dst) == start {
		return nil, errEmptyBind
	}
	return dst, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// bindText returns the text of a value given to the Bind option.
func bindOptionText(value any) (string, error) {
	v := reflect.ValueOf(value)
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return "", errEmptyBind
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	kind, reason := bindKindOf(v.Type())
	if kind == bindInvalid {
		return "", fmt.Errorf("%w: %s", ErrInvalidArgument, reason)
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	text, err := appendBind(nil, kind, v.Type(), p.UnsafePointer())
	return string(text), err
}
