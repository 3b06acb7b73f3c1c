package kmstest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// toyServer is a service for these tests: two KEKs behind a protocol of JSON over
// HTTP.
type toyServer struct {
	keks  map[string]*localkms.Provider
	mode  atomic.Pointer[kmstest.Mode]
	calls atomic.Int64
}

func newToyServer() *toyServer {
	return &toyServer{keks: map[string]*localkms.Provider{"one": localkms.NewRandom(), "two": localkms.NewRandom()}}
}

// toyModes are those that the server has; the proxy has the others.
var toyModes = []kmstest.Mode{
	kmstest.NotFound, kmstest.Denied, kmstest.Disabled, kmstest.PendingDeletion, kmstest.Unavailable, kmstest.Throttled,
	kmstest.WrongKeyID, kmstest.WrongChecksum, kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16,
	kmstest.Length31, kmstest.Length33,
}

// toyMessage is a request and an answer.
type toyMessage struct {
	Key     string              `json:"key,omitempty"`
	Context kmsprovider.Context `json:"context,omitempty"`
	Bytes   []byte              `json:"bytes"`
	Sum     uint32              `json:"sum"`
	Code    string              `json:"code,omitempty"`
}

func (s *toyServer) fault(m kmstest.Mode) kmstest.Option {
	return kmstest.Fault(m, func(*testing.T) func() {
		s.mode.Store(&m)
		return func() { s.mode.Store(nil) }
	})
}

func (s *toyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	var mode kmstest.Mode
	if m := s.mode.Load(); m != nil {
		mode = *m
	}
	answer := func(status int, m toyMessage) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(m)
	}
	switch mode {
	case kmstest.NotFound, kmstest.Denied, kmstest.Disabled, kmstest.PendingDeletion, kmstest.Unavailable, kmstest.Throttled:
		answer(400, toyMessage{Code: string(mode)})
		return
	}
	var in toyMessage
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || s.keks[in.Key] == nil {
		answer(400, toyMessage{Code: "BadRequest"})
		return
	}
	call := s.keks[in.Key].Wrap
	if r.URL.Path == "/unwrap" {
		call = s.keks[in.Key].Unwrap
	}
	out, err := call(r.Context(), in.Bytes, in.Context)
	if err != nil {
		answer(400, toyMessage{Code: "Rejected"})
		return
	}
	if r.URL.Path == "/unwrap" {
		out = mode.Lie(out)
	}
	m := toyMessage{Key: in.Key, Bytes: out, Sum: crc32.ChecksumIEEE(out)}
	switch mode {
	case kmstest.WrongKeyID:
		m.Key = "two"
	case kmstest.WrongChecksum:
		m.Sum++
	}
	answer(200, m)
}

// toyError is the error of the toy's SDK.
type toyError struct {
	Code string
	got  toyMessage
}

func (e *toyError) Error() string { return "toy service: " + e.Code }

var toyClasses = map[string]error{
	"NotFound": kmsprovider.ErrNotFound, "Denied": kmsprovider.ErrDenied, "Disabled": kmsprovider.ErrDisabled,
	"PendingDeletion": kmsprovider.ErrDisabled, "Unavailable": kmsprovider.ErrUnavailable,
	"Throttled": kmsprovider.ErrThrottled, "Rejected": kmsprovider.ErrRejected,
}

// toy is a provider. Without functions it is sound; each of them puts a fault into
// it.
type toy struct {
	id, key, url string
	client       *http.Client
	token        func() string // hidden from printers
	chatty       bool

	mu    sync.Mutex
	cache func() map[string][]byte

	onID     func() string
	onWrap   func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error)
	onUnwrap func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error)
	// read reads the body of an answer; default: at most a megabyte.
	read func(ctx context.Context, body io.Reader) ([]byte, error)
	// decode makes a message of it; default: strict JSON.
	decode func(status int, data []byte, m *toyMessage) error
	// check looks at an answer; default: key and checksum.
	check func(p *toy, m toyMessage) error
	// class says what a code means; default: toyClasses.
	class func(code string) error
	// network says what an error of the network is; default: ErrUnavailable.
	network func(ctx context.Context, err error) error
}

func (p *toy) ID() string {
	if p.onID != nil {
		return p.onID()
	}
	return p.id
}

func (p *toy) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	if p.onWrap != nil {
		return p.onWrap(p, ctx, secret, kc)
	}
	return p.call(ctx, "/wrap", secret, kc)
}

func (p *toy) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	if p.onUnwrap != nil {
		return p.onUnwrap(p, ctx, wrapped, kc)
	}
	return p.call(ctx, "/unwrap", wrapped, kc)
}

// Format prints no token.
func (p *toy) Format(f fmt.State, _ rune) {
	io.WriteString(f, "toy("+p.id+")")
	if p.chatty {
		io.WriteString(f, p.token())
	}
}

// LogValue logs no token.
func (p *toy) LogValue() slog.Value { return slog.StringValue("toy(" + p.id + ")") }

func (p *toy) call(ctx context.Context, path string, in []byte, kc kmsprovider.Context) ([]byte, error) {
	body, err := json.Marshal(toyMessage{Key: p.key, Context: kc, Bytes: in})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", p.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	network := func(ctx context.Context, err error) error {
		if ctx.Err() != nil {
			return fmt.Errorf("toy: %w: %w", ctx.Err(), err)
		}
		return fmt.Errorf("toy: %w: %w", kmsprovider.ErrUnavailable, err)
	}
	if p.network != nil {
		network = p.network
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, network(ctx, err)
	}
	defer resp.Body.Close()
	read := p.read
	if read == nil {
		read = func(_ context.Context, r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, 1<<20)) }
	}
	data, err := read(ctx, resp.Body)
	if err != nil {
		return nil, network(ctx, err)
	}
	var m toyMessage
	decode := p.decode
	if decode == nil {
		decode = func(_ int, data []byte, m *toyMessage) error { return json.Unmarshal(data, m) }
	}
	if err := decode(resp.StatusCode, data, &m); err != nil {
		return nil, network(ctx, errors.New("the answer is no JSON"))
	}
	if m.Code != "" || resp.StatusCode != 200 {
		class := toyClasses[m.Code]
		if p.class != nil {
			class = p.class(m.Code)
		}
		if class == nil {
			class = kmsprovider.ErrUnavailable
		}
		return nil, fmt.Errorf("toy: %w: %w", class, &toyError{Code: m.Code})
	}
	check := p.check
	if check == nil {
		check = checkToy
	}
	if err := check(p, m); err != nil {
		return nil, err
	}
	return m.Bytes, nil
}

func checkToy(p *toy, m toyMessage) error {
	if m.Key != p.key {
		return fmt.Errorf("toy: %w: it answers for key %q", kmsprovider.ErrWrongAnswer, m.Key)
	}
	if m.Sum != crc32.ChecksumIEEE(m.Bytes) {
		return fmt.Errorf("toy: %w: wrong checksum", kmsprovider.ErrUnavailable)
	}
	return nil
}
