package vaultapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// Who can't log in again has the token for all of its time. When it ends, so does
// access, for the reason that the login gives.
func TestLoginIsRefusedWhileTheTokenIsGood(t *testing.T) {
	noEnvironment(t)
	for what, c := range map[string]struct {
		refuse error // nil: the server does
		want   error
	}{
		"the secret ID was used up": {nil, kmsprovider.ErrDenied},
		"no service account token":  {os.ErrNotExist, kmsprovider.ErrUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeServer()
			first := true
			client := newClient(t, notRenewable(s), vaultapi.Options{Login: func(context.Context) (string, map[string]string, error) {
				secret, err := "good", error(nil)
				if !first {
					secret, err = "used up", c.refuse
				}
				first = false
				return "auth/approle/login", map[string]string{"role_id": "role", "secret_id": secret}, err
			}})
			for start := time.Now(); time.Since(start) < s.ttl-time.Minute; time.Sleep(time.Minute) {
				if err := post(client, "transit/encrypt/app"); err != nil {
					t.Fatalf("%s: %v before the token's end: %v", what, s.ttl-time.Since(start), err)
				}
			}
			if n := s.count("auth/approle/login"); n > 90 {
				t.Errorf("%s: %d logins in an hour", what, n)
			}
			time.Sleep(2 * time.Minute)
			if err := post(client, "transit/encrypt/app"); !errors.Is(err, c.want) || kmsprovider.Retryable(err) != kmsprovider.Retryable(c.want) {
				t.Errorf("%s, after the token's end: %v, want %q", what, err, c.want)
			}
		})
	}
}

// notRenewable is s with tokens that can't be renewed.
func notRenewable(s *fakeServer) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := s.RoundTrip(r)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte(`"renewable":true`), []byte(`"renewable":false`), 1)))
		}
		return resp, err
	})
}

// A renewal that is never answered costs a few seconds now and then, and no call.
func TestRenewalThatHangs(t *testing.T) {
	noEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer()
		tr := roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/renew-self") {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return s.RoundTrip(r)
		})
		c := newClient(t, tr, vaultapi.Options{Login: vaultapi.AppRole("", "role", "good")})
		if err := post(c, "transit/encrypt/app"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(45 * time.Minute)
		start, slow := time.Now(), 0
		for range 100 {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if err := c.Post(ctx, "transit/encrypt/app", struct{}{}, &struct{}{}); err != nil {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
			cancel()
			if time.Since(began) > 0 {
				slow++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if slow > 3 {
			t.Errorf("%d calls of 100 waited for the renewal, %v in all", slow, time.Since(start))
		}
	})
}

// A method that isn't mounted at the server says nothing about the KEK.
func TestLoginThatIsNotMounted(t *testing.T) {
	noEnvironment(t)
	c := newClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.WriteHeader(404)
		w.WriteString(`{"errors":["no handler for route \"auth/approle/login\". route entry not found."]}`)
		return w.Result(), nil
	}), vaultapi.Options{Login: vaultapi.AppRole("", "role", "good")})
	err := post(c, "transit/decrypt/app")
	if !errors.Is(err, kmsprovider.ErrUnavailable) || errors.Is(err, kmsprovider.ErrNotFound) || !kmsprovider.Retryable(err) || !errors.As(err, new(*vaultapi.ResponseError)) {
		t.Errorf("%v", err)
	}
}

// A page of what stands between is no refusal of the login, whatever its status.
func TestPagesForTheLogin(t *testing.T) {
	noEnvironment(t)
	for _, status := range []int{200, 302, 400, 401, 403, 404, 429, 500, 502} {
		c := newClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.WriteHeader(status)
			w.WriteString("<html>blocked</html>")
			return w.Result(), nil
		}), vaultapi.Options{Login: vaultapi.AppRole("", "role", "good")})
		if err := post(c, "transit/decrypt/app"); !errors.Is(err, kmsprovider.ErrUnavailable) || !kmsprovider.Retryable(err) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// Programs put their own transport in the place of the default one.
func TestDefaultTransportOfAnotherType(t *testing.T) {
	noEnvironment(t)
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	http.DefaultTransport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("not for keys") })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"data":{"answer":"yes"}}`)) }))
	defer server.Close()
	c, err := vaultapi.New(&vaultapi.Options{Address: server.URL, Token: given("s.given")})
	if err != nil {
		t.Fatal(err)
	}
	if err := post(c, "x"); err != nil {
		t.Error(err)
	}
}
