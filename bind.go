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

// appendBind appends the text of the bind value at p to dst.
//
// The zero value is refused: it is what an id has before the database made it,
// and two rows sealed then could be swapped.
func appendBind(dst []byte, kind bindKind, t reflect.Type, p unsafe.Pointer) ([]byte, error) {
	if kind != bindText {
		return appendPlainBind(dst, kind, t, p)
	}
	v := reflect.NewAt(t, p)
	if v.Elem().IsZero() {
		return nil, errEmptyBind
	}
	text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return nil, fmt.Errorf("bind value: %w", err)
	}
	if len(text) == 0 {
		return nil, errEmptyBind
	}
	return append(dst, text...), nil
}

// appendPlainBind is appendBind for values without pointers, and for kinds that have no
// method of their own. p may point into a stack.
func appendPlainBind(dst []byte, kind bindKind, t reflect.Type, p unsafe.Pointer) ([]byte, error) {
	start := len(dst)
	switch kind {
	case bindText:
		// A method may keep the address: it gets that of a copy.
		fresh := reflect.New(t).UnsafePointer()
		copy(unsafe.Slice((*byte)(fresh), t.Size()), unsafe.Slice((*byte)(p), t.Size()))
		return appendBind(dst, kind, t, fresh)
	case bindString:
		dst = append(dst, *(*string)(p)...)
	case bindBytes:
		dst = append(dst, *(*[]byte)(p)...)
	case bindInt:
		var n int64
		switch t.Size() {
		case 1:
			n = int64(*(*int8)(p))
		case 2:
			n = int64(*(*int16)(p))
		case 4:
			n = int64(*(*int32)(p))
		default:
			n = *(*int64)(p)
		}
		if n == 0 {
			return nil, errEmptyBind
		}
		dst = strconv.AppendInt(dst, n, 10)
	case bindUint:
		var n uint64
		switch t.Size() {
		case 1:
			n = uint64(*(*uint8)(p))
		case 2:
			n = uint64(*(*uint16)(p))
		case 4:
			n = uint64(*(*uint32)(p))
		default:
			n = *(*uint64)(p)
		}
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
	}
	if len(dst) == start {
		return nil, errEmptyBind
	}
	return dst, nil
}

// hasPointers reports whether values of a type must not be copied as bytes.
func hasPointers(t reflect.Type) bool {
	switch k := t.Kind(); {
	case k == reflect.Array:
		return t.Len() > 0 && hasPointers(t.Elem())
	case k == reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	default:
		return k < reflect.Bool || k > reflect.Complex128
	}
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
