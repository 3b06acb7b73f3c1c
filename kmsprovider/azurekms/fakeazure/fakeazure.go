package fakeazure

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// Token is the only bearer token that a Vault takes.
const Token = "eyJ0eXAiOiJKV1QiKMSTESTbearerKMSTEST"

// A Vault is a fake of a Key Vault, or of a Managed HSM, and of the credential for it
// (azcore.TokenCredential). It is safe for concurrent use.
type Vault struct {
	// OnToken is asked for every token. Default: Token, for an hour. Set it while no
	// call is under way.
	OnToken func() (azcore.AccessToken, error)
	// KeyID, if it isn't empty, stands in answers in place of the URL of the key that
	// was used. Set it while no call is under way.
	KeyID string

	mu    sync.Mutex
	keys  map[string]*key
	rsa   int // keys taken of rsaKeys
	mode  kmstest.Mode
	calls int
}

type key struct {
	versions  []string // oldest first
	rsa       map[string]*rsa.PrivateKey
	symmetric map[string][]byte
	disabled  bool
}

// New returns a vault with keys of these names. Those that begin with "hsm-" are
// symmetric (oct-HSM), as only a Managed HSM has them; the others are RSA of 2,048
// bits.
func New(names ...string) *Vault {
	v := &Vault{keys: make(map[string]*key)}
	for _, name := range names {
		v.AddKey(name)
	}
	return v
}

// AddKey makes a key, or replaces it by another one.
func (v *Vault) AddKey(name string) {
	v.mu.Lock()
	v.keys[name] = &key{rsa: make(map[string]*rsa.PrivateKey), symmetric: make(map[string][]byte)}
	v.mu.Unlock()
	v.Rotate(name)
}

// Rotate makes a new version of a key that there is.
func (v *Vault) Rotate(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := make([]byte, 16)
	rand.Read(b)
	k, version := v.keys[name], hex.EncodeToString(b)
	k.versions = append(k.versions, version)
	if strings.HasPrefix(name, "hsm-") {
		k.symmetric[version] = make([]byte, 32)
		rand.Read(k.symmetric[version])
		return
	}
	k.rsa[version] = rsaKey(v.rsa)
	v.rsa++
}

// rsaKeys are shared by all vaults of a process, because making one takes its time. No
// vault has one twice.
var (
	rsaMu   sync.Mutex
	rsaKeys []*rsa.PrivateKey
)

func rsaKey(n int) *rsa.PrivateKey {
	rsaMu.Lock()
	defer rsaMu.Unlock()
	for len(rsaKeys) <= n {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err) // 2,048 bits can be made
		}
		rsaKeys = append(rsaKeys, key)
	}
	return rsaKeys[n]
}

// Versions returns the names of the versions of a key that there is, oldest first.
func (v *Vault) Versions(name string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.keys[name].versions)
}

// Disable switches all versions of a key that there is off. With the public half of an RSA key Azure
// still wraps.
func (v *Vault) Disable(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys[name].disabled = true
}

// DeleteKey deletes a key for good.
func (v *Vault) DeleteKey(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.keys, name)
}

// Set makes every call be answered as in the mode; "" and modes that the fake doesn't
// know are sound. It also sets Calls to 0.
func (v *Vault) Set(m kmstest.Mode) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mode, v.calls = m, 0
}

// Faults are the modes that the fake knows, for [kmstest.Run].
func (v *Vault) Faults() []kmstest.Option {
	return kmstest.Faults(v.Set,
		kmstest.NotFound, kmstest.Denied, kmstest.Disabled, kmstest.PendingDeletion, kmstest.Unavailable, kmstest.Throttled,
		kmstest.WrongKeyID, kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33,
	)
}

// Calls counts the calls with a token since New or Set.
func (v *Vault) Calls() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

// GetToken implements azcore.TokenCredential.
func (v *Vault) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if v.OnToken != nil {
		return v.OnToken()
	}
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://vault.azure.net/.default" {
		return azcore.AccessToken{}, fmt.Errorf("asked for %v", o.Scopes)
	}
	return azcore.AccessToken{Token: Token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// A version is one of a key as a call finds it.
type version struct {
	name      string
	rsa       *rsa.PrivateKey
	symmetric []byte
	disabled  bool
}

// next notes a call and returns how it is to be answered, and with which version: the
// current one, if none is named; nil, if there is none.
func (v *Vault) next(name, of string) (kmstest.Mode, *version) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	k := v.keys[name]
	if k == nil {
		return v.mode, nil
	}
	if of == "" {
		of = k.versions[len(k.versions)-1]
	}
	if k.rsa[of] == nil && k.symmetric[of] == nil {
		return v.mode, nil
	}
	return v.mode, &version{of, k.rsa[of], k.symmetric[of], k.disabled}
}

// ServeHTTP answers as a vault does whose host is the one that the client has asked.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	refuse := func(status int, code, inner, message string) {
		w.WriteHeader(status)
		e := map[string]any{"code": code, "message": message}
		if inner != "" {
			e["innererror"] = map[string]string{"code": inner}
		}
		json.NewEncoder(w).Encode(map[string]any{"error": e})
	}
	if r.Header.Get("Authorization") != "Bearer "+Token {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47", resource="https://vault.azure.net"`)
		refuse(401, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
		return
	}
	path := strings.FieldsFunc(strings.TrimPrefix(r.URL.Path, "/keys/"), func(c rune) bool { return c == '/' }) // NAME[/VERSION][/OPERATION]
	name, operation := strings.ToLower(path[0]), "get"
	if last := path[len(path)-1]; last == "wrapkey" || last == "unwrapkey" {
		operation, path = last, path[:len(path)-1]
	}
	of := ""
	if len(path) > 1 {
		of = strings.ToLower(path[1])
	}
	mode, version := v.next(name, of)
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
	if version == nil {
		missing(strings.Join(path, "/"))
		return
	}
	kid := "https://" + r.Host + "/keys/" + name + "/" + version.name
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
	if version.disabled && (operation == "unwrapkey" || version.symmetric != nil) {
		disabled()
		return
	}
	var out []byte
	switch rsaKey, aesKey := version.rsa, version.symmetric; {
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
		kid = "https://" + r.Host + "/keys/another/" + version.name
	}
	if v.KeyID != "" {
		kid = v.KeyID
	}
	json.NewEncoder(w).Encode(map[string]string{"kid": kid, "value": base64.RawURLEncoding.EncodeToString(out)})
}
