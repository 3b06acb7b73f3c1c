package structseal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

type oneKey struct {
	_    structseal.Record `seal:"onekey"`
	ID   string            `seal:"id,bind"`
	Text string            `seal:"text"`
	Blob []byte            `seal:"blob"`
}

type oneKeyDet struct {
	_     structseal.Record `seal:"onekey"`
	ID    string            `seal:"id,bind"`
	Text  string            `seal:"text"`
	Email string            `seal:"email,det=email"`
	Other string            `seal:"other,det=other"`
}

// withID returns a text form that names another key.
func withID(t *testing.T, text string, id uint32) string {
	t.Helper()
	ct := must(crypto.ParseText(nil, text))(t)
	binary.BigEndian.PutUint32(ct[1:], id)
	return string(crypto.AppendText(nil, ct))
}

// TestP4_OnlyTheNamedKey: a ciphertext that names another key of the ring is not
// tried under the one that would open it.
func TestP4_OnlyTheNamedKey(t *testing.T) {
	ring := fixedRing(t, "r")
	row := must(structseal.Encrypt(t.Context(), ring, oneKey{ID: "1", Text: "x", Blob: []byte("y")}))(t)
	for _, c := range []struct {
		name string
		id   uint32
		want error
	}{
		{"another data key", olderID, structseal.ErrTampered},
		{"a data key of another suite", compactID, structseal.ErrTampered},
		{"a key of another purpose", detID, structseal.ErrUnknownKey},
		{"no key of the ring", 0xdeadbeef, structseal.ErrUnknownKey},
		{"id zero", 0, structseal.ErrUnknownKey},
	} {
		moved := row
		moved.Text = withID(t, row.Text, c.id)
		blob := append([]byte(nil), row.Blob...)
		binary.BigEndian.PutUint32(blob[1:], c.id)
		for field, v := range map[string]oneKey{"text": moved, "blob": {ID: "1", Text: row.Text, Blob: blob}} {
			got, err := structseal.Decrypt(t.Context(), ring, v)
			wantErr(t, c.name+" in "+field, err, c.want)
			var fe *structseal.FieldError
			if !errors.As(err, &fe) || fe.KeyID != c.id || fe.Label != "onekey."+field {
				t.Errorf("%s in %s: error is located at %+v", c.name, field, fe)
			}
			if d := difference(got, oneKey{}); d != "" {
				t.Errorf("%s in %s: output with an error: %s", c.name, field, d)
			}
		}
	}
}

// TestP4_PurposesApart: deterministic ciphertexts don't open in data fields, nor
// the other way round, nor in another domain.
func TestP4_PurposesApart(t *testing.T) {
	needDeterministic(t)
	ring := fixedRing(t, "r")
	plain := oneKeyDet{ID: "1", Text: "x", Email: "x", Other: "x"}
	row := must(structseal.Encrypt(t.Context(), ring, plain))(t)
	if back := must(structseal.Decrypt(t.Context(), ring, row))(t); back != plain {
		t.Fatalf("got %+v", back)
	}
	for name, c := range map[string]struct {
		change func(v *oneKeyDet)
		want   error
	}{
		"deterministic in a data field": {func(v *oneKeyDet) { v.Text = row.Email }, structseal.ErrUnknownKey},
		"data in a deterministic field": {func(v *oneKeyDet) { v.Email = row.Text }, structseal.ErrUnknownKey},
		"another domain":                {func(v *oneKeyDet) { v.Other = row.Email }, structseal.ErrTampered},
	} {
		v := row
		c.change(&v)
		_, err := structseal.Decrypt(t.Context(), ring, v)
		wantErr(t, name, err, c.want)
		// Nor are they sealed a second time.
		if v.Text != row.Text {
			v = oneKeyDet{ID: "1", Text: v.Text, Email: "x", Other: "x"}
		} else {
			v.Text = "x"
		}
		if _, err := structseal.Encrypt(t.Context(), ring, v); !errors.Is(err, structseal.ErrForeignCiphertext) && !errors.Is(err, structseal.ErrEncrypted) {
			t.Errorf("%s, encrypted: %v", name, err)
		}
	}
	// Deterministic values are equal in every row, data values never.
	other := must(structseal.Encrypt(t.Context(), ring, oneKeyDet{ID: "2", Text: "x", Email: "x", Other: "x"}))(t)
	if other.Email != row.Email || other.Text == row.Text || row.Email == row.Other {
		t.Error("deterministic values differ between rows, or others don't")
	}
}

type countingKMS struct {
	kmsprovider.Provider
	unwraps atomic.Int64
}

func (k *countingKMS) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	k.unwraps.Add(1)
	return k.Provider.Unwrap(ctx, wrapped, kc)
}

// TestP4_OneUnwrap counts the keys that a cold ring fetches for a record: the one
// that its ciphertexts name.
func TestP4_OneUnwrap(t *testing.T) {
	kms := &countingKMS{Provider: localkms.NewRandom()}
	store := keyring.NewMemoryStore()
	ring, pin, err := keyring.Create(t.Context(), "r", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	row := must(structseal.Encrypt(t.Context(), ring, oneKey{ID: "1", Text: "x", Blob: []byte("y")}))(t)
	for range 3 {
		must(ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}))(t)
	}
	cold := must(keyring.Open(t.Context(), "r", store, kms, pin, nil))(t)
	defer cold.Close()
	before := kms.unwraps.Load()
	if back := must(structseal.Decrypt(t.Context(), cold, row))(t); back.Text != "x" || string(back.Blob) != "y" {
		t.Errorf("got %+v", back)
	}
	if n := kms.unwraps.Load() - before; n != 1 {
		t.Errorf("%d unwraps, want 1", n)
	}
}
