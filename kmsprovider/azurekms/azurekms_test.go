package azurekms_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/azurekms"
	"github.com/structseal/structseal/kmsprovider/azurekms/fakeazure"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// newVault starts a fake behind a proxy.
func newVault(t *testing.T) (*fakeazure.Vault, *kmstest.Proxy) {
	t.Helper()
	v := fakeazure.New("one", "two", "hsm-one", "hsm-two")
	return v, kmstest.NewProxy(t, v)
}

// open returns a provider on the fake, with a client of its own.
func open(t testing.TB, v *fakeazure.Vault, proxy *kmstest.Proxy, name string, change func(*azurekms.Options)) *azurekms.Provider {
	t.Helper()
	return openAt(t, proxy.URL, proxy.Client(), v, name, change)
}

func openAt(t testing.TB, url string, client *http.Client, credential azcore.TokenCredential, name string, change func(*azurekms.Options)) *azurekms.Provider {
	t.Helper()
	opts := &azurekms.Options{Client: azkeys.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: client},
		DisableChallengeResourceVerification: true, // the loopback interface isn't under vault.azure.net
	}}
	if strings.HasPrefix(name, "hsm-") {
		opts.Algorithm = azkeys.EncryptionAlgorithmA256KW
	}
	if change != nil {
		change(opts)
	}
	p, err := azurekms.New(url+"/keys/"+name, credential, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func isResponse(err error) bool { return errors.As(err, new(*azcore.ResponseError)) }

// isCause looks for the SDK's error, or package crypto's where Azure has unwrapped the
// key and the secret doesn't open.
func isCause(err error) bool { return isResponse(err) || errors.Is(err, crypto.ErrTampered) }

func TestConformance(t *testing.T) {
	for _, kind := range []string{"", "hsm-"} {
		t.Run(kind+"key", func(t *testing.T) {
			v, proxy := newVault(t)
			opener := func(name string) func(*testing.T) kmsprovider.Provider {
				return func(t *testing.T) kmsprovider.Provider { return open(t, v, proxy, kind+name, nil) }
			}
			kmstest.Run(t, opener("one"), opener("two"), append(v.Faults(),
				proxy.Faults(), kmstest.ServiceError(isCause), kmstest.Secrets(fakeazure.Token),
				kmstest.Lacks("answers have no checksum", kmstest.WrongChecksum))...)
		})
	}
}

// TestRealKey runs the suite on keys of an account: STRUCTSEAL_AZURE_KEYS holds two
// URLs, and STRUCTSEAL_AZURE_TOKEN an access token for https://vault.azure.net
// (az account get-access-token --resource https://vault.azure.net).
func TestRealKey(t *testing.T) {
	one, two, ok := strings.Cut(os.Getenv("STRUCTSEAL_AZURE_KEYS"), ",")
	if !ok {
		t.Skip("opt-in: STRUCTSEAL_AZURE_KEYS is not set to two URLs of keys with a comma between")
	}
	algorithm := azkeys.EncryptionAlgorithmRSAOAEP256
	if strings.Contains(one, ".managedhsm.") {
		algorithm = azkeys.EncryptionAlgorithmA256KW
	}
	opener := func(key string) func(*testing.T) kmsprovider.Provider {
		return func(t *testing.T) kmsprovider.Provider {
			p, err := azurekms.New(key, givenToken(os.Getenv("STRUCTSEAL_AZURE_TOKEN")), &azurekms.Options{Algorithm: algorithm})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	kmstest.Run(t, opener(one), opener(two), kmstest.ServiceError(isCause), kmstest.Lacks("a real account", kmstest.Modes()...))
}

func TestWrapsKeepTheirVersion(t *testing.T) {
	ctx := t.Context()
	v, proxy := newVault(t)
	p := open(t, v, proxy, "one", nil)
	kc := kmsprovider.Context{"structseal-ring": "app"}
	secret := []byte("0123456789abcdef0123456789abcdef")
	before, err := p.Wrap(ctx, secret, kc)
	if err != nil {
		t.Fatal(err)
	}
	id := p.ID()
	v.Rotate("one")
	after, err := p.Wrap(ctx, secret, kc)
	if err != nil {
		t.Fatal(err)
	}
	versions := v.Versions("one")
	for i, wrapped := range [][]byte{before, after} {
		if got := string(wrapped[1:33]); got != versions[i] {
			t.Errorf("wrap %d names version %s, want %s", i, got, versions[i])
		}
		if got, err := p.Unwrap(ctx, wrapped, kc); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("wrap %d after rotation: %v", i, err)
		}
	}
	if p.ID() != id {
		t.Errorf("the ID was %s and is %s after rotation", id, p.ID())
	}
	// A wrap of one version doesn't open as another's, and not as of none.
	for what, version := range map[string]string{
		"the other version": versions[1], "a version that isn't": strings.Repeat("0", 32),
		"in upper case": strings.ToUpper(versions[0]), "the name of another key": "../two/" + versions[0][:25],
	} {
		bad := append(append([]byte{before[0]}, version...), before[33:]...)
		if _, err := p.Unwrap(ctx, bad, kc); !errors.Is(err, kmsprovider.ErrRejected) || errors.Is(err, kmsprovider.ErrNotFound) {
			t.Errorf("version exchanged for %s: %v", what, err)
		}
	}
	// A key with both algorithms' wraps: the wrap says which.
	hsm := open(t, v, proxy, "hsm-one", nil)
	wrapped, err := hsm.Wrap(ctx, secret, kc)
	if err != nil {
		t.Fatal(err)
	}
	rsa := open(t, v, proxy, "hsm-one", func(o *azurekms.Options) { o.Algorithm = "" })
	if got, err := rsa.Unwrap(ctx, wrapped, kc); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("A256KW opened by a provider that wraps with RSA: %v", err)
	}
	if _, err := rsa.Wrap(ctx, secret, kc); !errors.Is(err, azurekms.ErrOptions) || kmsprovider.Retryable(err) {
		t.Errorf("wrap with an algorithm that the key hasn't: %v", err)
	}
}

// An answer names the key and the version that did it.
func TestAnswersOfAnotherKey(t *testing.T) {
	ctx := t.Context()
	v, proxy := newVault(t)
	p := open(t, v, proxy, "one", nil)
	old, err := p.Wrap(ctx, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	v.Rotate("one")
	one, two := v.Versions("one"), v.Versions("two")
	for kid, fine := range map[string]bool{
		proxy.URL + "/keys/one/" + one[0]:                         true,
		strings.ToUpper(proxy.URL + "/keys/one/" + one[0]):        true, // Azure's names have no case
		proxy.URL + "/keys/one/" + one[1]:                         false,
		proxy.URL + "/keys/two/" + two[0]:                         false,
		proxy.URL + "/keys/two/" + one[0]:                         false,
		"https://other.vault.azure.net/keys/one/" + one[0]:        false,
		"http" + proxy.URL[len("https"):] + "/keys/one/" + one[0]: false,
		proxy.URL + "/keys/one":                                   false,
		proxy.URL + "/keys/one/" + one[0] + "/x":                  false,
		"x":                                                       false,
	} {
		v.KeyID = kid
		if _, err := p.Unwrap(ctx, old, nil); fine != (err == nil) || !fine && (!errors.Is(err, kmsprovider.ErrWrongAnswer) || kmsprovider.Retryable(err)) {
			t.Errorf("unwrap answered by %s: %v", kid, err)
		}
	}
	for _, kid := range []string{proxy.URL + "/keys/two/" + two[0], proxy.URL + "/keys/one", "https://other.vault.azure.net/keys/one/" + one[1]} {
		v.KeyID = kid
		if w, err := p.Wrap(ctx, []byte("secret"), nil); !errors.Is(err, kmsprovider.ErrWrongAnswer) || w != nil {
			t.Errorf("wrap answered by %s: %v", kid, err)
		}
	}
}

// What stands between answers with Azure's statuses. That is no word of Azure's.
func TestAnswersThatAreNotAzures(t *testing.T) {
	for _, status := range []int{400, 403, 404, 409, 429, 500} {
		for _, body := range []string{"", "<html>no</html>", "{}", "null", `{"error":"denied"}`, `{"error":{}}`, `{"error":{"code":1}}`, `{"error":{"code":"Forbid`} {
			client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				w.WriteHeader(status)
				w.WriteString(body)
				resp := w.Result()
				resp.Request = r
				return resp, nil
			})}
			p := openAt(t, "https://127.0.0.1", client, givenToken("x"), "one", nil)
			if _, err := p.Wrap(t.Context(), []byte("secret"), nil); !errors.Is(err, kmsprovider.ErrUnavailable) || !kmsprovider.Retryable(err) {
				t.Errorf("%d with %q: %v", status, body, err)
			}
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A caller that leaves says nothing about the service, and wants no second try.
func TestCallerLeaves(t *testing.T) {
	v, proxy := newVault(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(t, v, proxy, "one", nil).Wrap(ctx, []byte("secret"), nil)
	if !errors.Is(err, context.Canceled) || kmsprovider.Retryable(err) {
		t.Errorf("%v", err)
	}
}

// An RSA key that is disabled still wraps, says Azure. No ring comes of it.
func TestDisabledKeyMakesNoRing(t *testing.T) {
	ctx := t.Context()
	v, proxy := newVault(t)
	p := open(t, v, proxy, "one", nil)
	v.Disable("one")
	if _, err := p.Wrap(ctx, []byte("secret"), nil); err != nil {
		t.Fatalf("the fake isn't like Azure: %v", err)
	}
	store := keyring.NewMemoryStore()
	_, _, err := keyring.Create(ctx, "app", store, p, nil)
	if !errors.Is(err, kmsprovider.ErrDisabled) {
		t.Errorf("Create with a disabled key: %v", err)
	}
	if _, err := store.Load(ctx, "app"); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("Create with a disabled key has stored a ring: %v", err)
	}
}

// One call is one call: the keyring has the retries.
func TestNoRetries(t *testing.T) {
	v, proxy := newVault(t)
	p := open(t, v, proxy, "one", func(o *azurekms.Options) {
		o.Client.Retry = policy.RetryOptions{MaxRetries: 7}
	})
	if _, err := p.Wrap(t.Context(), []byte("secret"), nil); err != nil {
		t.Fatal(err)
	}
	for _, m := range []kmstest.Mode{kmstest.Unavailable, kmstest.Throttled} {
		v.Set(m)
		_, err := p.Wrap(t.Context(), []byte("secret"), nil)
		if !kmsprovider.Retryable(err) {
			t.Errorf("%s: %v", m, err)
		}
		if n := v.Calls(); n != 1 {
			t.Errorf("%s: %d calls", m, n)
		}
	}
}

func TestCredentials(t *testing.T) {
	v, proxy := newVault(t)
	v.OnToken = func() (azcore.AccessToken, error) { return azcore.AccessToken{}, errors.New("AADSTS90033") }
	_, err := open(t, v, proxy, "one", nil).Wrap(t.Context(), []byte("secret"), nil)
	if !errors.Is(err, kmsprovider.ErrUnavailable) || !strings.Contains(err.Error(), "AADSTS90033") {
		t.Errorf("no token to be had: %v", err)
	}
	v.OnToken = func() (azcore.AccessToken, error) { return azcore.AccessToken{Token: "expired"}, nil }
	_, err = open(t, v, proxy, "one", nil).Wrap(t.Context(), []byte("secret"), nil)
	if !errors.Is(err, kmsprovider.ErrDenied) || kmsprovider.Retryable(err) || !isResponse(err) {
		t.Errorf("a token that isn't taken: %v", err)
	}
	v.OnToken = nil
	// A vault says for which resource it wants a token. Another domain's isn't given.
	_, err = open(t, v, proxy, "one", func(o *azurekms.Options) { o.Client.DisableChallengeResourceVerification = false }).Wrap(t.Context(), []byte("secret"), nil)
	if err == nil || v.Calls() != 0 {
		t.Errorf("a challenge for another domain: %v, %d calls with a token", err, v.Calls())
	}
}

func TestErrorsAreShort(t *testing.T) {
	v, proxy := newVault(t)
	p := open(t, v, proxy, "one", nil)
	v.Set(kmstest.Denied)
	_, err := p.Wrap(t.Context(), []byte("secret"), nil)
	if text := err.Error(); strings.Contains(text, "\n") || !strings.Contains(text, "ForbiddenByRbac") || !strings.Contains(text, p.ID()) || len(text) > 600 {
		t.Errorf("%s", text)
	}
}

func TestNew(t *testing.T) {
	for key, want := range map[string]string{
		"https://MyVault.vault.azure.net/keys/App":                            "azure-kv://myvault.vault.azure.net/keys/app",
		"azure-kv://myvault.vault.azure.net/keys/app/":                        "azure-kv://myvault.vault.azure.net/keys/app",
		"https://hsm.managedhsm.azure.net/keys/app":                           "azure-kv://hsm.managedhsm.azure.net/keys/app",
		"https://127.0.0.1:8443/keys/app":                                     "azure-kv://127.0.0.1:8443/keys/app",
		"":                                                                    "",
		"http://myvault.vault.azure.net/keys/app":                             "",
		"https://user:hunter2@myvault.vault.azure.net/keys/app":               "",
		"https://myvault.vault.azure.net/keys/app?sig=hunter2":                "",
		"https://myvault.vault.azure.net/keys/app/" + strings.Repeat("0", 32): "",
		"https://myvault.vault.azure.net/secrets/app":                         "",
		"https://myvault.vault.azure.net/keys/..":                             "",
		"https://myvault.vault.azure.net/keys/" + strings.Repeat("a", 128):    "",
		"https://myvault.vault.azure.net":                                     "",
	} {
		p, err := azurekms.New(key, givenToken("x"), nil)
		switch {
		case want == "" && !errors.Is(err, azurekms.ErrOptions):
			t.Errorf("%q: %v", key, err)
		case want == "" && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%q: the error shows a credential: %v", key, err)
		case want != "" && err != nil:
			t.Errorf("%q: %v", key, err)
		case want != "" && p.ID() != want:
			t.Errorf("%q has ID %s, want %s", key, p.ID(), want)
		}
	}
	if _, err := azurekms.New("https://myvault.vault.azure.net/keys/app", nil, nil); !errors.Is(err, azurekms.ErrOptions) {
		t.Errorf("no credential: %v", err)
	}
	for _, a := range []azkeys.EncryptionAlgorithm{azkeys.EncryptionAlgorithmRSA15, azkeys.EncryptionAlgorithmRSAOAEP, azkeys.EncryptionAlgorithmA256GCM} {
		if _, err := azurekms.New("https://myvault.vault.azure.net/keys/app", givenToken("x"), &azurekms.Options{Algorithm: a}); !errors.Is(err, azurekms.ErrOptions) {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// givenToken is a credential.
type givenToken string

func (g givenToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(g)}, nil
}
