package awskms_test

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
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

const (
	account   = "111122223333"
	secretKey = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
	keyOne    = "arn:aws:kms:us-east-1:" + account + ":key/1234abcd-12ab-34cd-56ef-1234567890ab"
	keyTwo    = "arn:aws:kms:us-east-1:" + account + ":key/0987dcba-09fe-87dc-65ba-ab0987654321"
	replica   = ":" + account + ":key/mrk-1234abcd12ab34cd56ef1234567890ab"
)

// fakeKMS is a fake of AWS KMS: the operations Encrypt and Decrypt in the protocol
// that the real SDK speaks (JSON 1.1, errors by __type), for keys with real
// cryptography in them. It checks no signatures. What it answers when something is
// wrong is what AWS's API reference documents.
type fakeKMS struct {
	keys map[string]*localkms.Provider // by key id: replicas share theirs

	mu    sync.Mutex
	mode  kmstest.Mode
	error *fakeError                                           // answered to every call
	allow func(op, key string, context map[string]string) bool // nil: everything
	calls []fakeCall
}

type fakeError struct {
	status int
	body   string
}

type fakeCall struct {
	Op, Region  string
	KeyId       string
	GrantTokens []string
	Context     map[string]string
	Attempt     string
}

func newFakeKMS() *fakeKMS {
	f := &fakeKMS{keys: make(map[string]*localkms.Provider)}
	for _, k := range []string{keyOne, keyTwo, replica} {
		_, id, _ := strings.Cut(k, ":key/")
		f.keys[id] = localkms.NewRandom()
	}
	return f
}

// documented are AWS's answers, {arn} being the key's.
var documented = map[kmstest.Mode]fakeError{
	kmstest.NotFound:        {400, `{"__type":"NotFoundException","message":"Key '{arn}' does not exist"}`},
	kmstest.Denied:          {400, `{"__type":"AccessDeniedException","Message":"User: arn:aws:iam::111122223333:user/app is not authorized to perform: kms:{op} on resource: {arn} because no identity-based policy allows the kms:{op} action"}`},
	kmstest.Disabled:        {409, `{"__type":"DisabledException","message":"{arn} is disabled."}`},
	kmstest.PendingDeletion: {409, `{"__type":"KMSInvalidStateException","message":"{arn} is pending deletion."}`},
	kmstest.Unavailable:     {500, `{"__type":"KMSInternalException","message":"An internal error occurred."}`},
	kmstest.Throttled:       {400, `{"__type":"ThrottlingException","message":"You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."}`},
}

func (f *fakeKMS) fault(m kmstest.Mode) kmstest.Option {
	return kmstest.Fault(m, func(*testing.T) func() {
		f.set(m, nil)
		return func() { f.set("", nil) }
	})
}

func (f *fakeKMS) set(m kmstest.Mode, e *fakeError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode, f.error, f.calls = m, e, nil
}

// permit sets what is allowed.
func (f *fakeKMS) permit(allow func(op, key string, context map[string]string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.allow = allow
}

func (f *fakeKMS) seen() []fakeCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// The blob says by which key it is, as AWS's does.
var blobHeader = []byte{0x01, 0x02, 0x03, 0x00, 0x78}

func (f *fakeKMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		KeyId                     string
		Plaintext, CiphertextBlob []byte
		EncryptionContext         map[string]string
		GrantTokens               []string
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	fail := func(e fakeError) {
		w.WriteHeader(e.status)
		fmt.Fprint(w, strings.NewReplacer("{arn}", in.KeyId, "{op}", op).Replace(e.body))
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(fakeError{400, `{"__type":"SerializationException"}`})
		return
	}
	// Credential=ID/DATE/REGION/kms/aws4_request
	scope := strings.Split(r.Header.Get("Authorization"), "/")
	if len(scope) < 5 || scope[3] != "kms" {
		fail(fakeError{400, `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`})
		return
	}
	f.mu.Lock()
	mode, err, allow := f.mode, f.error, f.allow
	f.calls = append(f.calls, fakeCall{op, scope[2], in.KeyId, in.GrantTokens, in.EncryptionContext, r.Header.Get("Amz-Sdk-Request")})
	f.mu.Unlock()
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
	region, name, _ := strings.Cut(strings.TrimPrefix(in.KeyId, "arn:aws:kms:"), ":")
	_, id, _ := strings.Cut(name, ":key/")
	key := f.keys[id]
	if key == nil || region != scope[2] {
		fail(fakeError{400, `{"__type":"NotFoundException","message":"Invalid arn ` + scope[2] + `"}`})
		return
	}
	out := map[string]any{"KeyId": in.KeyId, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
	kc := kmsprovider.Context(maps.Clone(in.EncryptionContext))
	switch op {
	case "Encrypt":
		if len(in.Plaintext) == 0 || len(in.Plaintext) > 4096 {
			fail(fakeError{400, `{"__type":"ValidationException","message":"1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"}`})
			return
		}
		sealed, _ := key.Wrap(r.Context(), in.Plaintext, kc)
		out["CiphertextBlob"] = slices.Concat(blobHeader, []byte{byte(len(id))}, []byte(id), sealed)
	case "Decrypt":
		rest, ok := bytes.CutPrefix(in.CiphertextBlob, blobHeader)
		if !ok || len(rest) < 1 || len(rest) < 1+int(rest[0]) || f.keys[string(rest[1:1+rest[0]])] == nil {
			fail(fakeError{400, `{"__type":"InvalidCiphertextException"}`})
			return
		}
		if string(rest[1:1+rest[0]]) != id {
			fail(fakeError{400, `{"__type":"IncorrectKeyException","message":"The key ID in the request does not identify a CMK that can perform this operation."}`})
			return
		}
		plaintext, err := key.Unwrap(r.Context(), rest[1+rest[0]:], kc)
		if err != nil {
			fail(fakeError{400, `{"__type":"InvalidCiphertextException"}`})
			return
		}
		out["Plaintext"] = mode.Lie(plaintext)
	default:
		fail(fakeError{400, `{"__type":"UnknownOperationException"}`})
		return
	}
	if mode == kmstest.WrongKeyID {
		out["KeyId"] = keyTwo
	}
	w.Header().Set("X-Amzn-Requestid", hex.EncodeToString([]byte("request")))
	json.NewEncoder(w).Encode(out)
}
