package structseal

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// codec turns a T into text and back without loss. Its errors never hold the
// value.
type codec struct {
	append func(dst []byte, v reflect.Value) ([]byte, error)
	parse  func(text []byte, v reflect.Value) error
}

var (
	errLossy    = errors.New("value can't be encoded without loss")
	errOffset   = fmt.Errorf("%w: the offset of a time zone has seconds", errLossy)
	errEncoding = errors.New("decrypted text isn't an encoding of the field's type; was T changed?")
)

var (
	jsonMarshalerType   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	// kept byte for byte: an encoder would compact it
	rawJSONType = reflect.TypeFor[json.RawMessage]()
)

type codecResult struct {
	codec *codec
	err   error
}

var codecs sync.Map // reflect.Type -> codecResult

func codecOf(t reflect.Type) (*codec, error) {
	if r, ok := codecs.Load(t); ok {
		return r.(codecResult).codec, r.(codecResult).err
	}
	c, err := newCodec(t)
	codecs.Store(t, codecResult{c, err})
	return c, err
}

func newCodec(t reflect.Type) (*codec, error) {
	switch {
	case t == timeType:
		return &codec{appendTime, parseTime}, nil
	case marshals(t, textMarshalerType, textUnmarshalerType):
		return &codec{appendMarshalText, parseMarshalText}, nil
	case marshals(t, jsonMarshalerType, jsonUnmarshalerType) && t != rawJSONType:
		return &codec{appendJSON, parseJSON}, nil
	}
	switch t.Kind() {
	case reflect.String:
		return &codec{
			func(dst []byte, v reflect.Value) ([]byte, error) { return append(dst, v.String()...), nil },
			func(text []byte, v reflect.Value) error { v.SetString(string(text)); return nil },
		}, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &codec{
				func(dst []byte, v reflect.Value) ([]byte, error) { return append(dst, v.Bytes()...), nil },
				func(text []byte, v reflect.Value) error { v.SetBytes(append([]byte{}, text...)); return nil },
			}, nil
		}
	case reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &codec{appendByteArray, parseByteArray}, nil
		}
	case reflect.Bool:
		return &codec{appendBool, parseBool}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &codec{appendInt, parseInt}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &codec{appendUint, parseUint}, nil
	case reflect.Float32, reflect.Float64:
		return &codec{appendFloat, parseFloat}, nil
	}
	if err := lossless(t, map[reflect.Type]bool{}); err != nil {
		return nil, err
	}
	if reachesTime(t, map[reflect.Type]bool{}) {
		return &codec{appendJSONWithTimes, parseJSON}, nil
	}
	return &codec{appendJSON, parseJSON}, nil
}

// marshals reports whether a T (not a pointer or interface) has both methods,
// on itself or on *T.
func marshals(t, marshaler, unmarshaler reflect.Type) bool {
	return t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface &&
		reflect.PointerTo(t).Implements(marshaler) && reflect.PointerTo(t).Implements(unmarshaler)
}

// lossless reports what of t JSON would drop or change.
func lossless(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	if t == timeType || marshals(t, textMarshalerType, textUnmarshalerType) || marshals(t, jsonMarshalerType, jsonUnmarshalerType) {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return lossless(t.Elem(), seen)
	case reflect.Map:
		switch k := t.Key(); k.Kind() {
		case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
			reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		default:
			if !marshals(k, textMarshalerType, textUnmarshalerType) {
				return fmt.Errorf("map key %s has no text form", k)
			}
		}
		return lossless(t.Elem(), seen)
	case reflect.Struct:
		return losslessFields(t, nil, map[string]string{}, seen)
	case reflect.Interface:
		return fmt.Errorf("%s would come back as another type; use a concrete type or json.RawMessage", t)
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Uintptr:
		return fmt.Errorf("%s has no JSON form", t)
	}
	return nil
}

// losslessFields goes through what JSON writes for t, which is embedded in outer.
// It promotes the fields of embedded structs, and of two fields with one name it
// drops one or both.
func losslessFields(t reflect.Type, outer []reflect.Type, names map[string]string, seen map[reflect.Type]bool) error {
	outer = append(outer, t)
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		embedded := f.Type
		if f.Anonymous && f.Type.Kind() == reflect.Pointer {
			embedded = f.Type.Elem()
		}
		promotes := f.Anonymous && name == "" && embedded.Kind() == reflect.Struct
		switch {
		case strings.Contains(string(f.Tag), "seal:"):
			return fmt.Errorf("%s.%s has a seal tag: seal its fields or the whole struct, not both", t, f.Name)
		case f.Tag.Get("json") == "-":
			return fmt.Errorf("%s.%s is json:\"-\" and would be lost", t, f.Name)
		case !f.IsExported() && !(promotes && embedded == f.Type):
			return fmt.Errorf("%s.%s is unexported and would be lost; give %s MarshalText or MarshalJSON methods, or seal an exported form of it", t, f.Name, t)
		case promotes && slices.Contains(outer, embedded):
			return fmt.Errorf("%s embeds itself and would be lost", embedded)
		case promotes:
			if err := losslessFields(embedded, outer, names, seen); err != nil {
				return err
			}
			continue
		case names[jsonName(f)] != "":
			return fmt.Errorf("%s.%s and %s have the same JSON name and would be lost", t, f.Name, names[jsonName(f)])
		}
		names[jsonName(f)] = t.String() + "." + f.Name
		if err := lossless(f.Type, seen); err != nil {
			return err
		}
	}
	return nil
}

func jsonName(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
		return name
	}
	return f.Name
}

func appendTime(dst []byte, v reflect.Value) ([]byte, error) {
	t := v.Interface().(time.Time)
	text, err := t.MarshalText()
	if err != nil {
		return nil, fmt.Errorf("%w: RFC 3339 has no such year or offset", errLossy)
	}
	if secondsInOffset(v) {
		return nil, errOffset
	}
	return append(dst, text...), nil
}

// secondsInOffset reports a time in v whose offset has seconds, as historic zones
// do: RFC 3339 drops them, and the time would move. v has no cycles.
func secondsInOffset(v reflect.Value) bool {
	switch t := v.Type(); {
	case t == timeType:
		_, offset := v.Interface().(time.Time).Zone()
		return offset%60 != 0
	case marshals(t, textMarshalerType, textUnmarshalerType), marshals(t, jsonMarshalerType, jsonUnmarshalerType):
		return false
	}
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && secondsInOffset(v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if secondsInOffset(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if secondsInOffset(it.Key()) || secondsInOffset(it.Value()) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if secondsInOffset(v.Field(i)) {
				return true
			}
		}
	}
	return false
}

// reachesTime reports whether a value of type t may hold a time.Time.
func reachesTime(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == timeType || seen[t] {
		return t == timeType
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return reachesTime(t.Elem(), seen)
	case reflect.Map:
		return reachesTime(t.Key(), seen) || reachesTime(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if reachesTime(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

func appendJSONWithTimes(dst []byte, v reflect.Value) ([]byte, error) {
	out, err := appendJSON(dst, v) // first: it refuses cycles
	if err == nil && secondsInOffset(v) {
		return nil, errOffset
	}
	return out, err
}

func parseTime(text []byte, v reflect.Value) error {
	var t time.Time
	if t.UnmarshalText(text) != nil {
		return errEncoding
	}
	v.Set(reflect.ValueOf(t))
	return nil
}

func appendMarshalText(dst []byte, v reflect.Value) ([]byte, error) {
	text, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		// The cause is dropped: marshalers put values into their errors.
		return nil, fmt.Errorf("%w: MarshalText failed", errLossy)
	}
	return append(dst, text...), nil
}

func parseMarshalText(text []byte, v reflect.Value) error {
	if v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(bytes.Clone(text)) != nil {
		return errEncoding
	}
	return nil
}

func appendJSON(dst []byte, v reflect.Value) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if e.Encode(v.Addr().Interface()) != nil {
		return nil, fmt.Errorf("%w: no JSON form (NaN, infinity, a failing marshaler?)", errLossy)
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if replacedUTF8(text) && !marshals(v.Type(), jsonMarshalerType, jsonUnmarshalerType) {
		return nil, fmt.Errorf("%w: a string isn't valid UTF-8; use []byte", errLossy)
	}
	return append(dst, text...), nil
}

// replacedUTF8 reports whether package json wrote the escape \ufffd, which it
// does for invalid UTF-8 only.
func replacedUTF8(text []byte) bool {
	for i := 0; i+5 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if string(text[i+1:i+6]) == "ufffd" {
			return true
		}
		i++ // an escape of another kind: its second byte may be a backslash
	}
	return false
}

func parseJSON(text []byte, v reflect.Value) error {
	if json.Unmarshal(text, v.Addr().Interface()) != nil {
		return errEncoding
	}
	return nil
}

func appendByteArray(dst []byte, v reflect.Value) ([]byte, error) {
	for i := range v.Len() {
		dst = append(dst, byte(v.Index(i).Uint()))
	}
	return dst, nil
}

func parseByteArray(text []byte, v reflect.Value) error {
	if len(text) != v.Len() {
		return errEncoding
	}
	for i, b := range text {
		v.Index(i).SetUint(uint64(b))
	}
	return nil
}

func appendBool(dst []byte, v reflect.Value) ([]byte, error) {
	return strconv.AppendBool(dst, v.Bool()), nil
}

func parseBool(text []byte, v reflect.Value) error {
	b, err := strconv.ParseBool(string(text))
	if err != nil {
		return errEncoding
	}
	v.SetBool(b)
	return nil
}

func appendInt(dst []byte, v reflect.Value) ([]byte, error) {
	return strconv.AppendInt(dst, v.Int(), 10), nil
}

func parseInt(text []byte, v reflect.Value) error {
	n, err := strconv.ParseInt(string(text), 10, v.Type().Bits())
	if err != nil {
		return errEncoding
	}
	v.SetInt(n)
	return nil
}

func appendUint(dst []byte, v reflect.Value) ([]byte, error) {
	return strconv.AppendUint(dst, v.Uint(), 10), nil
}

func parseUint(text []byte, v reflect.Value) error {
	n, err := strconv.ParseUint(string(text), 10, v.Type().Bits())
	if err != nil {
		return errEncoding
	}
	v.SetUint(n)
	return nil
}

func appendFloat(dst []byte, v reflect.Value) ([]byte, error) {
	return strconv.AppendFloat(dst, v.Float(), 'g', -1, v.Type().Bits()), nil
}

func parseFloat(text []byte, v reflect.Value) error {
	f, err := strconv.ParseFloat(string(text), v.Type().Bits())
	if err != nil {
		return errEncoding
	}
	v.SetFloat(f)
	return nil
}
