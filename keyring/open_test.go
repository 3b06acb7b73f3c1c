package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// P9: one store read and one KMS call for the MAC key, whatever the ring holds.
func TestOpenIsCheap(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	for range 3 {
		must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	}
	store.loads.Store(0)
	kms.unwraps.Store(0)
	again := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	if store.loads.Load() != 1 || kms.unwraps.Load() != 1 {
		t.Errorf("%d loads, %d unwraps", store.loads.Load(), kms.unwraps.Load())
	}
	for range 3 {
		must[*crypto.Key](t)(again.Primary(ctx, Data))
	}
	if store.loads.Load() != 1 || kms.unwraps.Load() != 2 {
		t.Errorf("after Primary: %d loads, %d unwraps", store.loads.Load(), kms.unwraps.Load())
	}
	// Ids that are known, cold or of another purpose, and id 0, don't make a read.
	for _, k := range again.Keys() {
		for _, p := range []Purpose{Data, SubjectWrap} {
			again.Key(ctx, p, k.ID)
		}
	}
	again.Key(ctx, Data, 0)
	if store.loads.Load() != 1 || kms.unwraps.Load() != 6 {
		t.Errorf("after every key: %d loads, %d unwraps", store.loads.Load(), kms.unwraps.Load())
	}
}

func TestOpenNeedsAPin(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	_, pin := mustCreate(t, "app", store, kms)
	kms.unwraps.Store(0)
	_, err := Open(ctx, "app", store, kms, Pin{}, nil)
	if !errors.Is(err, ErrNoPin) || !strings.Contains(err.Error(), "TrustOnFirstUse") || !strings.Contains(err.Error(), "Create") {
		t.Errorf("no pin: %v", err)
	}
	wrong := pin
	wrong.check[31] ^= 1
	if _, err := Open(ctx, "app", store, kms, wrong, nil); !errors.Is(err, ErrPinMismatch) {
		t.Errorf("wrong pin: %v", err)
	}
	if kms.unwraps.Load() != 0 {
		t.Error("a refused ring cost a KMS call")
	}
	r := must[*Keyring](t)(Open(ctx, "app", store, kms, TrustOnFirstUse, nil))
	if r.Pin() != pin {
		t.Errorf("Pin is %v, Create said %v", r.Pin(), pin)
	}
	if _, err := Open(ctx, "other", store, kms, pin, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("no ring: %v", err)
	}
	if store.swaps.Load() != 1 {
		t.Error("Open wrote")
	}
}

// An attacker who writes the store and may call the KMS's wrap makes a whole
// ring, with every name and context right.
func TestForgedRingIsRefused(t *testing.T) {
	ctx := t.Context()
	kms := newFakeKMS()
	store, attacker := newFakeStore(), newFakeStore()
	ring, pin := mustCreate(t, "app", store, kms)
	forger, _ := mustCreate(t, "app", attacker, kms)
	honest, forged := store.get(t, "app"), attacker.get(t, "app")

	store.put(t, "app", forged)
	if _, err := Open(ctx, "app", store, kms, pin, nil); !errors.Is(err, ErrPinMismatch) {
		t.Errorf("forged ring: %v", err)
	}
	if r, err := Open(ctx, "app", store, kms, TrustOnFirstUse, nil); err != nil || r.Pin() == pin {
		t.Errorf("without a pin the forged ring should open, and be told by its pin: %v", err)
	}
	// The running process knows its MAC key as well as its pin.
	if err := ring.Refresh(ctx); !errors.Is(err, ErrPinMismatch) {
		t.Errorf("refresh from the forged ring: %v", err)
	}
	if _, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true}); !errors.Is(err, ErrPinMismatch) {
		t.Errorf("rotate on the forged ring: %v", err)
	}

	// The forger claims our MAC key.
	mine := must[*record](t)(parseRecord(honest.Data))
	theirs := must[*record](t)(parseRecord(forged.Data))
	sign := func(b body) Record {
		t.Helper()
		var data []byte
		if err := forger.withMAC(func(macKey hidden) (err error) {
			_, data, err = b.sign(macKey)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return Record{b.Revision, data}
	}
	claim := theirs.body
	claim.Keys = slices.Clone(claim.Keys)
	claim.primary(MAC).Check = mine.primary(MAC).Check
	store.put(t, "app", sign(claim))
	if _, err := Open(ctx, "app", store, kms, pin, nil); !errors.Is(err, ErrKeyCheck) {
		t.Errorf("forged ring with our check value: %v", err)
	}
	// ... and brings our MAC key's entry along, whose bytes he doesn't have.
	*claim.primary(MAC) = *mine.primary(MAC)
	store.put(t, "app", sign(claim))
	if _, err := Open(ctx, "app", store, kms, pin, nil); !errors.Is(err, ErrTampered) {
		t.Errorf("forged ring with our MAC entry: %v", err)
	}
	// Our ring with one of his keys in it.
	mixed := mine.body
	mixed.Keys = append(slices.Clone(mixed.Keys), *theirs.primary(Data))
	k := mixed.primary(Data)
	k.State, k.Retired = Enabled, k.Since
	store.put(t, "app", sign(mixed))
	if _, err := Open(ctx, "app", store, kms, pin, nil); !errors.Is(err, ErrTampered) {
		t.Errorf("our ring with his key: %v", err)
	}
	// Another of our own rings under this name.
	mustCreate(t, "billing", store, kms)
	store.put(t, "app", store.get(t, "billing"))
	if _, err := Open(ctx, "app", store, kms, TrustOnFirstUse, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another ring's record: %v", err)
	}
	// Put back, all is well.
	store.put(t, "app", honest)
	must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
}

func TestLyingKMSIsRefused(t *testing.T) {
	ctx := t.Context()
	for name, lie := range lies {
		store, kms := newFakeStore(), newFakeKMS()
		_, pin := mustCreate(t, "app", store, kms)
		lying := false
		kms.onUnwrap = func(_ context.Context, secret []byte, err error) ([]byte, error) {
			if lying {
				return lie(secret), err
			}
			return secret, err
		}
		ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		lying = true
		if _, err := Open(ctx, "app", store, kms, pin, nil); !errors.Is(err, ErrKeyCheck) {
			t.Errorf("%s for the MAC key: %v", name, err)
		}
		for _, p := range []Purpose{Data, Deterministic, SubjectWrap} {
			if key, err := ring.Primary(ctx, p); !errors.Is(err, ErrKeyCheck) || errors.Is(err, ErrUnavailable) || key != nil {
				t.Errorf("%s for the %s key: %v, %v", name, p, key, err)
			}
		}
		if _, err := ring.BlindIndexKey(ctx, "r", "f", "i"); !errors.Is(err, ErrKeyCheck) {
			t.Errorf("%s for the index key: %v", name, err)
		}
		// It is not remembered.
		lying = false
		must[*crypto.Key](t)(ring.Primary(ctx, Data))
		must[*crypto.BlindIndexKey](t)(ring.BlindIndexKey(ctx, "r", "f", "i"))
	}
}

func TestWrongKEK(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), localkms.NewRandom()
	_, pin := mustCreate(t, "app", store, kms)
	other := localkms.NewRandom()
	_, err := Open(ctx, "app", store, other, pin, nil)
	if !errors.Is(err, ErrWrongKEK) || !strings.Contains(err.Error(), kms.ID()) || !strings.Contains(err.Error(), other.ID()) {
		t.Errorf("another KEK: %v", err)
	}
	// One that says it is ours.
	_, err = Open(ctx, "app", store, namedKMS{other, kms.ID()}, pin, nil)
	if !errors.Is(err, kmsprovider.ErrRejected) || errors.Is(err, ErrUnavailable) {
		t.Errorf("another KEK under our id: %v", err)
	}
}

func TestStoredFormsAreTold(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	_, pin := mustCreate(t, "app", store, kms)
	good := store.get(t, "app")
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"empty":          {"", ErrFormat},
		"text":           {"hello", ErrFormat},
		"null":           {"null", ErrFormat},
		"other json":     {`{"a":1}`, ErrFormat},
		"other format":   {`{"format":"tink"}`, ErrFormat},
		"later version":  {strings.Replace(string(good.Data), "structseal-ring/1", "structseal-ring/2", 1), ErrFormat},
		"version alone":  {`{"format":"structseal-ring/1"}`, ErrCorrupt},
		"space behind":   {string(good.Data) + " ", ErrCorrupt},
		"newline behind": {string(good.Data) + "\n", ErrCorrupt},
		"twice":          {string(good.Data) + string(good.Data), ErrFormat},
		"space inside":   {strings.Replace(string(good.Data), ":", ": ", 1), ErrCorrupt},
		"new member":     {strings.Replace(string(good.Data), `"name"`, `"extra":1,"name"`, 1), ErrCorrupt},
		"double member":  {strings.Replace(string(good.Data), `"name"`, `"name":"app","name"`, 1), ErrCorrupt},
		"other case":     {strings.Replace(string(good.Data), `"name"`, `"Name"`, 1), ErrCorrupt},
		"escape":         {strings.Replace(string(good.Data), `"app"`, `"\u0061pp"`, 1), ErrCorrupt},
		"huge":           {string(good.Data) + strings.Repeat(" ", MaxRecordSize), ErrTooLarge},
	} {
		store.put(t, "app", Record{1, []byte(c.data)})
		if _, err := Open(ctx, "app", store, kms, pin, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	store.put(t, "app", Record{2, good.Data})
	if _, err := Open(ctx, "app", store, kms, pin, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("store's revision differs: %v", err)
	}
	later := bytes.Replace(good.Data, []byte("structseal-ring/1"), []byte("structseal-ring/7"), 1)
	store.put(t, "app", Record{1, later})
	if _, err := Open(ctx, "app", store, kms, pin, nil); err == nil || !strings.Contains(err.Error(), "structseal-ring/7") {
		t.Errorf("later version: the error should name it: %v", err)
	}
}

func TestPinText(t *testing.T) {
	_, pin := mustCreate(t, "app", NewMemoryStore(), localkms.NewRandom())
	text := pin.String()
	if !strings.HasPrefix(text, "ssp1.") || len(text) != 48 {
		t.Errorf("pin %q", text)
	}
	if got, err := ParsePin(text); err != nil || got != pin {
		t.Errorf("ParsePin: %v, %v", got, err)
	}
	var cfg struct{ Pin Pin }
	data := must[[]byte](t)(json.Marshal(struct{ Pin Pin }{pin}))
	if err := json.Unmarshal(data, &cfg); err != nil || cfg.Pin != pin {
		t.Errorf("through JSON: %v, %v", cfg, err)
	}
	// The last character has two bits that mean nothing: they must be zero.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[47])
	accepted := 0
	for _, c := range alphabet {
		if _, err := ParsePin(text[:47] + string(c)); err == nil {
			accepted++
		}
	}
	if last%4 != 0 || accepted != 16 {
		t.Errorf("%d last characters are accepted", accepted)
	}
	for _, bad := range []string{"", "ssp1.", text[:47], text + "A", text + "=", text + "\n", " " + text, "SSP1." + text[5:],
		"ssp2." + text[5:], text[5:], text[:20] + "\n" + text[20:47], text[:20] + "+" + text[21:], "ssp1." + strings.Repeat("A", 43),
		"trust-on-first-use", "no-pin"} {
		if p, err := ParsePin(bad); !errors.Is(err, ErrPin) || !p.IsZero() {
			t.Errorf("ParsePin(%q) = %v, %v", bad, p, err)
		}
	}
	for _, p := range []Pin{{}, TrustOnFirstUse} {
		if b, err := p.MarshalText(); !errors.Is(err, ErrPin) {
			t.Errorf("MarshalText(%v) = %q, %v", p, b, err)
		}
	}
	if TrustOnFirstUse.IsZero() || !(Pin{}).IsZero() {
		t.Error("IsZero")
	}
}
