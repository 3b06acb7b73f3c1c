package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/secretaccess"
)

// P6: nothing of ours prints a key, also not from an unexported field and not to
// a printer that walks by reflection.
func TestP6_NothingPrintsSecrets(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	must[*crypto.Key](t)(ring.Primary(ctx, Data))
	must[*crypto.BlindIndexKey](t)(ring.BlindIndexKey(ctx, "r", "f", "i"))
	material := must[[]KeyMaterial](t)(ring.Materials(ctx, secretaccess.Grant(), Data))
	secrets := kms.secrets // all of them, for the hunt alone
	if len(secrets) != 7 {
		t.Fatalf("%d secrets", len(secrets))
	}

	type holder struct {
		Ring *Keyring
		ring *Keyring
		m    KeyMaterial
		ms   []KeyMaterial
		pin  Pin
		any  any
	}
	values := map[string]any{
		"ring": ring, "pin": pin, "material": material, "one material": material[0], "keys": ring.Keys(),
		"holder": holder{ring, ring, material[0], material, pin, ring}, "holder pointer": &holder{ring, ring, material[0], material, pin, material},
		"snapshot": ring.live.Load(), "cell": ring.live.Load().primary[Index].cell, "core": ring.core,
	}
	_, errKey := ring.Key(ctx, Data, 1)
	_, errOpen := Open(ctx, "app", store, kms, Pin{check: [32]byte{1}}, nil)
	values["errors"] = []error{errKey, errOpen}
	hunt := func(what, text string) {
		t.Helper()
		for i, s := range secrets {
			// Half a secret is a leak as well.
			for _, form := range []string{
				string(s[:16]), hex.EncodeToString(s[:16]), strings.ToUpper(hex.EncodeToString(s[:16])),
				base64.StdEncoding.EncodeToString(s[:15]), base64.RawURLEncoding.EncodeToString(s[:15]),
				strings.Trim(fmt.Sprint(s[:16]), "[]"), strings.Trim(fmt.Sprintf("%#v", s[:16]), "[]byte{}"), strings.Trim(fmt.Sprintf("%q", s[:16]), `"`),
			} {
				if strings.Contains(text, form) {
					t.Errorf("%s shows secret %d: %.200q", what, i, text)
				}
			}
		}
	}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%e", "%g", "%t", "%p", "%w", "%T"} {
			hunt(name+" under "+verb, fmt.Sprintf(verb, v))
		}
		if data, err := json.Marshal(v); err == nil {
			hunt(name+" as JSON", string(data))
		}
		var buf bytes.Buffer
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "v", v)
		hunt(name+" in a log", buf.String())
		var w walker
		w.walk(reflect.ValueOf(v), 0)
		hunt(name+" by reflection", w.out.String())
		if w.n == 0 {
			t.Errorf("%s: the walker saw nothing", name)
		}
	}
	// The hunt finds what is there to be found.
	var w walker
	w.walk(reflect.ValueOf(struct{ p *[]byte }{&secrets[0]}), 0)
	if !strings.Contains(w.out.String(), string(secrets[0])) {
		t.Error("the walker doesn't follow unexported pointers")
	}
	if got := fmt.Sprint(ring); got != "keyring.Keyring(app)" {
		t.Errorf("a ring prints as %s", got)
	}
	if got := fmt.Sprintf("%#v", material[0]); !strings.HasPrefix(got, "keyring.KeyMaterial(") {
		t.Errorf("material prints as %s", got)
	}
	var none *Keyring
	_ = fmt.Sprint(none, KeyMaterial{}, Pin{})
	KeyMaterial{}.Wipe()
	if (KeyMaterial{}).Secret(secretaccess.Grant()) != nil {
		t.Error("zero material has a secret")
	}
}

// walker collects all bytes that reflection can reach, unexported or not.
type walker struct {
	out  bytes.Buffer
	n    int
	seen map[uintptr]bool
}

func (w *walker) walk(v reflect.Value, depth int) {
	w.n++
	if depth > 30 || w.n > 1_000_000 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || w.seen[v.Pointer()] {
			return
		}
		if w.seen == nil {
			w.seen = make(map[uintptr]bool)
		}
		w.seen[v.Pointer()] = true
		w.walk(v.Elem(), depth+1)
	case reflect.Interface:
		w.walk(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(v.Field(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			w.walk(it.Key(), depth+1)
			w.walk(it.Value(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if e := v.Index(i); e.Kind() == reflect.Uint8 {
				w.out.WriteByte(byte(e.Uint()))
			} else {
				w.walk(e, depth+1)
			}
		}
	case reflect.String:
		w.out.WriteString(v.String())
	}
}
