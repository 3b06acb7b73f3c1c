package azurekms_test

import (
	"context"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// fakeVault is no Key Vault: it answers the SDK's calls for keys the way that Azure
// documents, real cryptography included. There is no emulator to be had.
type fakeVault struct {
	url   string // of the proxy in front
	keys  map[string]*fakeKey
	mode  atomic.Pointer[kmstest.Mode]
	calls atomic.Int64 // with a token
	// onToken is asked for every token. Default: gives one.
	onToken func() (azcore.AccessToken, error)
	// otherKID stands in answers in place of the key that was used.
	otherKID string
}

type fakeKey struct {
	versions []string // oldest first
	rsa      map[string]*rsa.PrivateKey
	aes      map[string][]byte
	disabled bool
	deleted  bool
}

const bearer = "eyJ0eXAiOiJKV1QiKMSTESTbearerKMSTEST"

// newVault starts one with keys "one" and "two" (RSA) and "hsm-one" and "hsm-two".
func newVault(t *testing.T) (*fakeVault, *kmstest.Proxy) {
	t.Helper()
	v := &fakeVault{keys: make(map[string]*fakeKey)}
	proxy := kmstest.NewProxy(t, v)
	v.url = proxy.URL
	for _, name := range []string{"one", "two", "hsm-one", "hsm-two"} {
		v.keys[name] = &fakeKey{rsa: make(map[string]*rsa.PrivateKey), aes: make(map[string][]byte)}
		v.rotate(t, name)
	}
	return v, proxy
}

func (v *fakeVault) rotate(t *testing.T, name string) {
	t.Helper()
	k := v.keys[name]
	b := make([]byte, 16)
	rand.Read(b)
	version := hex.EncodeToString(b)
	k.versions = append(k.versions, version)
	if strings.HasPrefix(name, "hsm-") {
		k.aes[version] = make([]byte, 32)
		rand.Read(k.aes[version])
		return
	}
	number := len(k.versions) - 1
	if name == "two" {
		number += 2
	}
	k.rsa[version] = rsaKeys()[number]
}

// rsaKeys takes its time.
var rsaKeys = sync.OnceValue(func() (keys [4]*rsa.PrivateKey) {
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// GetToken implements azcore.TokenCredential.
func (v *fakeVault) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if v.onToken != nil {
		return v.onToken()
	}
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://vault.azure.net/.default" {
		return azcore.AccessToken{}, fmt.Errorf("asked for %v", o.Scopes)
	}
	return azcore.AccessToken{Token: bearer, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (v *fakeVault) set(m kmstest.Mode) (undo func()) {
	v.mode.Store(&m)
	return func() { v.mode.Store(nil) }
}

func (v *fakeVault) faults(modes ...kmstest.Mode) []kmstest.Option {
	var out []kmstest.Option
	for _, m := range modes {
		out = append(out, kmstest.Fault(m, func(*testing.T) func() { return v.set(m) }))
	}
	return out
}

func (v *fakeVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	refuse := func(status int, code, inner, message string) {
		w.WriteHeader(status)
		e := map[string]any{"code": code, "message": message}
		if inner != "" {
			e["innererror"] = map[string]string{"code": inner}
		}
		json.NewEncoder(w).Encode(map[string]any{"error": e})
	}
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47", resource="https://vault.azure.net"`)
		refuse(401, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
		return
	}
	v.calls.Add(1)
	var mode kmstest.Mode
	if m := v.mode.Load(); m != nil {
		mode = *m
	}
	path := strings.FieldsFunc(strings.TrimPrefix(r.URL.Path, "/keys/"), func(c rune) bool { return c == '/' }) // NAME[/VERSION][/OPERATION]
	name, operation := strings.ToLower(path[0]), "get"
	if last := path[len(path)-1]; last == "wrapkey" || last == "unwrapkey" {
		operation, path = last, path[:len(path)-1]
	}
	missing := func(what string) {
		refuse(404, "KeyNotFound", "", "A key with (name/id) "+what+" was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182")
	}
	disabled := func() {
		refuse(403, "Forbidden", "KeyDisabled", "Operation "+operation+" is not allowed on a disabled key.")
	}
	switch mode {
	case kmstest.NotFound:
		missing(name)
		return
	case kmstest.Denied:
		refuse(403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.")
		return
	case kmstest.Disabled:
		disabled()
		return
	case kmstest.PendingDeletion:
		refuse(409, "Conflict", "ObjectIsBeingDeleted", "Key "+name+" is currently being deleted.")
		return
	case kmstest.Throttled:
		w.Header().Set("Retry-After", "10")
		refuse(429, "Throttled", "", "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached")
		return
	case kmstest.Unavailable:
		refuse(503, "ServiceUnavailable", "", "The service is temporarily unavailable.")
		return
	}
	k := v.keys[name]
	if k == nil || k.deleted {
		missing(name)
		return
	}
	version := k.versions[len(k.versions)-1]
	if len(path) > 1 {
		version = strings.ToLower(path[1])
	}
	if k.rsa[version] == nil && k.aes[version] == nil {
		missing(name + "/" + version)
		return
	}
	kid := v.url + "/keys/" + name + "/" + version
	if operation == "get" {
		json.NewEncoder(w).Encode(map[string]any{"key": map[string]string{"kid": kid}})
		return
	}
	var in struct{ Alg, Value string }
	value, err := []byte(nil), json.NewDecoder(r.Body).Decode(&in)
	if err == nil {
		value, err = base64.RawURLEncoding.DecodeString(in.Value)
	}
	if err != nil || len(value) == 0 {
		refuse(400, "BadParameter", "", "Property  has invalid value\r\n")
		return
	}
	// Disabled: what the public half can do isn't refused.
	if k.disabled && (operation == "unwrapkey" || k.aes[version] != nil) {
		disabled()
		return
	}
	var out []byte
	switch rsaKey, aesKey := k.rsa[version], k.aes[version]; {
	case in.Alg == "RSA-OAEP-256" && rsaKey != nil && operation == "wrapkey":
		out, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &rsaKey.PublicKey, value, nil)
	case in.Alg == "RSA-OAEP-256" && rsaKey != nil:
		out, err = rsa.DecryptOAEP(sha256.New(), nil, rsaKey, value, nil)
	case in.Alg == "A256KW" && aesKey != nil && operation == "wrapkey":
		out, err = keyWrap(aesKey, value)
	case in.Alg == "A256KW" && aesKey != nil:
		out, err = keyUnwrap(aesKey, value)
	default:
		refuse(400, "BadParameter", "", "Key and signing algorithm are incompatible.")
		return
	}
	if err != nil {
		refuse(400, "BadParameter", "", "The parameter is incorrect.\r\n")
		return
	}
	if operation == "unwrapkey" {
		out = mode.Lie(out)
	}
	if mode == kmstest.WrongKeyID {
		kid = v.url + "/keys/two/" + v.keys["two"].versions[0]
	}
	if v.otherKID != "" {
		kid = v.otherKID
	}
	json.NewEncoder(w).Encode(map[string]string{"kid": kid, "value": base64.RawURLEncoding.EncodeToString(out)})
}

// keyWrap is RFC 3394, section 2.2.1.
func keyWrap(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil || len(key)%8 != 0 || len(key) < 16 {
		return nil, errors.New("key wrap")
	}
	out := append([]byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}, key...)
	n := uint64(len(key) / 8)
	var b [16]byte
	for t := uint64(1); t <= 6*n; t++ {
		r := out[8*((t-1)%n+1):][:8]
		copy(b[:8], out[:8])
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		binary.BigEndian.PutUint64(out[:8], binary.BigEndian.Uint64(b[:8])^t)
		copy(r, b[8:])
	}
	return out, nil
}

// keyUnwrap is RFC 3394, section 2.2.2.
func keyUnwrap(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil || len(wrapped)%8 != 0 || len(wrapped) < 24 {
		return nil, errors.New("key unwrap")
	}
	out := append([]byte(nil), wrapped...)
	n := uint64(len(wrapped)/8 - 1)
	var b [16]byte
	for t := 6 * n; t >= 1; t-- {
		r := out[8*((t-1)%n+1):][:8]
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(out[:8])^t)
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(out[:8], b[:8])
		copy(r, b[8:])
	}
	if subtle.ConstantTimeCompare(out[:8], []byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}) != 1 {
		return nil, errors.New("key unwrap")
	}
	return out[8:], nil
}
