package fakeaws

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A KMS is a fake of AWS KMS with some keys, in all Regions. It is safe for concurrent
// use.
type KMS struct {
	mu    sync.Mutex
	keys  map[string]*localkms.Provider // by key id: replicas share theirs
	mode  kmstest.Mode
	error *failure // answered to every call
	allow func(op, key string, context map[string]string) bool
	calls []Call
}

type failure struct {
	status int
	body   string
}

// A Call is what a client has sent.
type Call struct {
	Op          string // Encrypt or Decrypt
	Region      string // that it was signed for
	KeyID       string // as sent
	GrantTokens []string
	Context     map[string]string
}

// New returns a fake with a key for each ARN.
func New(arns ...string) *KMS {
	k := &KMS{keys: make(map[string]*localkms.Provider)}
	for _, arn := range arns {
		k.AddKey(arn)
	}
	return k
}

// AddKey makes a key, or replaces it by another one. ARNs of several Regions with the
// same key id are replicas of one key.
func (k *KMS) AddKey(arn string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[keyID(arn)] = localkms.NewRandom()
}

// DeleteKey deletes a key for good, in all Regions.
func (k *KMS) DeleteKey(arn string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, keyID(arn))
}

func keyID(arn string) string {
	_, id, _ := strings.Cut(arn, ":key/")
	return id
}

// documented are AWS's answers, {arn} being the key's.
var documented = map[kmstest.Mode]failure{
	kmstest.NotFound:        {400, `{"__type":"NotFoundException","message":"Key '{arn}' does not exist"}`},
	kmstest.Denied:          {400, `{"__type":"AccessDeniedException","message":"User: arn:aws:iam::111122223333:user/app is not authorized to perform: kms:{op} on resource: {arn} because no identity-based policy allows the kms:{op} action"}`},
	kmstest.Disabled:        {409, `{"__type":"DisabledException","message":"{arn} is disabled."}`},
	kmstest.PendingDeletion: {409, `{"__type":"KMSInvalidStateException","message":"{arn} is pending deletion."}`},
	kmstest.Unavailable:     {500, `{"__type":"KMSInternalException","message":"An internal error occurred."}`},
	kmstest.Throttled:       {400, `{"__type":"ThrottlingException","message":"You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."}`},
}

// Set makes every call be answered as in the mode; "" and modes that the fake doesn't
// know are sound. It also forgets the calls seen so far.
func (k *KMS) Set(m kmstest.Mode) { k.set(m, nil) }

// Fail makes every call be answered with this, until Set is called. {arn} and {op} in
// the body become the key and the operation. It also forgets the calls seen so far.
func (k *KMS) Fail(status int, body string) { k.set("", &failure{status, body}) }

func (k *KMS) set(m kmstest.Mode, e *failure) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mode, k.error, k.calls = m, e, nil
}

// Faults are the modes that the fake knows, for [kmstest.Run].
func (k *KMS) Faults() []kmstest.Option {
	return kmstest.Faults(k.Set, slices.AppendSeq([]kmstest.Mode{
		kmstest.WrongKeyID, kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33,
	}, maps.Keys(documented))...)
}

// Permit sets what is allowed: op is kms:Encrypt or kms:Decrypt. nil: everything.
func (k *KMS) Permit(allow func(op, key string, context map[string]string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.allow = allow
}

// Calls returns the calls since New, Set or Fail.
func (k *KMS) Calls() []Call {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.calls)
}

// another is the key that a wrong answer names.
const another = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-0000-0000-000000000000"

// The blob says by which key it is, as AWS's does.
var blobHeader = []byte{0x01, 0x02, 0x03, 0x00, 0x78}

// ServeHTTP answers as the endpoints of all Regions do. The Region is that of the
// request's signature.
func (k *KMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		KeyId                     string
		Plaintext, CiphertextBlob []byte
		EncryptionContext         map[string]string
		GrantTokens               []string
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	fail := func(e failure) {
		w.WriteHeader(e.status)
		fmt.Fprint(w, strings.NewReplacer("{arn}", in.KeyId, "{op}", op).Replace(e.body))
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(failure{400, `{"__type":"SerializationException"}`})
		return
	}
	// Credential=ID/DATE/REGION/kms/aws4_request
	scope := strings.Split(r.Header.Get("Authorization"), "/")
	if len(scope) < 5 || scope[3] != "kms" {
		fail(failure{400, `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`})
		return
	}
	k.mu.Lock()
	mode, err, allow, keys := k.mode, k.error, k.allow, maps.Clone(k.keys)
	k.calls = append(k.calls, Call{op, scope[2], in.KeyId, in.GrantTokens, in.EncryptionContext})
	k.mu.Unlock()
	if e, ok := documented[mode]; ok {
		err = &e
	}
	if allow != nil && !allow("kms:"+op, in.KeyId, in.EncryptionContext) {
		e := documented[kmstest.Denied]
		err = &e
	}
	if err != nil {
		fail(*err)
		return
	}
	id := keyID(in.KeyId)
	region, _, _ := strings.Cut(strings.TrimPrefix(in.KeyId, "arn:aws:kms:"), ":")
	if region != scope[2] {
		fail(failure{400, `{"__type":"NotFoundException","message":"Invalid arn ` + scope[2] + `"}`})
		return
	}
	key := keys[id]
	if key == nil {
		fail(documented[kmstest.NotFound])
		return
	}
	out := map[string]any{"KeyId": in.KeyId, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
	kc := kmsprovider.Context(maps.Clone(in.EncryptionContext))
	switch op {
	case "Encrypt":
		if len(in.Plaintext) == 0 || len(in.Plaintext) > 4096 {
			fail(failure{400, `{"__type":"ValidationException","message":"1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"}`})
			return
		}
		sealed, _ := key.Wrap(r.Context(), in.Plaintext, kc)
		out["CiphertextBlob"] = slices.Concat(blobHeader, []byte{byte(len(id))}, []byte(id), sealed)
	case "Decrypt":
		rest, ok := bytes.CutPrefix(in.CiphertextBlob, blobHeader)
		if !ok || len(rest) < 1 || len(rest) < 1+int(rest[0]) || keys[string(rest[1:1+rest[0]])] == nil {
			fail(failure{400, `{"__type":"InvalidCiphertextException"}`})
			return
		}
		if string(rest[1:1+rest[0]]) != id {
			fail(failure{400, `{"__type":"IncorrectKeyException","message":"The key ID in the request does not identify a CMK that can perform this operation."}`})
			return
		}
		plaintext, err := key.Unwrap(r.Context(), rest[1+rest[0]:], kc)
		if err != nil {
			fail(failure{400, `{"__type":"InvalidCiphertextException"}`})
			return
		}
		out["Plaintext"] = mode.Lie(plaintext)
	default:
		fail(failure{400, `{"__type":"UnknownOperationException"}`})
		return
	}
	if mode == kmstest.WrongKeyID {
		out["KeyId"] = another
	}
	w.Header().Set("X-Amzn-Requestid", hex.EncodeToString([]byte("request")))
	json.NewEncoder(w).Encode(out)
}
