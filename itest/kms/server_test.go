package kms

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/vaultkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// TestRealKeys runs the suite on two keys of a server that runs somewhere.
func TestRealKeys(t *testing.T) {
	one, two, ok := strings.Cut(os.Getenv("STRUCTSEAL_VAULT_KEYS"), ",")
	if !ok {
		t.Skip("opt-in: STRUCTSEAL_VAULT_KEYS is not set to two URIs with a comma between")
	}
	opener := func(uri string) func(*testing.T) kmsprovider.Provider {
		return func(t *testing.T) kmsprovider.Provider {
			p, err := vaultkms.New(uri, nil)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	kmstest.Run(t, opener(one), opener(two), kmstest.ServiceError(isCause), kmstest.Lacks("a real server", kmstest.Modes()...))
}

// A server is a whole OpenBao or Vault in development mode.
type server struct {
	url, root string
}

func startServer(t *testing.T) *server {
	t.Helper()
	program := os.Getenv("STRUCTSEAL_BAO")
	if program == "" {
		t.Skip("opt-in: STRUCTSEAL_BAO is not set to the path of the program bao or vault")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	s := &server{url: "http://" + address, root: "root-" + rand.Text()}
	cmd := exec.Command(program, "server", "-dev", "-dev-root-token-id="+s.root, "-dev-listen-address="+address, "-dev-no-store-token")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-exited })
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(time.Minute)
	for {
		if resp, err := http.Get(s.url + "/v1/sys/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return s
			}
		}
		select {
		case <-poll.C:
		case <-exited:
			t.Fatalf("%s has ended: %s", program, output.String())
		case <-deadline:
			t.Fatalf("%s isn't ready: %s", program, output.String())
		}
	}
}

// admin makes an operator's call and returns its status.
func (s *server) admin(t testing.TB, method, namespace, path string, body any) int {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, s.url+"/v1/"+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", s.root)
	if namespace != "" {
		req.Header.Set("X-Vault-Namespace", namespace)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode/100 != 2 {
		t.Logf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	return resp.StatusCode
}

func (s *server) do(t testing.TB, method, namespace, path string, body any) {
	t.Helper()
	if status := s.admin(t, method, namespace, path, body); status/100 != 2 {
		t.Fatalf("%s %s: %d", method, path, status)
	}
}

type object = map[string]any

// furnish makes keys, the documented policies for one of them, and an AppRole for
// each policy, whose secret is its name.
func (s *server) furnish(t testing.TB, namespace string) {
	t.Helper()
	s.do(t, "POST", namespace, "sys/mounts/transit", object{"type": "transit"})
	s.do(t, "POST", namespace, "sys/auth/approle", object{"type": "approle"})
	for _, key := range []string{"customers", "other"} {
		s.do(t, "POST", namespace, "transit/keys/"+key, object{"type": "aes256-gcm96"})
	}
	for role, policy := range map[string]string{
		"app": documented(t, "vault"), "reader": documented(t, "vault reader"),
		"other": strings.ReplaceAll(documented(t, "vault"), "customers", "other"),
	} {
		s.policy(t, namespace, role, policy)
		s.do(t, "POST", namespace, "auth/approle/role/"+role, object{"token_policies": role, "token_ttl": "1h"})
		s.do(t, "POST", namespace, "auth/approle/role/"+role+"/role-id", object{"role_id": role})
		s.do(t, "POST", namespace, "auth/approle/role/"+role+"/custom-secret-id", object{"secret_id": secretOf(role)})
	}
}

func secretOf(role string) string { return "secret-of-" + role + "-0123456789abcdef" }

func (s *server) policy(t testing.TB, namespace, name, text string) {
	t.Helper()
	s.do(t, "POST", namespace, "sys/policies/acl/"+name, object{"policy": text})
}

// documented returns a policy of docs/kms.md.
func documented(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/kms.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "<!-- policy: "+name+" -->\n```hcl\n")
	policy, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("docs/kms.md has no policy %q", name)
	}
	return policy
}

func (s *server) client(t testing.TB, namespace, role string) *vaultapi.Client {
	t.Helper()
	c, err := vaultapi.New(&vaultapi.Options{Address: s.url, Namespace: namespace, Login: vaultapi.AppRole("", role, secretOf(role))})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *server) open(t testing.TB, namespace, role, key string) *vaultkms.Provider {
	t.Helper()
	p, err := vaultkms.New("hcvault:///transit/keys/"+key, s.client(t, namespace, role))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestServer runs the suite with nothing but the rights of docs/kms.md.
func TestServer(t *testing.T) {
	ctx := t.Context()
	s := startServer(t)
	s.furnish(t, "")

	t.Run("Conformance", func(t *testing.T) {
		opener := func(role, key string) func(*testing.T) kmsprovider.Provider {
			return func(t *testing.T) kmsprovider.Provider { return s.open(t, "", role, key) }
		}
		kmstest.Run(t, opener("app", "customers"), opener("other", "other"),
			kmstest.ServiceError(isCause), kmstest.Secrets(secretOf("app")),
			kmstest.Fault(kmstest.Denied, func(t *testing.T) func() {
				s.policy(t, "", "app", `path "transit/keys/*" { capabilities = ["read"] }`)
				return func() { s.policy(t, "", "app", documented(t, "vault")) }
			}),
			kmstest.Lacks("a whole server", kmstest.Modes()...))
	})

	t.Run("Policies", func(t *testing.T) {
		app, reader := s.client(t, "", "app"), s.client(t, "", "reader")
		for _, path := range []string{
			"transit/keys/customers/rotate", "transit/keys/customers/config", "transit/keys/none", "transit/encrypt/none",
			"transit/encrypt/other", "transit/decrypt/other", "transit/rewrap/customers", "transit/datakey/plaintext/customers",
		} {
			for name, c := range map[string]*vaultapi.Client{"app": app, "reader": reader} {
				if err := c.Post(ctx, path, object{"plaintext": "eA==", "ciphertext": "vault:v1:AAAA"}, &object{}); !errors.Is(err, kmsprovider.ErrDenied) {
					t.Errorf("%s may call %s: %v", name, path, err)
				}
			}
		}
		w, err := s.open(t, "", "app", "customers").Wrap(ctx, secret, kc)
		if err != nil {
			t.Fatal(err)
		}
		p := s.open(t, "", "reader", "customers")
		if got, err := p.Unwrap(ctx, w, kc); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("a reader unwraps: %v", err)
		}
		if _, err := p.Wrap(ctx, secret, kc); !errors.Is(err, kmsprovider.ErrDenied) {
			t.Errorf("a reader wraps: %v", err)
		}
	})

	t.Run("DeletedKey", func(t *testing.T) {
		s.do(t, "POST", "", "transit/keys/gone", object{})
		s.policy(t, "", "app", strings.ReplaceAll(documented(t, "vault"), "customers", "gone"))
		defer s.policy(t, "", "app", documented(t, "vault"))
		p := s.open(t, "", "app", "gone")
		w, err := p.Wrap(ctx, secret, kc)
		if err != nil {
			t.Fatal(err)
		}
		if status := s.admin(t, "DELETE", "", "transit/keys/gone", nil); status/100 == 2 {
			t.Fatal("a key is deleted without deletion_allowed")
		}
		s.do(t, "POST", "", "transit/keys/gone/config", object{"deletion_allowed": true})
		s.do(t, "DELETE", "", "transit/keys/gone", nil)
		if _, err := p.Unwrap(ctx, w, kc); !errors.Is(err, kmsprovider.ErrNotFound) {
			t.Errorf("unwrap with a deleted key: %v", err)
		}
		// The policy has no right to make keys, so that it isn't looked for.
		if _, err := p.Wrap(ctx, secret, kc); !errors.Is(err, kmsprovider.ErrDenied) {
			t.Errorf("wrap with a deleted key: %v", err)
		}
		// Whoever has that right doesn't make one either.
		root, err := vaultapi.New(&vaultapi.Options{Address: s.url, Token: given(s.root)})
		if err != nil {
			t.Fatal(err)
		}
		if p, err = vaultkms.New("hcvault:///transit/keys/gone", root); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wrap(ctx, secret, kc); !errors.Is(err, kmsprovider.ErrNotFound) {
			t.Errorf("wrap with a deleted key, as root: %v", err)
		}
		if status := s.admin(t, "GET", "", "transit/keys/gone", nil); status != 404 {
			t.Errorf("the key is there again: %d", status)
		}
	})

	t.Run("Tokens", func(t *testing.T) {
		// The root token of the environment is used as it is; one with a time is renewed.
		t.Setenv("BAO_TOKEN", s.root)
		for _, role := range []string{"", "app"} {
			c := s.client(t, "", "app")
			if role == "" {
				var err error
				if c, err = vaultapi.New(&vaultapi.Options{Address: s.url}); err != nil {
					t.Fatal(err)
				}
			}
			p, err := vaultkms.New("hcvault:///transit/keys/customers", c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Wrap(ctx, secret, kc); err != nil {
				t.Errorf("role %q: %v", role, err)
			}
		}
		// A token that ends after two seconds is renewed or got anew as long as it's used.
		s.do(t, "POST", "", "auth/approle/role/app", object{"token_policies": "app", "token_ttl": "2s", "token_max_ttl": "3s"})
		p := s.open(t, "", "app", "customers")
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
			if _, err := p.Wrap(ctx, secret, kc); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("Namespace", func(t *testing.T) {
		if s.admin(t, "POST", "", "sys/namespaces/team", object{}) == 404 {
			t.Skip("this server has no namespaces")
		}
		s.furnish(t, "team")
		p := s.open(t, "team", "app", "customers")
		w, err := p.Wrap(ctx, secret, kc)
		if err != nil {
			t.Fatal(err)
		}
		if want := "hcvault:///team/transit/keys/customers"; p.ID() != want {
			t.Errorf("the ID is %s, want %s", p.ID(), want)
		}
		s.do(t, "POST", "", "auth/approle/role/app", object{"token_policies": "app", "token_ttl": "1h", "token_max_ttl": "1h"})
		if _, err := s.open(t, "", "app", "customers").Unwrap(ctx, w, kc); !errors.Is(err, kmsprovider.ErrRejected) {
			t.Errorf("the key of the same name in the root namespace: %v", err)
		}
		// The namespace may stand in the path, too.
		root, err := vaultapi.New(&vaultapi.Options{Address: s.url, Token: given(s.root)})
		if err != nil {
			t.Fatal(err)
		}
		path, err := vaultkms.New("hcvault:///team/transit/keys/customers", root)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := path.Unwrap(ctx, w, kc); err != nil || !bytes.Equal(got, secret) || path.ID() != p.ID() {
			t.Errorf("by its path: %v, ID %s", err, path.ID())
		}
	})
}

// TestPolicies: what docs/kms.md says is there to be tested.
func TestPolicies(t *testing.T) {
	for name, rights := range map[string]int{"vault": 2, "vault reader": 1} {
		policy := documented(t, name)
		if n := strings.Count(policy, `capabilities = ["update"]`); n != rights || strings.Count(policy, "path ") != rights {
			t.Errorf("policy %q:\n%s", name, policy)
		}
		for _, word := range []string{"create", "delete", "sudo", "*", "keys/"} {
			if strings.Contains(policy, word) {
				t.Errorf("policy %q has %q", name, word)
			}
		}
	}
}
