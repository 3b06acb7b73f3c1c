package azurekms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/azurekms"
)

type tokenFunc func() (azcore.AccessToken, error)

func (f tokenFunc) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return f()
}

func goodToken() (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

const challenge = `Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`

// vaultThat answers calls with a token by answer, and others by a challenge.
func vaultThat(t *testing.T, challenge string, credential azcore.TokenCredential, answer http.HandlerFunc, change func(*azurekms.Options)) *azurekms.Provider {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(401)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	opts := &azurekms.Options{Client: azkeys.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: server.Client()},
		DisableChallengeResourceVerification: true, // the loopback interface isn't under vault.azure.net
	}}
	if change != nil {
		change(opts)
	}
	p, err := azurekms.New(server.URL+"/keys/app", credential, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// aWrap has the form of a wrap.
func aWrap() []byte {
	return append(append([]byte{1}, strings.Repeat("0", 32)+"\x00\x80"...), make([]byte, 200)...)
}

func checkOutages(t *testing.T, what string, p *azurekms.Provider) {
	t.Helper()
	_, wrapErr := p.Wrap(t.Context(), []byte("a key"), nil)
	_, unwrapErr := p.Unwrap(t.Context(), aWrap(), nil)
	for call, err := range map[string]error{"Wrap": wrapErr, "Unwrap": unwrapErr} {
		if !errors.Is(err, kmsprovider.ErrUnavailable) || !kmsprovider.Retryable(err) {
			t.Errorf("%s, %s: %v, want an outage", what, call, err)
		}
	}
}

// A credential that was refused a token has not been refused the KEK. Credentials that
// are made with the SDK have its errors.
func TestCredentialThatFailsAsTheSDK(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 409, 429, 500} {
		credential := tokenFunc(func() (azcore.AccessToken, error) {
			w := httptest.NewRecorder()
			w.WriteHeader(status)
			io.WriteString(w, `{"error":{"code":"Forbidden","message":"of the sign-in service"}}`)
			resp := w.Result()
			resp.Request = httptest.NewRequest("POST", "https://login.example.org", nil)
			return azcore.AccessToken{}, fmt.Errorf("no token: %w", runtime.NewResponseError(resp))
		})
		p := vaultThat(t, challenge, credential, func(http.ResponseWriter, *http.Request) {}, nil)
		checkOutages(t, http.StatusText(status), p)
	}
}

// The SDK panics at some challenges. Whoever runs the vault mustn't end the program.
func TestMalformedChallenges(t *testing.T) {
	for _, c := range []string{
		`Bearer authorization="x", resource="https://vault.azure.net"`, `Bearer authorization="https:/", resource="https://vault.azure.net"`,
		`Bearer authorization="https://login.microsoftonline.com", resource="https://vault.azure.net"`, `Bearer resource="%"`, `Bearer`, `Basic realm="x"`, `Bearer error="insufficient_claims", claims="%"`, "",
	} {
		checkOutages(t, c, vaultThat(t, c, tokenFunc(goodToken), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, nil))
	}
}

// A host with a dot at its end passes the SDK's check of who may have a token for which
// resource.
func TestHostsWithADotAtTheEnd(t *testing.T) {
	for _, key := range []string{"https://vault.example.org./keys/app", "https://vault..example.org/keys/app", "https://.example.org/keys/app", "https://./keys/app"} {
		if _, err := azurekms.New(key, tokenFunc(goodToken), nil); !errors.Is(err, azurekms.ErrOptions) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A client that logs bodies doesn't log keys.
func TestClientThatLogs(t *testing.T) {
	var logged strings.Builder
	log.SetListener(func(_ log.Event, text string) { logged.WriteString(text) })
	defer log.SetListener(nil)
	secret := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte("secret"), 6))
	p := vaultThat(t, challenge, tokenFunc(goodToken), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte(`"value"`)) {
			t.Errorf("asked with %s", body)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kid":"https://%s/keys/app/%s","value":%q}`, r.Host, strings.Repeat("0", 32), secret)
	}, func(o *azurekms.Options) { o.Client.Logging.IncludeBody = true })
	if _, err := p.Wrap(t.Context(), []byte("a key"), nil); err != nil {
		t.Error(err)
	}
	p.Unwrap(t.Context(), aWrap(), nil)
	if text := logged.String(); !strings.Contains(text, "REQUEST/RESPONSE") || strings.Contains(text, secret) || strings.Contains(text, `"value"`) {
		t.Errorf("logged %s", text)
	}
}

// The SDK indents refusals: hundreds of megabytes for a megabyte of brackets.
func TestAnswersOfBrackets(t *testing.T) {
	p := vaultThat(t, challenge, tokenFunc(goodToken), func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(502)
		io.WriteString(w, strings.Repeat("[", 1<<19))
	}, nil)
	checkOutages(t, "brackets", p) // and know the challenge
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	_, err := p.Unwrap(t.Context(), aWrap(), nil)
	text := fmt.Sprint(err)
	goruntime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 60 || len(text) > 1000 {
		t.Errorf("%d MiB for an error of %d bytes", n, len(text))
	}
}

// Programs put their own transport in the place of the default one.
func TestDefaultTransportOfAnotherType(t *testing.T) {
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	http.DefaultTransport = http.NewFileTransport(http.Dir("/"))
	if _, err := azurekms.New("https://myvault.vault.azure.net/keys/app", tokenFunc(goodToken), nil); err != nil {
		t.Error(err)
	}
}
