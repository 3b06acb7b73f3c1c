package printtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider/vaultkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// A value is something of ours in every holder, and the secrets it keeps.
type value struct {
	name     string
	holders  []holder
	canaries []canary
}

func hold[T any](name string, v T, canaries ...canary) value {
	return value{name, holders(v), canaries}
}

// Keys of printable bytes: every encoding of them is exact.
var (
	key32     = []byte("canary/7Qz-32-bytes+of_KEY~data!")
	key64     = []byte("canary/64-bytes:Xk9?of_KEY~data!and-the-other-half-is_not=equal.")
	indexRoot = []byte("canary/index^root;32-bytes-Jv5!@")
)

// values returns everything that must not print what it keeps: one line each.
func values(t *testing.T) []value {
	xaes, xaesCanaries := usedKey(t, crypto.Default, key32)
	gcm, gcmCanaries := usedKey(t, crypto.Compact, key32)
	index, indexCanaries := blindIndexKey(t)
	out := []value{
		hold("*crypto.Key, default suite", xaes, xaesCanaries...),
		hold("crypto.Key, default suite", *xaes, xaesCanaries...),
		hold("*crypto.Key, compact suite", gcm, gcmCanaries...),
		hold("*crypto.BlindIndexKey", index, indexCanaries...),
		hold("crypto.BlindIndexKey", *index, indexCanaries...),
		hold("crypto.Sealer", usedSealer(t, xaes), xaesCanaries...),
		hold("*vaultkms.Provider", usedVault(t), textCanary("the token", vaultToken)),
	}
	if !fipsOnly() {
		siv, sivCanaries := usedKey(t, crypto.Deterministic, key64)
		out = append(out,
			hold("*crypto.Key, deterministic suite", siv, sivCanaries...),
			hold("crypto.Sealer, deterministic suite", usedSealer(t, siv), sivCanaries...))
	}
	return append(out, recordValues(t)...)
}

// usedKey returns a key that has sealed, so that whatever it caches is there,
// and the key bytes and all that is derived from them as canaries.
func usedKey(t *testing.T, suite crypto.Suite, secret []byte) (*crypto.Key, []canary) {
	key := must(crypto.NewKey(suite, 0x01020304, secret))(t)
	text := []byte("plain text of the key test")
	ct := must(key.Seal(nil, text, nil))(t)
	if got := must(key.Open(nil, ct, nil))(t); !bytes.Equal(got, text) {
		t.Fatal("round trip failed")
	}
	canaries := []canary{bytesCanary("the key", secret), bytesCanary("the plaintext", text)}
	if suite == crypto.Default {
		k1, sub := xaesKeys(t, secret, ct[5:17])
		if _, err := must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(sub))(t)))(t).Open(nil, nil, ct[17:], nil); err != nil {
			t.Fatal("the canary isn't the subkey that the key used")
		}
		canaries = append(canaries, bytesCanary("the subkey", sub), bytesCanary("the CMAC subkey", k1))
	}
	return key, canaries
}

// xaesKeys derives K1 and the AES-GCM key of a salt as C2SP XAES-256-GCM says.
func xaesKeys(t *testing.T, secret, salt []byte) (k1, sub []byte) {
	block := must(aes.NewCipher(secret))(t)
	l := make([]byte, 16)
	block.Encrypt(l, l)
	hi, lo := binary.BigEndian.Uint64(l), binary.BigEndian.Uint64(l[8:])
	k1 = binary.BigEndian.AppendUint64(nil, hi<<1|lo>>63)
	k1 = binary.BigEndian.AppendUint64(k1, lo<<1^(hi>>63)*0x87)
	for i := byte(1); i <= 2; i++ {
		m := append([]byte{0, i, 'X', 0}, salt...)
		for j := range m {
			m[j] ^= k1[j]
		}
		block.Encrypt(m, m)
		sub = append(sub, m...)
	}
	return k1, sub
}

func usedSealer(t *testing.T, key *crypto.Key) *crypto.Sealer {
	var s crypto.Sealer
	if err := s.Reset(key, 2); err != nil {
		t.Fatal(err)
	}
	must(s.Seal(nil, []byte("plain text of the key test"), nil))(t)
	return &s
}

const vaultToken = "s.canary-token-of-the-vault"

// usedVault returns a provider that holds a token, as it does after its first call.
func usedVault(t *testing.T) *vaultkms.Provider {
	var got atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Header.Get("X-Vault-Token") == vaultToken)
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
	}))
	defer server.Close()
	t.Setenv("BAO_TOKEN", vaultToken)
	client := must(vaultapi.New(&vaultapi.Options{Address: server.URL}))(t)
	p := must(vaultkms.New("hcvault:///transit/keys/app", client))(t)
	if _, err := p.Wrap(t.Context(), []byte("secret"), nil); err == nil || !got.Load() {
		t.Fatalf("the provider doesn't hold the token: %v", err)
	}
	return p
}

func blindIndexKey(t *testing.T) (*crypto.BlindIndexKey, []canary) {
	key := must(crypto.DeriveBlindIndexKey(indexRoot, "ring", "record", "field", "index"))(t)
	tag := must(key.Append(nil, []byte("value"), 256))(t)
	info := "structseal/v1/index"
	for _, s := range []string{"ring", "record", "field", "index"} {
		info += string(binary.AppendUvarint(nil, uint64(len(s)))) + s
	}
	derived := must(hkdf.Key(sha256.New, indexRoot, nil, info, 32))(t)
	if !bytes.Equal(tag, hmacSHA256(derived, "value")) {
		t.Fatal("the canary isn't the key of the index")
	}
	return key, []canary{bytesCanary("the index root", indexRoot), bytesCanary("the index key", derived)}
}
