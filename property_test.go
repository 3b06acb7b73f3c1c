package structseal_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
)

// TestRandomRecords makes random record types and values. For each of them:
// Encrypt and Decrypt together change nothing; neither touches its input; no
// plaintext is left in the encrypted copy or its JSON; and the twin opens every
// ciphertext under the context it works out by itself, which proves the engine
// against docs/format.md. STRUCTSEAL_SEED repeats a run.
func TestRandomRecords(t *testing.T) {
	types := 2_000
	if testing.Short() {
		types = 200
	}
	if os.Getenv("STRUCTSEAL_LONG") == "1" {
		types = 100_000
	}
	seed := rand.Uint64()
	if s := os.Getenv("STRUCTSEAL_SEED"); s != "" {
		seed = must(strconv.ParseUint(s, 10, 64))(t)
		types = 1
	}
	ring := fixedRing(t, "random")
	total := 0
	for i := range uint64(types) {
		g := newGenerator(seed + i)
		v := reflect.New(g.record(3))
		g.fill(v.Elem(), "", false)
		n, problem := checkRandom(t, ring, v)
		if problem != "" {
			t.Fatalf("STRUCTSEAL_SEED=%d: %s\n%s", seed+i, problem, v.Type().Elem())
		}
		total += n
	}
	t.Logf("seed %d: %d types, %d values", seed, types, total)
	if total < 2*types {
		t.Errorf("%d values in %d types: too few to prove anything", total, types)
	}
}

// checkRandom returns the number of sealed values of the struct at v, and what is
// wrong.
func checkRandom(t *testing.T, ring *keyring.Keyring, v reflect.Value) (int, string) {
	ctx := t.Context()
	plain := copyValue(v).Interface()
	options := []structseal.Option{structseal.Literal()}
	w := twin{ring: ring, seen: map[string]bool{}}
	if v.Elem().NumField()%3 == 0 {
		options = append(options, structseal.Bind("tenant", 7), structseal.Bind("a", "eu"), structseal.Bind("z", "x"))
		w.extra = []crypto.Binding{{Label: "tenant", Value: "7"}, {Label: "a", Value: "eu"}, {Label: "z", Value: "x"}}
	}

	row, err := structseal.Encrypt(ctx, ring, v.Interface(), options...)
	if err != nil {
		return 0, "encrypt: " + err.Error()
	}
	if d := difference(v.Interface(), plain); d != "" {
		return 0, "Encrypt changed its input: " + d
	}
	if w.record(v.Elem(), reflect.ValueOf(row).Elem()); w.err != nil {
		return 0, "twin: " + w.err.Error()
	}
	states, err := structseal.Inspect(row)
	if err != nil || len(states) != w.count {
		return 0, "Inspect tells " + strconv.Itoa(len(states)) + " values, the twin " + strconv.Itoa(w.count)
	}
	for _, s := range states {
		if !s.Sealed || s.KeyID != primaryID && s.KeyID != detID {
			return 0, "Inspect: not sealed: " + s.Label
		}
	}
	if at := findCanary("row", reflect.ValueOf(row)); at != "" {
		return 0, "plaintext in the encrypted copy at " + at
	}
	// The Sealed in an invalid sql.Null isn't sealed, which JSON refuses.
	if text, err := json.Marshal(row); err != nil && !errors.Is(err, structseal.ErrNotEncrypted) || strings.Contains(string(text), canary) {
		return 0, "plaintext in JSON, or none"
	}

	sealed := copyValue(reflect.ValueOf(row)).Interface()
	back, err := structseal.Decrypt(ctx, ring, row, options...)
	if err != nil {
		return 0, "decrypt: " + err.Error()
	}
	if d := difference(row, sealed); d != "" {
		return 0, "Decrypt changed its input: " + d
	}
	if d := difference(back, plain); d != "" {
		return 0, "round trip: " + d
	}
	// In place is the same.
	if err := structseal.DecryptInPlace(ctx, ring, row, options...); err != nil {
		return 0, "decrypt in place: " + err.Error()
	}
	if d := difference(row, plain); d != "" {
		return 0, "round trip in place: " + d
	}
	return w.count, ""
}

// findCanary looks into everything that hangs on v, unexported fields too.
func findCanary(path string, v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		if strings.Contains(v.String(), canary) {
			return path
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return findCanary(path, v.Elem())
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice && v.Len() > 0 {
			// What lies behind the bytes too, up to their capacity.
			if strings.Contains(string(unsafe.Slice((*byte)(v.UnsafePointer()), v.Cap())), canary) {
				return path
			}
			return ""
		}
		for i := range v.Len() {
			if at := findCanary(path+"["+strconv.Itoa(i)+"]", v.Index(i)); at != "" {
				return at
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if at := findCanary(path+"{}", it.Key()) + findCanary(path+"{}", it.Value()); at != "" {
				return at
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if at := findCanary(path+"."+v.Type().Field(i).Name, v.Field(i)); at != "" {
				return at
			}
		}
	case reflect.Func:
		if !v.IsNil() {
			return path + ": a function, which may hold anything"
		}
	}
	return ""
}
