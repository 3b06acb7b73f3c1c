package crypto

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Holders of keys, as users have them.
type (
	exportedFields struct {
		Key   Key
		Ptr   *Key
		Index BlindIndexKey
		IPtr  *BlindIndexKey
		Any   any
		Slice []*Key
		Map   map[string]*Key
	}
	unexportedFields struct {
		key   Key
		ptr   *Key
		index BlindIndexKey
		iptr  *BlindIndexKey
		any   any
		slice []*Key
		m     map[string]*Key
	}
	embedding struct {
		*Key
		Name string
	}
)

// needles are the forms in which eight bytes of a secret could show.
func needles(secret []byte) []string {
	var out []string
	for i := 0; i+8 <= len(secret); i++ {
		b := secret[i : i+8]
		decimal := strings.Trim(fmt.Sprint(b), "[]")
		gosyntax := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}")
		out = append(out, string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
			fmt.Sprintf("% x", b), strings.Trim(fmt.Sprintf("%q", b), `"`), decimal, strings.ReplaceAll(decimal, " ", ","), gosyntax,
			fmt.Sprintf("%b", b), fmt.Sprintf("%o", b),
			base64.RawStdEncoding.EncodeToString(b)[:10], base64.RawURLEncoding.EncodeToString(b)[:10])
	}
	return out
}

func TestP6_KeysDontPrint(t *testing.T) {
	secret := stream("a key to look for", 32)
	root := stream("an index root to look for", 32)
	k := newKey(t, Default, 7, secret)
	ct := mustSeal(t, k, nil, nil) // a subkey is in the object
	i, err := DeriveBlindIndexKey(root, "a", "b", "c", "d")
	if err != nil {
		t.Fatal(err)
	}
	var sealer Sealer
	if err := sealer.Reset(k, 16); err != nil {
		t.Fatal(err)
	}
	if _, err := sealer.Seal(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	var hunted []string
	for _, s := range [][]byte{
		secret, root, i.state().key, refXAESKey(secret, ct[5:17]), k.load().live.Load().xaes.k1[:],
	} {
		hunted = append(hunted, needles(s)...)
	}
	seen := map[string]bool{}
	hunt := func(channel string, b []byte) {
		t.Helper()
		if seen[string(b)] {
			return
		}
		seen[string(b)] = true
		for _, n := range hunted {
			if bytes.Contains(b, []byte(n)) {
				t.Errorf("%s shows key bytes: %.200q", channel, b)
				return
			}
		}
	}

	exported := exportedFields{*k, k, *i, i, k, []*Key{k}, map[string]*Key{"k": k}}
	unexported := unexportedFields{*k, k, *i, i, k, []*Key{k}, map[string]*Key{"k": k}}
	// The compiler should not find out that nobody reads them.
	_ = []any{unexported.key, unexported.ptr, unexported.index, unexported.iptr, unexported.any, unexported.slice, unexported.m}
	values := map[string]any{
		"Key": *k, "*Key": k, "**Key": &k, "BlindIndexKey": *i, "*BlindIndexKey": i,
		"exported fields": exported, "*exported fields": &exported,
		"unexported fields": unexported, "*unexported fields": &unexported,
		"embedding": embedding{k, "n"}, "*embedding": &embedding{k, "n"},
		"any": []any{k, *k, i, *i}, "map": map[string]any{"k": k, "i": *i},
	}
	for name, v := range values {
		for verb := rune(' '); verb < 0x7f; verb++ {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "20", ".3", "+#20.3"} {
				format := "%" + flags + string(verb)
				hunt("fmt "+format+" of "+name, fmt.Appendf(nil, format, v))
			}
		}
		hunt("Print of "+name, fmt.Append(nil, v))
		hunt("Println of "+name, fmt.Appendln(nil, v))
		hunt("an error around "+name, fmt.Append(nil, fmt.Errorf("with %v", v)))

		for channel, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var buf bytes.Buffer
			log := slog.New(handler(&buf))
			log.Info("message", "value", v)
			log.With("value", v).WithGroup("g").Info("message", slog.Group("h", slog.Any("value", v)))
			hunt(channel+" of "+name, buf.Bytes())
		}

		// Encoders may refuse; what they write and say holds no key.
		for channel, encode := range map[string]func(*bytes.Buffer) error{
			"JSON": func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(v) },
			"XML":  func(b *bytes.Buffer) error { return xml.NewEncoder(b).Encode(v) },
			"gob":  func(b *bytes.Buffer) error { return gob.NewEncoder(b).Encode(v) },
		} {
			var buf bytes.Buffer
			if err := encode(&buf); err != nil {
				buf.WriteString(err.Error())
			}
			hunt(channel+" of "+name, buf.Bytes())
		}
	}

	// What is printed instead names the key.
	for format, want := range map[string]string{
		"%v": "crypto.Key(00000007 xaes-256-gcm)", "%#v": "crypto.Key(00000007 xaes-256-gcm)",
		"%x": "crypto.Key(00000007 xaes-256-gcm)", "%q": `"crypto.Key(00000007 xaes-256-gcm)"`,
	} {
		if got := fmt.Sprintf(format, k); got != want {
			t.Errorf("%s prints %s", format, got)
		}
		if got := fmt.Sprintf(format, *k); got != want {
			t.Errorf("%s of a copy prints %s", format, got)
		}
	}
	for got, want := range map[string]string{
		fmt.Sprint(Key{}): "crypto.Key(none)", fmt.Sprint(*i): "crypto.BlindIndexKey", fmt.Sprintf("%d", i): "crypto.BlindIndexKey",
		k.LogValue().String(): k.String(), i.LogValue().String(): i.String(), i.GoString(): i.String(), k.GoString(): k.String(),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	k.Wipe()
	if got := fmt.Sprint(k); got != "crypto.Key(00000007 xaes-256-gcm)" {
		t.Errorf("a wiped key prints %s", got)
	}
}

// The hunt finds what it looks for.
func TestP6_HuntFindsKeys(t *testing.T) {
	secret := stream("a key to look for", 32)
	type leaky struct{ Secret []byte }
	asJSON, err := json.Marshal(leaky{secret[:24]})
	if err != nil {
		t.Fatal(err)
	}
	found := func(s string) bool {
		for _, n := range needles(secret) {
			if strings.Contains(s, n) {
				return true
			}
		}
		return false
	}
	for _, s := range []string{
		fmt.Sprintf("%v", leaky{secret}), fmt.Sprintf("%+v", leaky{secret}), fmt.Sprintf("%#v", leaky{secret}),
		fmt.Sprintf("%x", leaky{secret}), fmt.Sprintf("%X", leaky{secret}), fmt.Sprintf("%s", leaky{secret}),
		fmt.Sprintf("%q", secret), fmt.Sprintf("%d", secret), string(asJSON),
	} {
		if !found(s) {
			t.Errorf("not found in %.100q", s)
		}
	}
}

// No error of a key or a context holds a plaintext.
func TestP6_ErrorsHoldNoPlaintext(t *testing.T) {
	plaintext := []byte("a plaintext to look for")
	c := Context{Ring: "r", Bind: []Binding{{"a", string(plaintext)}, {"a", string(plaintext)}}}
	_, errContext := c.Append(nil)
	_, errParse := ParseText(nil, "s1."+string(plaintext))
	k := newKey(t, Default, 7, stream("a key", 32))
	_, errOpen := k.Open(nil, append([]byte{1, 0, 0, 0, 7}, bytes.Repeat(plaintext, 5)...), plaintext)
	_, errID := k.Open(nil, append([]byte{1}, bytes.Repeat(plaintext, 5)...), plaintext)
	_, errStart := k.Open(nil, plaintext, plaintext)
	for _, err := range []error{errContext, errParse, errOpen, errID, errStart} {
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "plaintext to look for") {
			t.Errorf("%v", err)
		}
	}
}
