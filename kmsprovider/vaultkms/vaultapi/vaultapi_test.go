package vaultapi_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// newClient returns a client of s without a network.
func newClient(t *testing.T, s http.RoundTripper, opts vaultapi.Options) *vaultapi.Client {
	t.Helper()
	opts.Address = "https://vault.example.org:8200"
	opts.HTTP = &http.Client{Transport: s}
	c, err := vaultapi.New(&opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func post(c *vaultapi.Client, path string) error {
	var out struct{ Data struct{ Answer string } }
	err := c.Post(context.Background(), path, struct{}{}, &out)
	if err == nil && out.Data.Answer != "yes" {
		return fmt.Errorf("answer %q", out.Data.Answer)
	}
	return err
}

func given(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// noEnvironment keeps the machine's own settings out.
func noEnvironment(t *testing.T) {
	for _, name := range []string{"ADDR", "TOKEN", "NAMESPACE", "CACERT"} {
		t.Setenv("BAO_"+name, "")
		t.Setenv("VAULT_"+name, "")
	}
}

func TestLoginIsRenewedAndThenMadeAnew(t *testing.T) {
	noEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer()
		c := newClient(t, s, vaultapi.Options{Login: vaultapi.AppRole("", "role", "good")})
		for range 24 * 6 { // a day
			if err := post(c, "transit/encrypt/app"); err != nil {
				t.Fatalf("after %d logins: %v", s.count("auth/approle/login"), err)
			}
			time.Sleep(10 * time.Minute)
		}
		// Tokens last for an hour, and for three with renewals.
		if n := s.count("auth/approle/login"); n < 8 || n > 14 {
			t.Errorf("%d logins in a day", n)
		}
		if n := s.count("auth/token/renew-self"); n < 8 || n > 80 {
			t.Errorf("%d renewals in a day", n)
		}
		// After a long silence the token is gone.
		time.Sleep(10 * time.Hour)
		if err := post(c, "transit/encrypt/app"); err != nil {
			t.Errorf("after ten hours: %v", err)
		}
	})
}

func TestTokenOfTheEnvironmentIsRenewed(t *testing.T) {
	noEnvironment(t)
	t.Setenv("VAULT_TOKEN", "s.given")
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer()
		s.issue("s.given", time.Hour, 1000*time.Hour, true)
		c := newClient(t, s, vaultapi.Options{})
		for range 100 {
			if err := post(c, "transit/encrypt/app"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(25 * time.Minute)
		}
		if n := s.count("auth/token/renew-self"); n < 40 || n > 100 {
			t.Errorf("%d renewals in 40 hours", n)
		}
	})
}

func TestTokensThatCannotBeRenewed(t *testing.T) {
	noEnvironment(t)
	t.Setenv("BAO_TOKEN", "s.given")
	for _, root := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeServer()
			s.issue("s.given", 100*time.Hour, 100*time.Hour, false)
			s.tokens["s.given"].root = root
			c := newClient(t, s, vaultapi.Options{})
			for range 50 {
				if err := post(c, "transit/encrypt/app"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
			}
			if n := s.count("auth/token/renew-self"); n != 1 {
				t.Errorf("%d renewals of a token that can't be renewed", n)
			}
			// Its end is an end.
			time.Sleep(100 * time.Hour)
			if err := post(c, "transit/encrypt/app"); root == errors.Is(err, kmsprovider.ErrDenied) {
				t.Errorf("after 150 hours: %v", err)
			}
		})
	}
}

// A server that can't renew now doesn't cost a token that is good.
func TestRenewalWhileTheServerIsAway(t *testing.T) {
	noEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer()
		away := false
		tr := roundTripper(func(r *http.Request) (*http.Response, error) {
			if away && strings.Contains(r.URL.Path, "/auth/") {
				return nil, errors.New("connection refused")
			}
			return s.RoundTrip(r)
		})
		c := newClient(t, tr, vaultapi.Options{Login: vaultapi.AppRole("", "role", "good")})
		if err := post(c, "transit/encrypt/app"); err != nil {
			t.Fatal(err)
		}
		away = true
		for time.Sleep(45 * time.Minute); ; time.Sleep(time.Minute) {
			err := post(c, "transit/encrypt/app")
			if !time.Now().Before(s.tokens["s.login0"].ends) {
				// It isn't the policy that refuses.
				if !errors.Is(err, kmsprovider.ErrUnavailable) || errors.Is(err, kmsprovider.ErrDenied) {
					t.Errorf("after the token's end: %v", err)
				}
				break
			}
			if err != nil {
				t.Fatalf("%v before the token's end: %v", time.Until(s.tokens["s.login0"].ends), err)
			}
		}
		away = false
		time.Sleep(time.Minute)
		if err := post(c, "transit/encrypt/app"); err != nil {
			t.Errorf("after the server came back: %v", err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRevokedTokenIsReplaced(t *testing.T) {
	noEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer()
		c := newClient(t, s, vaultapi.Options{Login: vaultapi.AppRole("", "role", "good")})
		if err := post(c, "transit/encrypt/app"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		delete(s.tokens, "s.login0")
		s.issue("x", 0, 0, false) // names of tokens are their number
		if err := post(c, "transit/encrypt/app"); err != nil {
			t.Errorf("after the token was revoked: %v", err)
		}
		if n := s.count("auth/approle/login"); n != 2 {
			t.Errorf("%d logins, want 2", n)
		}
		// What the policy refuses is refused, without a storm of logins.
		for range 1000 {
			if err := post(c, "denied"); !errors.Is(err, kmsprovider.ErrDenied) || kmsprovider.Retryable(err) {
				t.Fatalf("denied: %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.count("auth/approle/login"); n > 4 {
			t.Errorf("%d logins in 100 seconds of refusals", n)
		}
	})
}

func TestLoginIsRefused(t *testing.T) {
	noEnvironment(t)
	c := newClient(t, newFakeServer(), vaultapi.Options{Login: vaultapi.AppRole("", "role", "hunter2")})
	err := post(c, "transit/encrypt/app")
	if !errors.Is(err, kmsprovider.ErrDenied) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "no token") {
		t.Errorf("a wrong secret ID: %v", err)
	}
	s := newFakeServer()
	s.sealed = true
	err = post(newClient(t, s, vaultapi.Options{Login: vaultapi.AppRole("", "role", "good")}), "transit/encrypt/app")
	if !errors.Is(err, kmsprovider.ErrUnavailable) {
		t.Errorf("a login when sealed: %v", err)
	}
}

func TestTokenSources(t *testing.T) {
	noEnvironment(t)
	s := newFakeServer()
	s.issue("s.one", time.Hour, time.Hour, true)
	s.issue("s.two", time.Hour, time.Hour, true)
	file := filepath.Join(t.TempDir(), "token")
	c := newClient(t, s, vaultapi.Options{Token: vaultapi.TokenFile(file)})
	if err := post(c, "x"); !errors.Is(err, kmsprovider.ErrUnavailable) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file yet: %v", err)
	}
	for _, token := range []string{"s.one", "s.two"} {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := post(c, "x"); err != nil || s.headers.Get("X-Vault-Token") != token {
			t.Errorf("file with %s: %v, sent %s", token, err, s.headers.Get("X-Vault-Token"))
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := post(c, "x"); !errors.Is(err, kmsprovider.ErrUnavailable) {
		t.Errorf("an empty file: %v", err)
	}

	jwt := filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(jwt, []byte("good\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := post(newClient(t, s, vaultapi.Options{Login: vaultapi.Kubernetes("k8s", "app", jwt)}), "x"); err != nil {
		t.Errorf("kubernetes: %v", err)
	}
	if s.count("auth/k8s/login") != 1 {
		t.Error("kubernetes: no login at the mount")
	}
	if err := post(newClient(t, s, vaultapi.Options{Login: vaultapi.Kubernetes("", "app", jwt+"2")}), "x"); !errors.Is(err, kmsprovider.ErrUnavailable) {
		t.Errorf("kubernetes without a token: %v", err)
	}

	for source, want := range map[error]error{
		errors.New("sidecar"):                            kmsprovider.ErrUnavailable,
		fmt.Errorf("%w: no more", kmsprovider.ErrDenied): kmsprovider.ErrDenied,
		context.DeadlineExceeded:                         context.DeadlineExceeded,
	} {
		c := newClient(t, s, vaultapi.Options{Token: func(context.Context) (string, error) { return "", source }})
		if err := post(c, "x"); !errors.Is(err, want) || !errors.Is(err, source) {
			t.Errorf("source with %v: %v", source, err)
		}
	}
}

// A token must not go where an answer points.
func TestRedirectsAreNotFollowed(t *testing.T) {
	noEnvironment(t)
	var got atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got.Add(1) }))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL, status)
		}))
		for _, client := range []*http.Client{nil, server.Client()} {
			c, err := vaultapi.New(&vaultapi.Options{Address: server.URL, Token: given("s.given"), HTTP: client})
			if err != nil {
				t.Fatal(err)
			}
			if err := post(c, "x"); !errors.Is(err, kmsprovider.ErrUnavailable) {
				t.Errorf("%d: %v", status, err)
			}
		}
		server.Close()
	}
	if got.Load() != 0 {
		t.Errorf("redirects were followed %d times", got.Load())
	}
}

// What stands between answers with the server's statuses. That is no word of it.
func TestAnswersThatAreNotTheServers(t *testing.T) {
	noEnvironment(t)
	for _, status := range []int{200, 204, 400, 401, 403, 404, 405, 413, 418, 429, 500, 502, 504} {
		for _, body := range []string{"", "<html>no</html>", "null", "[]", `{"error":"denied"}`, `{"errors":"denied"}`, `{"errors":["den`, `"x"`} {
			if status == 200 && (body == "null" || strings.HasPrefix(body, "{") && json.Valid([]byte(body))) {
				continue // JSON without an answer: for the caller to see
			}
			c := newClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				w.WriteHeader(status)
				w.WriteString(body)
				return w.Result(), nil
			}), vaultapi.Options{Token: given("s.given")})
			if err := post(c, "x"); !errors.Is(err, kmsprovider.ErrUnavailable) || !kmsprovider.Retryable(err) {
				t.Errorf("%d with %q: %v", status, body, err)
			}
		}
	}
}

func TestStatuses(t *testing.T) {
	noEnvironment(t)
	for status, want := range map[int]error{
		400: nil, 401: kmsprovider.ErrDenied, 403: kmsprovider.ErrDenied, 404: kmsprovider.ErrNotFound, 412: kmsprovider.ErrUnavailable,
		429: kmsprovider.ErrThrottled, 473: kmsprovider.ErrUnavailable, 500: kmsprovider.ErrUnavailable, 503: kmsprovider.ErrUnavailable,
	} {
		c := newClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"errors":["first",%q]}`, strings.Repeat("second\n", 1000))
			return w.Result(), nil
		}), vaultapi.Options{Token: given("s.given")})
		err := post(c, "x")
		var answer *vaultapi.ResponseError
		if !errors.As(err, &answer) || answer.StatusCode != status || len(answer.Errors) != 2 {
			t.Fatalf("%d: %v", status, err)
		}
		if want != nil && !errors.Is(err, want) || want == nil && kmsprovider.Retryable(err) {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
		if text := err.Error(); len(text) > 600 || strings.Contains(text, "\n") || !strings.Contains(text, "first") {
			t.Errorf("%d: the error is %q", status, text)
		}
	}
}

func TestNamespace(t *testing.T) {
	noEnvironment(t)
	s := newFakeServer()
	c := newClient(t, s, vaultapi.Options{Namespace: "/team/a/", Login: vaultapi.AppRole("", "role", "good")})
	if err := post(c, "transit/encrypt/app"); err != nil || s.headers.Get("X-Vault-Namespace") != "team/a" || c.Namespace() != "team/a" {
		t.Errorf("%v, header %q, namespace %q", err, s.headers.Get("X-Vault-Namespace"), c.Namespace())
	}
	t.Setenv("VAULT_NAMESPACE", "vault")
	if c := newClient(t, s, vaultapi.Options{Token: given("x")}); c.Namespace() != "vault" {
		t.Errorf("VAULT_NAMESPACE: %q", c.Namespace())
	}
	t.Setenv("BAO_NAMESPACE", "bao")
	if c := newClient(t, s, vaultapi.Options{Token: given("x")}); c.Namespace() != "bao" {
		t.Errorf("BAO_NAMESPACE: %q", c.Namespace())
	}
}

func TestEnvironment(t *testing.T) {
	noEnvironment(t)
	s := newFakeServer()
	s.tokens["s.bao"] = &fakeToken{root: true}
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a handshake fails on purpose
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vaultapi.New(nil); !errors.Is(err, vaultapi.ErrOptions) {
		t.Errorf("no address: %v", err)
	}
	t.Setenv("VAULT_ADDR", "https://127.0.0.1:1")
	if _, err := vaultapi.New(nil); !errors.Is(err, vaultapi.ErrOptions) {
		t.Errorf("no token: %v", err)
	}
	t.Setenv("BAO_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", "s.vault")
	t.Setenv("BAO_TOKEN", "s.bao")
	c, err := vaultapi.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := post(c, "x"); !errors.Is(err, kmsprovider.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	t.Setenv("VAULT_CACERT", ca)
	if c, err = vaultapi.New(nil); err != nil {
		t.Fatal(err)
	}
	if err := post(c, "x"); err != nil {
		t.Error(err)
	}
	for _, file := range []string{ca + "2", os.DevNull} {
		t.Setenv("VAULT_CACERT", file)
		if _, err := vaultapi.New(nil); !errors.Is(err, vaultapi.ErrOptions) {
			t.Errorf("CACERT %s: %v", file, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	noEnvironment(t)
	for address, want := range map[string]bool{
		"https://vault.example.org:8200":          true,
		"https://vault.example.org/prefix/":       true,
		"http://127.0.0.1:8200":                   true,
		"http://[::1]:8200":                       true,
		"http://localhost:8200":                   true,
		"http://vault.example.org:8200":           false,
		"http://localhost.example.org":            false,
		"https://u:hunter2@vault.example.org":     false,
		"https://vault.example.org?token=hunter2": false,
		"unix:///run/hunter2":                     false,
		"hunter2":                                 false,
		"https://":                                false,
		"https://hunter2:hunter2:hunter2":         false,
	} {
		_, err := vaultapi.New(&vaultapi.Options{Address: address, Token: given("x")})
		if want && err != nil || !want && !errors.Is(err, vaultapi.ErrOptions) {
			t.Errorf("%s: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a credential: %v", address, err)
		}
	}
	if _, err := vaultapi.New(&vaultapi.Options{Address: "http://vault:8200", Token: given("x"), PlainHTTP: true}); err != nil {
		t.Errorf("PlainHTTP: %v", err)
	}
	if _, err := vaultapi.New(&vaultapi.Options{Address: "https://vault", Token: given("x"), Login: vaultapi.AppRole("", "", "")}); !errors.Is(err, vaultapi.ErrOptions) {
		t.Errorf("Token and Login: %v", err)
	}
}

func TestTokensDoNotPrint(t *testing.T) {
	noEnvironment(t)
	t.Setenv("VAULT_TOKEN", "s.hunter2hunter2")
	s := newFakeServer()
	s.tokens["s.hunter2hunter2"] = &fakeToken{root: true}
	c := newClient(t, s, vaultapi.Options{})
	if err := post(c, "x"); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{c, *c, struct{ c *vaultapi.Client }{c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
}
