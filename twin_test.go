package structseal_test

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
)

// The twin is a second implementation of what docs/format.md says: slow, written
// against reflection and package crypto's public API only, sharing nothing with
// the engine. It walks a plain record and its encrypted copy side by side, works
// out each value's context and opens its ciphertext with it.
type twin struct {
	ring  *keyring.Keyring
	extra []crypto.Binding // of the Bind option
	seen  map[string]bool  // ciphertexts, which must not repeat
	count int
	err   error
}

func isBind(tag reflect.StructTag) bool {
	_, options, _ := strings.Cut(tag.Get("seal"), ",")
	return options == "bind"
}

// twinPlace is where a value is, and how its field is sealed.
type twinPlace struct {
	record string
	path   []crypto.Element
	bind   []crypto.Binding
	det    string
}

func (p twinPlace) in(e crypto.Element) twinPlace {
	p.path = append(append([]crypto.Element(nil), p.path...), e)
	return p
}

func (w *twin) fail(p twinPlace, format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%s: %s", crypto.Context{Record: p.record, Path: p.path}, fmt.Sprintf(format, args...))
	}
}

// record compares a struct that has a marker.
func (w *twin) record(plain, sealed reflect.Value) {
	var p twinPlace
	p.bind = append(p.bind, w.extra...)
	twinFields(plain.Type(), func(f reflect.StructField, index []int) {
		label, _, _ := strings.Cut(f.Tag.Get("seal"), ",")
		switch {
		case f.Type.Name() == "Record":
			p.record = label
		case isBind(f.Tag):
			p.bind = append(p.bind, crypto.Binding{Label: label, Value: twinText(plain.FieldByIndex(index))})
		}
	})
	w.fields(p, plain, sealed)
}

// twinFields calls f for the fields of t, going into embedded structs.
func twinFields(t reflect.Type, f func(reflect.StructField, []int)) {
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous && sf.Tag.Get("seal") == "" {
			twinFields(sf.Type, func(inner reflect.StructField, index []int) { f(inner, append([]int{i}, index...)) })
			continue
		}
		f(sf, []int{i})
	}
}

func (w *twin) fields(p twinPlace, plain, sealed reflect.Value) {
	twinFields(plain.Type(), func(f reflect.StructField, index []int) {
		a, b := plain.FieldByIndex(index), sealed.FieldByIndex(index)
		label, options, _ := strings.Cut(f.Tag.Get("seal"), ",")
		inner := p
		_, inner.det, _ = strings.Cut(options, "det=")
		switch {
		case f.Name == "_":
		case label == "" && strings.Contains(f.Type.String(), "structseal.Record"):
			w.value(inner, a, b) // records of their own need no label
		case label == "" || options == "bind":
			if d := difference(a.Interface(), b.Interface()); d != "" {
				w.fail(p, "field %s was changed: %s", f.Name, d)
			}
		default:
			w.value(inner.in(crypto.Label(label)), a, b)
		}
	})
}

func (w *twin) value(p twinPlace, plain, sealed reflect.Value) {
	t := plain.Type()
	if strings.HasPrefix(t.String(), "structseal.Sealed[") {
		ct, err := sealed.Interface().(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			w.fail(p, "%v", err)
			return
		}
		w.leaf(p, sealedText(plain), ct)
		return
	}
	if t.PkgPath() == "database/sql" {
		if plain.Field(1).Bool() != sealed.Field(1).Bool() {
			w.fail(p, "NULL or not?")
		} else if plain.Field(1).Bool() {
			w.value(p, plain.Field(0), sealed.Field(0))
		}
		return
	}
	switch t.Kind() {
	case reflect.String:
		ct, err := crypto.ParseText(nil, sealed.String())
		if err != nil {
			w.fail(p, "%v", err)
			return
		}
		w.leaf(p, []byte(plain.String()), ct)
		return
	case reflect.Slice, reflect.Map, reflect.Pointer:
		if plain.IsNil() || sealed.IsNil() {
			if plain.IsNil() != sealed.IsNil() {
				w.fail(p, "nil or not?")
			}
			return
		}
		if plain.Kind() != reflect.Pointer && t.Elem().Kind() != reflect.Uint8 && plain.Len() != sealed.Len() {
			w.fail(p, "%d and %d elements", plain.Len(), sealed.Len())
			return
		}
		if plain.Pointer() == sealed.Pointer() && plain.Kind() != reflect.Slice && t.Elem().Size() > 0 {
			w.fail(p, "the copy shares a %s", plain.Kind())
		}
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			w.leaf(p, plain.Bytes(), sealed.Bytes())
			return
		}
		for i := range plain.Len() {
			w.value(p.in(crypto.Index(i, plain.Len())), plain.Index(i), sealed.Index(i))
		}
	case reflect.Map:
		for it := plain.MapRange(); it.Next(); {
			other := sealed.MapIndex(it.Key())
			if !other.IsValid() {
				w.fail(p, "a key is missing")
				return
			}
			w.value(p.in(crypto.MapKey(twinText(it.Key()))), it.Value(), other)
		}
	case reflect.Pointer:
		w.value(p, plain.Elem(), sealed.Elem())
	case reflect.Struct:
		marked := false
		twinFields(t, func(f reflect.StructField, _ []int) { marked = marked || f.Type.Name() == "Record" })
		if marked {
			w.record(plain, sealed)
		} else {
			w.fields(p, plain, sealed)
		}
	default:
		w.fail(p, "a %s", t)
	}
}

// leaf opens a ciphertext under the context of its place.
func (w *twin) leaf(p twinPlace, plaintext, ct []byte) {
	w.count++
	purpose, aad := keyring.Data, []byte(nil)
	var err error
	if p.det != "" {
		purpose = keyring.Deterministic
		aad = crypto.DeterministicContext(nil, w.ring.Name(), p.det)
	} else {
		aad, err = crypto.Context{Ring: w.ring.Name(), Record: p.record, Path: p.path, Bind: p.bind}.Append(nil)
		if w.seen[string(ct)] {
			w.fail(p, "the ciphertext came before")
		}
		w.seen[string(ct)] = true
	}
	if err != nil {
		w.fail(p, "%v", err)
		return
	}
	id, err := crypto.KeyID(ct)
	if err != nil {
		w.fail(p, "%v", err)
		return
	}
	key, err := w.ring.Key(context.Background(), purpose, id)
	if err != nil {
		w.fail(p, "%v", err)
		return
	}
	got, err := key.Open(nil, ct, aad)
	if err != nil || string(got) != string(plaintext) {
		w.fail(p, "opens to %q, %v, want %q", got, err, plaintext)
	}
}

// twinText is the text of bind values and map keys.
func twinText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case netip.Addr:
		return x.String()
	case genKey:
		return "key#" + strconv.Itoa(int(x))
	}
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Slice:
		return string(v.Bytes())
	case reflect.Array:
		var b []byte
		for i := range v.Len() {
			b = append(b, byte(v.Index(i).Uint()))
		}
		return string(b)
	}
	return fmt.Sprint(v.Interface())
}

// sealedText is the text inside a Sealed.
func sealedText(v reflect.Value) []byte {
	switch x := v.MethodByName("Get").Call(nil)[0].Interface().(type) {
	case string:
		return []byte(x)
	case []byte:
		return x
	case [16]byte:
		return x[:]
	case time.Time:
		return x.AppendFormat(nil, time.RFC3339Nano)
	case int, uint8, bool:
		return fmt.Append(nil, x)
	default:
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(x); err != nil {
			panic(err)
		}
		return []byte(strings.TrimSuffix(b.String(), "\n"))
	}
}
