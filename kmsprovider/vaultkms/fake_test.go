package vaultkms_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// fakeTransit answers as Transit does, for its keys "one" and "two", without its
// weight. Module itest/kms has the same tests on the real one.
type fakeTransit struct {
	keys map[string]*crypto.Key
	mode atomic.Pointer[kmstest.Mode]
	// ignores: associated_data is no parameter that it knows, as in Vault before 1.13.
	ignores atomic.Bool
}

const token = "s.KMSTESTtokenKMSTESTtoken"

func newFakeTransit() *fakeTransit {
	f := &fakeTransit{keys: make(map[string]*crypto.Key)}
	for i, name := range []string{"one", "two"} {
		key, err := crypto.NewKey(crypto.Default, uint32(i+1), bytes.Repeat([]byte{byte(i + 1)}, 32))
		if err != nil {
			panic(err)
		}
		f.keys[name] = key
	}
	return f
}

func (f *fakeTransit) fault(m kmstest.Mode) kmstest.Option {
	return kmstest.Fault(m, func(*testing.T) func() {
		f.mode.Store(&m)
		return func() { f.mode.Store(nil) }
	})
}

func (f *fakeTransit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	failed := func(status int, text string) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
	}
	var mode kmstest.Mode
	if m := f.mode.Load(); m != nil {
		mode = *m
	}
	switch mode {
	case kmstest.NotFound:
		failed(400, "encryption key not found")
		return
	case kmstest.Disabled:
		failed(400, "refusing to use soft-deleted key")
		return
	case kmstest.Denied:
		failed(403, "1 error occurred:\n\t* permission denied\n\n")
		return
	case kmstest.Unavailable:
		failed(503, "Vault is sealed")
		return
	case kmstest.Throttled:
		failed(429, `request path "transit/encrypt/one": rate limit quota exceeded`)
		return
	}
	if r.Header.Get("X-Vault-Token") != token {
		failed(403, "permission denied")
		return
	}
	var in struct {
		Plaintext      []byte
		Ciphertext     string
		AssociatedData []byte `json:"associated_data"`
	}
	verb, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/transit/"), "/")
	key := f.keys[name]
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || key == nil {
		failed(400, "encryption key not found")
		return
	}
	if f.ignores.Load() {
		in.AssociatedData = nil
	}
	var data map[string]string
	if verb == "encrypt" {
		out, err := key.Seal(nil, in.Plaintext, in.AssociatedData)
		if err != nil {
			failed(500, "internal error")
			return
		}
		data = map[string]string{"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(out)}
	} else {
		text, ok := strings.CutPrefix(in.Ciphertext, "vault:v1:")
		sealed, err := base64.StdEncoding.DecodeString(text)
		var out []byte
		if err == nil && ok {
			out, err = key.Open(nil, sealed, in.AssociatedData)
		}
		if err != nil || !ok {
			failed(400, "cipher: message authentication failed")
			return
		}
		data = map[string]string{"plaintext": base64.StdEncoding.EncodeToString(mode.Lie(out))}
	}
	fmt.Fprintf(w, `{"request_id":"1","data":%s,"warnings":null}`, must(json.Marshal(data)))
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// certificate writes the server's into a file.
func certificate(t *testing.T, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
