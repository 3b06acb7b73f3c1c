package vaultapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// fakeServer answers as OpenBao and Vault do, as far as tokens go. It is a transport,
// too: without a network, time can be made to pass.
type fakeServer struct {
	mu       sync.Mutex
	tokens   map[string]*fakeToken
	ttl, max time.Duration // of tokens that a login gives
	counts   map[string]int
	headers  http.Header // of the last call
	body     map[string]string
	sealed   bool
}

type fakeToken struct {
	ends, last time.Time // last: no renewal beyond
	ttl        time.Duration
	renewable  bool
	root       bool // never ends
}

func newFakeServer() *fakeServer {
	return &fakeServer{tokens: make(map[string]*fakeToken), ttl: time.Hour, max: 3 * time.Hour, counts: make(map[string]int)}
}

// count returns how many calls there were to a path, and forgets them.
func (s *fakeServer) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts[path]
	s.counts[path] = 0
	return n
}

func (s *fakeServer) issue(name string, ttl, max time.Duration, renewable bool) {
	s.tokens[name] = &fakeToken{ends: time.Now().Add(ttl), last: time.Now().Add(max), ttl: ttl, renewable: renewable}
}

func (s *fakeServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), nil
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	s.counts[path]++
	s.headers = r.Header
	s.body = nil
	json.NewDecoder(r.Body).Decode(&s.body)
	answer := func(status int, body any) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	}
	failed := func(status int, text string) { answer(status, map[string]any{"errors": []string{text}}) }
	granted := func(name string, t *fakeToken) {
		answer(200, map[string]any{"auth": map[string]any{"client_token": name, "lease_duration": int64(time.Until(t.ends) / time.Second), "renewable": t.renewable}})
	}
	if s.sealed {
		failed(503, "Vault is sealed")
		return
	}
	if strings.HasSuffix(path, "/login") {
		if s.body["secret_id"] != "good" && s.body["jwt"] != "good" {
			failed(400, "invalid role or secret ID")
			return
		}
		name := fmt.Sprintf("s.login%d", len(s.tokens))
		s.issue(name, s.ttl, s.max, true)
		granted(name, s.tokens[name])
		return
	}
	name := r.Header.Get("X-Vault-Token")
	t := s.tokens[name]
	switch now := time.Now(); {
	case t == nil, !t.root && !now.Before(t.ends):
		failed(403, "permission denied")
	case path == "auth/token/renew-self" && (t.root || !t.renewable):
		failed(400, "lease is not renewable")
	case path == "auth/token/renew-self":
		t.ends = now.Add(t.ttl)
		if t.ends.After(t.last) {
			t.ends = t.last
		}
		granted(name, t)
	case path == "denied":
		failed(403, "permission denied")
	case path == "nowhere":
		failed(404, "no handler for route \"nowhere\". route entry not found.")
	default:
		io.WriteString(w, `{"data":{"answer":"yes"}}`)
	}
}
