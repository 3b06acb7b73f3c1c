package insecuretink

import (
	"bytes"
	"context"
	"crypto/fips140"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/daead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	xaesgcmpb "github.com/tink-crypto/tink-go/v2/proto/x_aes_gcm_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

var commitment = make([]byte, 32)

func newRing(t *testing.T) (*keyring.Keyring, keyring.Store, *localkms.Provider) {
	t.Helper()
	store, kms := keyring.NewMemoryStore(), localkms.NewRandom()
	ring, _, err := keyring.Create(t.Context(), "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ring, store, kms
}

func exported(t *testing.T, f func(context.Context, *keyring.Keyring, *bytes.Buffer) error, ring *keyring.Keyring) string {
	t.Helper()
	var buf bytes.Buffer
	if err := f(t.Context(), ring, &buf); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func exportData(ctx context.Context, r *keyring.Keyring, b *bytes.Buffer) error {
	return Export(ctx, r, b)
}

func exportDet(ctx context.Context, r *keyring.Keyring, b *bytes.Buffer) error {
	return ExportDeterministic(ctx, r, b)
}

func handle(t *testing.T, text string) *keyset.Handle {
	t.Helper()
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func primary(t *testing.T, r *keyring.Keyring, p keyring.Purpose) *crypto.Key {
	t.Helper()
	k, err := r.Primary(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// noTink skips what tink-go itself can't do while FIPS 140 mode is enforced.
func noTink(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("tink-go makes its own nonces, which FIPS-only mode refuses")
	}
}

// P10: every key of a ring, in Tink's hands.
func TestP10_TinkOpensOurs(t *testing.T) {
	noTink(t)
	ring, _, _ := newRing(t)
	context, text := []byte("context"), []byte("text")
	first := primary(t, ring, keyring.Data)
	if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Suite: crypto.Compact, Now: true}); err != nil {
		t.Fatal(err)
	}
	second := primary(t, ring, keyring.Data)
	h := handle(t, exported(t, exportData, ring))
	a, err := aead.New(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*crypto.Key{first, second} {
		ct, err := k.Seal(nil, text, context)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Decrypt(ct, context)
		want := text
		if k.Suite() == crypto.Default {
			want = append(commitment[:32:32], text...)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: tink opens %q, %v", k.Suite(), got, err)
		}
		if _, err := a.Decrypt(ct, []byte("other")); err == nil {
			t.Errorf("%s: tink opens in another context", k.Suite())
		}
	}
	// Primary and ids are ours.
	if id := h.KeysetInfo().GetPrimaryKeyId(); id != second.ID() || len(h.KeysetInfo().GetKeyInfo()) != 2 {
		t.Errorf("primary %08x, want %08x", id, second.ID())
	}
	ct, err := a.Encrypt(text, context)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Open(nil, ct, context); err != nil || !bytes.Equal(got, text) {
		t.Errorf("we open tink's: %q, %v", got, err)
	}

	k := primary(t, ring, keyring.Deterministic)
	d, err := daead.New(handle(t, exported(t, exportDet, ring)))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := k.Seal(nil, text, context)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := d.EncryptDeterministically(text, context)
	if err != nil || !bytes.Equal(ours, theirs) {
		t.Errorf("deterministic: ours %x, tink's %x, %v", ours, theirs, err)
	}
	if got, err := d.DecryptDeterministically(ours, context); err != nil || !bytes.Equal(got, text) {
		t.Errorf("deterministic: tink opens %q, %v", got, err)
	}
}

// tinkKeyset makes a keyset of fresh keys of the templates; the last is primary.
func tinkKeyset(t *testing.T, templates ...*tinkpb.KeyTemplate) (*keyset.Handle, string) {
	t.Helper()
	m := keyset.NewManager()
	for _, tmpl := range templates {
		id, err := m.Add(tmpl)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SetPrimary(id); err != nil {
			t.Fatal(err)
		}
	}
	h, err := m.Handle()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&buf)); err != nil {
		t.Fatal(err)
	}
	return h, buf.String()
}

func xaesTemplate(t *testing.T, salt uint32, prefix tinkpb.OutputPrefixType) *tinkpb.KeyTemplate {
	t.Helper()
	format, err := proto.Marshal(&xaesgcmpb.XAesGcmKeyFormat{Params: &xaesgcmpb.XAesGcmParams{SaltSize: salt}})
	if err != nil {
		t.Fatal(err)
	}
	return &tinkpb.KeyTemplate{TypeUrl: typeXAESGCM, Value: format, OutputPrefixType: prefix}
}

func TestP10_WeOpenTinks(t *testing.T) {
	noTink(t)
	context, text := []byte("context"), []byte("text")
	xaes := xaesTemplate(t, 12, tinkpb.OutputPrefixType_TINK)
	for what, templates := range map[string][]*tinkpb.KeyTemplate{
		"compact primary": {xaes, aead.AES256GCMKeyTemplate()},
		"default primary": {aead.AES256GCMKeyTemplate(), xaes},
	} {
		h, aeadJSON := tinkKeyset(t, templates...)
		dh, daeadJSON := tinkKeyset(t, daead.AESSIVKeyTemplate())
		store, kms := keyring.NewMemoryStore(), localkms.NewRandom()
		_, pin, err := Import(t.Context(), "app", store, kms, strings.NewReader(aeadJSON), strings.NewReader(daeadJSON))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		ring, err := keyring.Open(t.Context(), "app", store, kms, pin, nil)
		if err != nil {
			t.Fatal(err)
		}
		var a tink.AEAD
		if a, err = aead.New(h); err != nil {
			t.Fatal(err)
		}
		k := primary(t, ring, keyring.Data)
		if k.ID() != h.KeysetInfo().GetPrimaryKeyId() {
			t.Errorf("%s: primary %08x", what, k.ID())
		}
		plain := text
		if k.Suite() == crypto.Default {
			plain = append(commitment[:32:32], text...)
		}
		ct, err := a.Encrypt(plain, context)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(nil, ct, context); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: we open %q, %v", what, got, err)
		}
		if k.Suite() == crypto.Default {
			bare, err := a.Encrypt(text, context)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.Open(nil, bare, context); !errors.Is(err, crypto.ErrTampered) {
				t.Errorf("%s: without a commitment: %v", what, err)
			}
		}
		d, err := daead.New(dh)
		if err != nil {
			t.Fatal(err)
		}
		dct, err := d.EncryptDeterministically(text, context)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := primary(t, ring, keyring.Deterministic).Open(nil, dct, context); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: deterministic: we open %q, %v", what, got, err)
		}
		// All the way round: what we export is what came in.
		if again := exported(t, exportData, ring); !sameKeyset(t, again, aeadJSON) {
			t.Errorf("%s: the exported keyset differs from the imported one", what)
		}
		if again := exported(t, exportDet, ring); !sameKeyset(t, again, daeadJSON) {
			t.Errorf("%s: the exported deterministic keyset differs", what)
		}
		if len(ring.Keys()) != len(templates)+1+4 {
			t.Errorf("%s: %d keys", what, len(ring.Keys()))
		}
		if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
			t.Error(err)
		}
	}
}

func parsed(t *testing.T, text string) *tinkpb.Keyset {
	t.Helper()
	k := new(tinkpb.Keyset)
	if err := protojson.Unmarshal([]byte(text), k); err != nil {
		t.Fatal(err)
	}
	return k
}

func sameKeyset(t *testing.T, a, b string) bool { return proto.Equal(parsed(t, a), parsed(t, b)) }

// A ring without Tink's help, so that it runs in every mode.
func TestRoundTrip(t *testing.T) {
	ring, _, kms := newRing(t)
	if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Suite: crypto.Compact, Now: true}); err != nil {
		t.Fatal(err)
	}
	data, det := exported(t, exportData, ring), exported(t, exportDet, ring)
	ct, err := primary(t, ring, keyring.Data).Seal(nil, []byte("text"), nil)
	if err != nil {
		t.Fatal(err)
	}
	store := keyring.NewMemoryStore()
	copied, pin, err := Import(t.Context(), "copy", store, kms, strings.NewReader(data), strings.NewReader(det))
	if err != nil || pin == ring.Pin() {
		t.Fatal(pin, err)
	}
	if got, err := primary(t, copied, keyring.Data).Open(nil, ct, nil); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	if !sameKeyset(t, exported(t, exportData, copied), data) || !sameKeyset(t, exported(t, exportDet, copied), det) {
		t.Error("keysets differ")
	}
	// Without deterministic keys there is a fresh one. Existing rings stay.
	if _, _, err := Import(t.Context(), "copy", store, kms, strings.NewReader(data), nil); !errors.Is(err, keyring.ErrExists) {
		t.Errorf("import over a ring: %v", err)
	}
	fresh, _, err := Import(t.Context(), "fresh", store, kms, strings.NewReader(data), nil)
	if err != nil {
		t.Fatal(err)
	}
	if sameKeyset(t, exported(t, exportDet, fresh), det) {
		t.Error("the deterministic key came from nowhere")
	}
	ring.Close()
	if err := Export(t.Context(), ring, new(bytes.Buffer)); !errors.Is(err, keyring.ErrClosed) {
		t.Errorf("export of a closed ring: %v", err)
	}
}

func TestImportStates(t *testing.T) {
	ring, _, kms := newRing(t)
	first := primary(t, ring, keyring.Data).ID()
	second, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true})
	if err != nil {
		t.Fatal(err)
	}
	good := exported(t, exportData, ring)
	edit := func(change func(k *tinkpb.Keyset)) string {
		k := parsed(t, good)
		change(k)
		text, err := protojson.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	store := keyring.NewMemoryStore()
	disabled := edit(func(k *tinkpb.Keyset) { k.Key[0].Status = tinkpb.KeyStatusType_DISABLED })
	r, _, err := Import(t.Context(), "disabled", store, kms, strings.NewReader(disabled), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Key(t.Context(), keyring.Data, first); !errors.Is(err, keyring.ErrKeyDisabled) {
		t.Errorf("disabled key: %v", err)
	}
	if !sameKeyset(t, exported(t, exportData, r), disabled) {
		t.Error("a disabled key doesn't leave as it came")
	}
	destroyed := edit(func(k *tinkpb.Keyset) {
		k.Key[0].Status, k.Key[0].KeyData = tinkpb.KeyStatusType_DESTROYED, nil
	})
	r, _, err = Import(t.Context(), "destroyed", store, kms, strings.NewReader(destroyed), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Key(t.Context(), keyring.Data, first); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("destroyed key: %v", err)
	}

	secret := func(k *tinkpb.Keyset) []byte { return k.Key[0].KeyData.Value }
	for what, text := range map[string]string{
		"empty":             "",
		"not JSON":          "hello " + good,
		"no keys":           "{}",
		"huge":              good + strings.Repeat(" ", maxKeyset),
		"raw prefix":        edit(func(k *tinkpb.Keyset) { k.Key[1].OutputPrefixType = tinkpb.OutputPrefixType_RAW }),
		"legacy prefix":     edit(func(k *tinkpb.Keyset) { k.Key[1].OutputPrefixType = tinkpb.OutputPrefixType_LEGACY }),
		"crunchy prefix":    edit(func(k *tinkpb.Keyset) { k.Key[1].OutputPrefixType = tinkpb.OutputPrefixType_CRUNCHY }),
		"unknown status":    edit(func(k *tinkpb.Keyset) { k.Key[0].Status = tinkpb.KeyStatusType_UNKNOWN_STATUS }),
		"disabled primary":  edit(func(k *tinkpb.Keyset) { k.Key[1].Status = tinkpb.KeyStatusType_DISABLED }),
		"missing primary":   edit(func(k *tinkpb.Keyset) { k.PrimaryKeyId++ }),
		"id 0":              edit(func(k *tinkpb.Keyset) { k.Key[0].KeyId = 0 }),
		"id twice":          edit(func(k *tinkpb.Keyset) { k.Key[0].KeyId = second }),
		"other type":        edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData.TypeUrl = "type.googleapis.com/google.crypto.tink.HmacKey" }),
		"no key data":       edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData = nil }),
		"public key":        edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData.KeyMaterialType = tinkpb.KeyData_ASYMMETRIC_PUBLIC }),
		"damaged key":       edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData.Value = secret(k)[:5] }),
		"unknown field":     edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData.Value = append(secret(k), 0x78, 1) }),
		"salt of 8":         edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData.Value = xaesKey(t, 8, 32, 0) }),
		"short key":         edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData.Value = xaesKey(t, 12, 16, 0) }),
		"other version":     edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData.Value = xaesKey(t, 12, 32, 1) }),
		"deterministic key": exported(t, exportDet, ring),
	} {
		_, _, err := Import(t.Context(), "bad", store, kms, strings.NewReader(text), nil)
		if !errors.Is(err, ErrKeyset) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, k := range parsed(t, good).Key {
			for _, form := range []string{base64.StdEncoding.EncodeToString(k.KeyData.Value), string(k.KeyData.Value)} {
				if strings.Contains(err.Error(), form[:16]) {
					t.Errorf("%s: the error shows a key: %v", what, err)
				}
			}
		}
	}
	// An AEAD keyset in the place of the deterministic one, and ids in both.
	if _, _, err := Import(t.Context(), "bad", store, kms, strings.NewReader(good), strings.NewReader(good)); !errors.Is(err, ErrKeyset) {
		t.Errorf("data keys as deterministic keys: %v", err)
	}
	det := parsed(t, exported(t, exportDet, ring))
	det.Key[0].KeyId, det.PrimaryKeyId = first, first
	text, _ := protojson.Marshal(det)
	if _, _, err := Import(t.Context(), "bad", store, kms, strings.NewReader(good), bytes.NewReader(text)); !errors.Is(err, ErrKeyset) {
		t.Errorf("one id in both keysets: %v", err)
	}
	if _, err := store.Load(t.Context(), "bad"); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("a refused import stored a ring: %v", err)
	}
	// A zero key is no key.
	zero := edit(func(k *tinkpb.Keyset) { k.Key[0].KeyData.Value = xaesKey(t, 12, 32, 0) })
	if _, _, err := Import(t.Context(), "bad", store, kms, strings.NewReader(zero), nil); !errors.Is(err, keyring.ErrKeyCheck) {
		t.Errorf("all-zero key: %v", err)
	}
}

func xaesKey(t *testing.T, salt uint32, size int, version uint32) []byte {
	t.Helper()
	b, err := proto.Marshal(&xaesgcmpb.XAesGcmKey{Version: version, Params: &xaesgcmpb.XAesGcmParams{SaltSize: salt}, KeyValue: make([]byte, size)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Key types that Tink has and rings don't, made by Tink itself.
func TestImportRefusesOtherTypes(t *testing.T) {
	noTink(t)
	for what, tmpl := range map[string]*tinkpb.KeyTemplate{
		"AES-128-GCM":       aead.AES128GCMKeyTemplate(),
		"XChaCha20":         aead.XChaCha20Poly1305KeyTemplate(),
		"AES-256-GCM-SIV":   aead.AES256GCMSIVKeyTemplate(),
		"AES-CTR-HMAC":      aead.AES256CTRHMACSHA256KeyTemplate(),
		"HMAC":              mac.HMACSHA256Tag128KeyTemplate(),
		"AES-256-GCM raw":   aead.AES256GCMNoPrefixKeyTemplate(),
		"XAES salt 8":       xaesTemplate(t, 8, tinkpb.OutputPrefixType_TINK),
		"XAES raw":          xaesTemplate(t, 12, tinkpb.OutputPrefixType_RAW),
		"AES-SIV as a data": daead.AESSIVKeyTemplate(),
	} {
		_, text := tinkKeyset(t, tmpl)
		if _, _, err := Import(t.Context(), "bad", keyring.NewMemoryStore(), localkms.NewRandom(), strings.NewReader(text), nil); !errors.Is(err, ErrKeyset) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
