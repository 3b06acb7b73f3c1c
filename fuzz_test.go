package structseal

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

type fuzzed struct {
	_    Record            `seal:"fuzzed"`
	ID   string            `seal:"id,bind"`
	A    string            `seal:"a"`
	B    []byte            `seal:"b"`
	C    Sealed[int]       `seal:"c"`
	List []string          `seal:"list"`
	Map  map[string][]byte `seal:"map"`
}

// FuzzDecryptText gives Decrypt whatever a column may hold: a typed error and an
// unchanged row, never a panic, never a value that wasn't sealed. The same text
// is data for Encrypt, or refused, and comes back as it was.
func FuzzDecryptText(f *testing.F) {
	ring, _, err := keyring.Create(context.Background(), "fuzz", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { ring.Close() })
	ctx := context.Background()
	good, err := Encrypt(ctx, ring, fuzzed{ID: "1", A: "a", B: []byte("b"), C: Of(1), List: []string{"x", "y"}, Map: map[string][]byte{"k": []byte("v")}})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "s1.", "s1", "s1.AQ", "s1.!!", "s1.AA==", "\x01", "\x01\x00\x00\x00\x01", "plain", "S1.AQ", good.A, good.A[:30], good.A + "\n", good.A[1:], good.List[0],
		string(good.B), string(good.B[:21]), string(good.B[:76]), "\x01" + strings.Repeat("\x00", 80), "s1." + strings.Repeat("A", 112), "s1.AQ" + strings.Repeat("A", 110)} {
		for where := range uint8(5) {
			f.Add(s, where)
		}
	}
	f.Fuzz(func(t *testing.T, s string, where uint8) {
		v := good
		v.List, v.Map = []string{good.List[0], good.List[1]}, map[string][]byte{"k": good.Map["k"]}
		own := "no ciphertext"
		switch where % 5 {
		case 0:
			own, v.A = good.A, s
		case 1:
			own, v.B = string(good.B), []byte(s)
		case 2:
			if v.C.Scan(s) != nil {
				return
			}
			if v.C.ct != nil {
				own, s = string(good.C.ct), string(v.C.ct)
			}
		case 3:
			own, v.List[1] = good.List[1], s
		case 4:
			own, v.Map["k"] = string(good.Map["k"]), []byte(s)
		}
		got, err := Decrypt(ctx, ring, v)
		if s == own {
			if err != nil {
				t.Fatalf("its own ciphertext: %v", err)
			}
			return
		}
		var fe *FieldError
		if !errors.As(err, &fe) || !errors.Is(err, ErrTampered) && !errors.Is(err, ErrNotEncrypted) && !errors.Is(err, ErrUnknownKey) {
			t.Fatalf("got %v", err)
		}
		if got.ID != "" || got.A != "" || got.B != nil || got.List != nil || got.Map != nil {
			t.Fatal("output with an error")
		}
		if v.A != good.A && v.A != s || v.List[0] != good.List[0] || len(v.Map) != 1 {
			t.Fatal("the row was changed")
		}

		plain := fuzzed{ID: "1", A: s, B: []byte(s), C: Of(len(s)), List: []string{s, ""}, Map: map[string][]byte{s: []byte(s)}}
		row, err := Encrypt(ctx, ring, plain)
		if err != nil {
			if !errors.Is(err, ErrEncrypted) && !errors.Is(err, ErrForeignCiphertext) {
				t.Fatalf("encrypting it: %v", err)
			}
			if row, err = Encrypt(ctx, ring, plain, Literal()); err != nil {
				t.Fatalf("encrypting it literally: %v", err)
			}
		}
		if !crypto.IsText(row.A) || !crypto.IsText(row.List[0]) {
			t.Fatal("not sealed")
		}
		back, err := Decrypt(ctx, ring, row)
		if err != nil || back.A != s || string(back.B) != s || back.List[0] != s || string(back.Map[s]) != s {
			t.Fatalf("it doesn't come back: %v", err)
		}
	})
}
