package vaultkms_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/vaultkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

func newClient(t testing.TB, address, namespace string, client *http.Client) *vaultapi.Client {
	t.Helper()
	c, err := vaultapi.New(&vaultapi.Options{
		Address: address, Namespace: namespace, HTTP: client,
		Token: func(context.Context) (string, error) { return token, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t testing.TB, address string, client *http.Client, name string) *vaultkms.Provider {
	t.Helper()
	p, err := vaultkms.New("hcvault:///transit/keys/"+name, newClient(t, address, "", client))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func noEnvironment(t *testing.T) {
	for _, name := range []string{"ADDR", "TOKEN", "NAMESPACE", "CACERT"} {
		t.Setenv("BAO_"+name, "")
		t.Setenv("VAULT_"+name, "")
	}
}

// isCause looks for the server's error, or for what isn't sent to it.
func isCause(err error) bool {
	return errors.As(err, new(*vaultapi.ResponseError)) || errors.Is(err, vaultkms.ErrFormat)
}

func TestConformance(t *testing.T) {
	noEnvironment(t)
	fake := newFakeTransit()
	proxy := kmstest.NewProxy(t, fake)
	opener := func(name string) func(*testing.T) kmsprovider.Provider {
		return func(t *testing.T) kmsprovider.Provider { return open(t, proxy.URL, proxy.Client(), name) }
	}
	opts := []kmstest.Option{
		proxy.Faults(), kmstest.ServiceError(isCause), kmstest.Secrets(token),
		kmstest.Lacks("Transit deletes at once", kmstest.PendingDeletion),
		kmstest.Lacks("answers don't name the key, and have no checksum", kmstest.WrongKeyID, kmstest.WrongChecksum),
	}
	for _, m := range []kmstest.Mode{
		kmstest.NotFound, kmstest.Denied, kmstest.Disabled, kmstest.Unavailable, kmstest.Throttled,
		kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33,
	} {
		opts = append(opts, fake.fault(m))
	}
	kmstest.Run(t, opener("one"), opener("two"), opts...)
}

// Vault before 1.13 takes associated_data and ignores it. Nothing is wrapped there,
// and nothing opened.
func TestServerThatIgnoresAssociatedData(t *testing.T) {
	noEnvironment(t)
	ctx := t.Context()
	fake := newFakeTransit()
	fake.ignores.Store(true)
	server := httptest.NewServer(fake)
	defer server.Close()
	kc := kmsprovider.Context{"structseal-ring": "app"}
	p := open(t, server.URL, nil, "one")
	for range 2 {
		if w, err := p.Wrap(ctx, []byte("secret"), kc); !errors.Is(err, vaultkms.ErrUnsupported) || kmsprovider.Retryable(err) || w != nil {
			t.Errorf("wrap: %v", err)
		}
	}
	store := keyring.NewMemoryStore()
	if _, _, err := keyring.Create(ctx, "app", store, p, nil); !errors.Is(err, vaultkms.ErrUnsupported) {
		t.Errorf("Create: %v", err)
	}
	if _, err := store.Load(ctx, "app"); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("Create has stored a ring: %v", err)
	}
	out, err := fake.keys["one"].Seal(nil, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	unbound := []byte("vault:v1:" + b64(out))
	if got, err := p.Unwrap(ctx, unbound, kc); !errors.Is(err, vaultkms.ErrUnsupported) || got != nil {
		t.Errorf("unwrap: %v", err)
	}
	// After an upgrade of the server it works, in the same process.
	fake.ignores.Store(false)
	w, err := p.Wrap(ctx, []byte("secret"), kc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Unwrap(ctx, w, kc); err != nil {
		t.Error(err)
	}
	if _, err := p.Unwrap(ctx, unbound, kc); !errors.Is(err, kmsprovider.ErrRejected) {
		t.Errorf("a wrap that is bound to nothing: %v", err)
	}
}

// An outage during the check says nothing about the server.
func TestOutageDuringTheCheck(t *testing.T) {
	noEnvironment(t)
	fake := newFakeTransit()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
		fake.ServeHTTP(w, r)
	}))
	defer server.Close()
	p := open(t, server.URL, nil, "one")
	if w, err := p.Wrap(t.Context(), []byte("secret"), nil); !errors.Is(err, kmsprovider.ErrUnavailable) || errors.Is(err, vaultkms.ErrUnsupported) || w != nil {
		t.Errorf("wrap: %v", err)
	}
	if _, err := p.Wrap(t.Context(), []byte("secret"), nil); err != nil || calls.Load() != 4 {
		t.Errorf("wrap after %d calls: %v", calls.Load(), err)
	}
}

// What isn't Transit's text isn't stored.
func TestAnswersThatAreNoCiphertext(t *testing.T) {
	noEnvironment(t)
	for text, want := range map[string]error{
		"":                     kmsprovider.ErrUnavailable,
		"vault:v1:":            kmsprovider.ErrWrongAnswer,
		"vault:v1:AAA":         kmsprovider.ErrWrongAnswer,
		"vault:v0:AAAA":        kmsprovider.ErrWrongAnswer,
		"c2VjcmV0":             kmsprovider.ErrWrongAnswer,
		"vault:v1:AAAA\\nAAAA": kmsprovider.ErrWrongAnswer,
		"vault:v1:" + strings.Repeat("AAAA", 8<<10): kmsprovider.ErrWrongAnswer,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(`{"data":{"ciphertext":"` + text + `"}}`))
		}))
		_, err := open(t, server.URL, nil, "one").Wrap(t.Context(), []byte("secret"), nil)
		if !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", text, err, want)
		}
		server.Close()
	}
}

func TestNew(t *testing.T) {
	noEnvironment(t)
	for uri, want := range map[string]string{
		"hcvault:///transit/keys/app":                          "hcvault:///transit/keys/app",
		"hcvault://Vault.example.org:8200/transit/keys/app":    "hcvault://vault.example.org:8200/transit/keys/app",
		"hcvault://[::1]:8200/transit/keys/app":                "hcvault://[::1]:8200/transit/keys/app",
		"hcvault://vault/team/a/transit/keys/App_1.x":          "hcvault://vault/team/a/transit/keys/App_1.x",
		"hcvault:///keys/keys/keys":                            "hcvault:///keys/keys/keys",
		"":                                                     "",
		"hcvault:///transit/keys/":                             "",
		"hcvault:///transit/app":                               "",
		"hcvault:///keys/app":                                  "",
		"hcvault:///transit/keys/a/b":                          "",
		"hcvault:///../keys/app":                               "",
		"hcvault:///transit/keys/..":                           "",
		"hcvault:///transit/keys/app?token=hunter2":            "",
		"hcvault://user:hunter2@vault.example.org/t/keys/app":  "",
		"https://vault.example.org/transit/keys/app":           "",
		"hcvault:///transit/keys/" + strings.Repeat("a", 2048): "",
	} {
		p, err := vaultkms.New(uri, newClient(t, "https://127.0.0.1:1", "", nil))
		switch {
		case want == "" && !errors.Is(err, vaultapi.ErrOptions):
			t.Errorf("%.60q: %v", uri, err)
		case want == "" && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%q: the error shows a credential: %v", uri, err)
		case want != "" && err != nil:
			t.Errorf("%q: %v", uri, err)
		case want != "" && p.ID() != want:
			t.Errorf("%q has ID %s, want %s", uri, p.ID(), want)
		}
	}
	// A namespace makes another KEK of it, however it is given.
	for namespace, want := range map[string]string{"team/a": "hcvault://vault/team/a/transit/keys/app", "te am": ""} {
		p, err := vaultkms.New("hcvault://vault/transit/keys/app", newClient(t, "https://127.0.0.1:1", namespace, nil))
		if want == "" && !errors.Is(err, vaultapi.ErrOptions) || want != "" && (err != nil || p.ID() != want) {
			t.Errorf("namespace %q: %v, %v", namespace, p, err)
		}
	}
	// The default client goes to the host of the URI, or else where the environment says.
	fake := newFakeTransit()
	server := httptest.NewTLSServer(fake)
	defer server.Close()
	t.Setenv("VAULT_TOKEN", token)
	if _, err := vaultkms.New("hcvault:///transit/keys/one", nil); !errors.Is(err, vaultapi.ErrOptions) {
		t.Errorf("no address anywhere: %v", err)
	}
	t.Setenv("VAULT_ADDR", "https://127.0.0.1:1")
	t.Setenv("VAULT_CACERT", certificate(t, server))
	host := strings.TrimPrefix(server.URL, "https://")
	p, err := vaultkms.New("hcvault://"+host+"/transit/keys/one", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wrap(t.Context(), []byte("secret"), nil); err != nil {
		t.Errorf("a host in the URI: %v", err)
	}
	t.Setenv("VAULT_ADDR", server.URL)
	if p, err = vaultkms.New("hcvault:///transit/keys/one", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wrap(t.Context(), []byte("secret"), nil); err != nil {
		t.Errorf("VAULT_ADDR: %v", err)
	}
}
