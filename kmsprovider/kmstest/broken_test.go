package kmstest_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// Every broken provider is caught by the subtest that is meant for it, and by no
// other: a report that points at the wrong promise sends its reader astray.
//
// The suite is expected to fail here, so it runs in a process of its own. Once is
// enough: neither the race detector nor FIPS mode changes who is caught, and TestResilient
// runs the same server and a sound provider under both.
func TestBrokenProviders(t *testing.T) {
	if kmstest.RaceDetector || fips140.Enforced() {
		t.Skip("runs without the race detector and out of FIPS mode")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSuiteOnBrokenProviders$", "-test.v", "-test.short", "-test.parallel=16", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), brokenEnv+"=1")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("the suite on broken providers ended with %v:\n%s", err, out)
	}
	failed, passed := outcomes(out)
	caught := make(map[string]bool)
	for _, b := range broken {
		if got := failed[b.name]; !slices.Equal(got, []string{b.caughtBy}) {
			t.Errorf("%s: caught by %v, want %s alone", b.name, got, b.caughtBy)
		}
		caught[b.caughtBy] = true
	}
	// The provider without a fault is sound: what fails is the fault.
	if len(failed["sound"]) > 0 || len(passed["sound"]) < 12+len(kmstest.Modes()) {
		t.Errorf("sound provider: failed %v, passed %v", failed["sound"], passed["sound"])
	}
	// No promise without a provider that breaks it.
	for _, p := range passed["sound"] {
		if !caught[p] {
			t.Errorf("no broken provider for %s", p)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// outcomes sorts the suite's subtests by provider.
func outcomes(out []byte) (failed, passed map[string][]string) {
	failed, passed = make(map[string][]string), make(map[string][]string)
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		line, fail := strings.CutPrefix(strings.TrimSpace(lines.Text()), "--- FAIL: ")
		line, pass := strings.CutPrefix(line, "--- PASS: ")
		if !fail && !pass {
			continue
		}
		line, _, _ = strings.Cut(line, " (")
		path := strings.Split(strings.ReplaceAll(line, "_", " "), "/")
		switch {
		case len(path) != 3:
		case fail:
			failed[path[1]] = append(failed[path[1]], path[2])
		default:
			passed[path[1]] = append(passed[path[1]], path[2])
		}
	}
	return failed, passed
}

const brokenEnv = "STRUCTSEAL_TEST_BROKEN"

// TestSuiteOnBrokenProviders is what TestBrokenProviders starts. It fails.
func TestSuiteOnBrokenProviders(t *testing.T) {
	if os.Getenv(brokenEnv) == "" {
		t.Skip("TestBrokenProviders starts it")
	}
	t.Run("sound", func(t *testing.T) { runOn(t, func(*toy) {}) })
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			runOn(t, b.fault)
		})
	}
}

// runOn runs the suite on a toy with a fault.
func runOn(t *testing.T, fault func(p *toy)) {
	token := "toy-token-" + rand.Text() // others may log theirs meanwhile
	server := newToyServer()
	proxy := kmstest.NewProxy(t, server)
	open := func(key string) func(*testing.T) kmsprovider.Provider {
		return func(*testing.T) kmsprovider.Provider {
			cache := make(map[string][]byte)
			p := &toy{
				id: "toy:" + key, key: key, url: proxy.URL, client: proxy.Client(),
				token: func() string { return token }, cache: func() map[string][]byte { return cache },
			}
			fault(p)
			return p
		}
	}
	opts := []kmstest.Option{
		proxy.Faults(), kmstest.Secrets(token),
		kmstest.ServiceError(func(err error) bool { return errors.As(err, new(*toyError)) }),
	}
	for _, m := range toyModes {
		opts = append(opts, server.fault(m))
	}
	kmstest.Run(t, open("one"), open("two"), opts...)
}

var broken = []struct {
	name     string
	caughtBy string
	fault    func(p *toy)
}{
	{"id with spaces", "ID", func(p *toy) { p.id = "toy key " + p.key }},
	{"id of the connection", "ID", func(p *toy) {
		id := fmt.Sprintf("toy:%p", p)
		p.onID = func() string { return id }
	}},
	{"same id for all keys", "ID", func(p *toy) { p.id = "toy" }},
	{"cuts keys at 512 bytes", "RoundTrip", onWrap(func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
		return soundWrap(p, ctx, secret[:min(len(secret), 512)], kc)
	})},
	{"pads keys", "RoundTrip", onWrap(func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
		return soundWrap(p, ctx, append(bytes.Clone(secret), make([]byte, (16-len(secret)%16)%16)...), kc)
	})},
	{"cuts zeros off keys", "RoundTrip", answers(func(secret []byte) []byte { return bytes.TrimRight(secret, "\x00") })},
	{"wipes the secret", "Arguments", onWrap(func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
		defer clear(secret)
		return soundWrap(p, ctx, secret, kc)
	})},
	{"appends to the secret", "Arguments", onWrap(func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
		_ = append(secret, "padding"...)
		return soundWrap(p, ctx, secret, kc)
	})},
	{"decodes the wrap in place", "Arguments", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		secret, err := soundUnwrap(p, ctx, wrapped, kc)
		clear(wrapped)
		return secret, err
	})},
	{"adds to the context", "Arguments", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		secret, err := soundUnwrap(p, ctx, wrapped, kc)
		if kc != nil {
			kc["toy-key"] = p.key
		}
		return secret, err
	})},
	{"returns its buffer", "Results", func(p *toy) {
		buffer := make([]byte, 4096)
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			secret, err := soundUnwrap(p, ctx, wrapped, kc)
			return buffer[:copy(buffer, secret)], err
		}
	}},
	{"uses two buffers in turn", "Results", func(p *toy) {
		var buffers [2][4096]byte
		var calls atomic.Int64
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			secret, err := soundUnwrap(p, ctx, wrapped, kc)
			buffer := &buffers[calls.Add(1)%2]
			return buffer[:copy(buffer[:], secret)], err
		}
	}},
	{"keeps the secret's memory", "Arguments", func(p *toy) {
		p.onWrap = func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
			wrapped, err := soundWrap(p, ctx, secret, kc)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.cache()[string(wrapped)] = secret
			return wrapped, err
		}
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			secret, err := soundUnwrap(p, ctx, wrapped, kc)
			p.mu.Lock()
			defer p.mu.Unlock()
			if kept := p.cache()[string(wrapped)]; err == nil && len(kept) == len(secret) {
				return bytes.Clone(kept), nil
			}
			return secret, err
		}
	}},
	{"encrypts nothing", "Hidden", signs(func(secret []byte) []byte { return secret })},
	{"encrypts with one keystream", "Hidden", signs(func(secret []byte) []byte {
		out := bytes.Clone(secret)
		for i := range out {
			out[i] ^= byte(i*i*31 + 7)
		}
		return out
	})},
	{"ignores the first byte", "Flipped", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		own := bytes.Clone(wrapped)
		if len(own) > 0 {
			own[0] = 1
		}
		return soundUnwrap(p, ctx, own, kc)
	})},
	{"base64 that is not canonical", "Flipped", blobs(
		func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) },
		func(b []byte) []byte {
			out, err := base64.StdEncoding.DecodeString(string(b))
			if err != nil || bytes.ContainsAny(b, "\r\n") {
				return nil
			}
			return out
		})},
	{"cuts spaces off wraps", "Cut", blobs(
		func(b []byte) []byte { return []byte(hex.EncodeToString(b)) },
		func(b []byte) []byte {
			text := strings.TrimRight(string(b), " ")
			out, err := hex.DecodeString(text)
			if err != nil || hex.EncodeToString(out) != text {
				return nil
			}
			return out
		})},
	{"reads a wrap up to its length", "Cut", blobs(
		func(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) },
		func(b []byte) []byte {
			if len(b) < 2 || len(b)-2 < int(b[0])<<8+int(b[1]) {
				return nil
			}
			return b[2:][:int(b[0])<<8+int(b[1])]
		})},
	{"binds no context", "Context", contexts(func(kmsprovider.Context) kmsprovider.Context { return nil })},
	{"ignores case", "Context", contexts(func(c kmsprovider.Context) kmsprovider.Context {
		out := make(kmsprovider.Context)
		for k, v := range c {
			out[strings.ToLower(k)] = strings.ToLower(v)
		}
		return out
	})},
	{"joins the context", "Context", contexts(func(c kmsprovider.Context) kmsprovider.Context {
		var all []string
		for _, k := range slices.Sorted(maps.Keys(c)) {
			all = append(all, k+c[k])
		}
		return kmsprovider.Context{"all": strings.Join(all, "")}
	})},
	{"binds values alone", "Context", contexts(func(c kmsprovider.Context) kmsprovider.Context {
		return kmsprovider.Context{"all": strings.Join(slices.Sorted(maps.Values(c)), "|")}
	})},
	{"ignores the last byte of a context", "Context", contexts(func(c kmsprovider.Context) kmsprovider.Context {
		aad := c.AAD()
		return kmsprovider.Context{"aad": hex.EncodeToString(aad[:len(aad)-1])}
	})},
	{"reads the first 192 bytes of a context", "Context", contexts(func(c kmsprovider.Context) kmsprovider.Context {
		aad := c.AAD()
		return kmsprovider.Context{"aad": hex.EncodeToString(aad[:min(192, len(aad))])}
	})},
	{"binds names alone", "Context", contexts(func(c kmsprovider.Context) kmsprovider.Context {
		return kmsprovider.Context{"all": strings.Join(slices.Sorted(maps.Keys(c)), "|")}
	})},
	{"uses one key for all", "OtherKey", func(p *toy) { p.key = "one" }},
	{"hides the service's error", "ServiceError", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		secret, err := soundUnwrap(p, ctx, wrapped, kc)
		if errors.Is(err, kmsprovider.ErrRejected) {
			err = fmt.Errorf("%w: %v", kmsprovider.ErrRejected, err)
		}
		return secret, err
	})},
	{"mixes up answers", "Concurrent", func(p *toy) {
		var flying atomic.Int64
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			defer flying.Add(-1)
			first := flying.Add(1) == 1
			secret, err := soundUnwrap(p, ctx, wrapped, kc)
			if !first {
				clear(secret) // what another one has put there
			}
			return secret, err
		}
	}},
	{"works without a context", "Ended", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		if ctx.Err() != nil {
			ctx = context.WithoutCancel(ctx)
		}
		return soundUnwrap(p, ctx, wrapped, kc)
	})},
	{"cancelled is rejected", "Ended", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%w: %w", kmsprovider.ErrRejected, err)
		}
		return soundUnwrap(p, ctx, wrapped, kc)
	})},
	{"cancelled is an outage", "Ended", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		if ctx.Err() != nil {
			return nil, kmsprovider.ErrUnavailable
		}
		return soundUnwrap(p, ctx, wrapped, kc)
	})},
	{"reads the answer to a call that was left", "Left", func(p *toy) {
		type answer struct {
			secret []byte
			err    error
		}
		turn, answers := make(chan struct{}, 1), make(chan answer, 10_000)
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			turn <- struct{}{}
			defer func() { <-turn }()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			go func() {
				secret, err := soundUnwrap(p, context.WithoutCancel(ctx), wrapped, kc)
				answers <- answer{secret, err}
			}()
			select {
			case a := <-answers:
				return a.secret, a.err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}},
	{"has a cache", "NothingKept", remembers(func([]byte) bool { return true })},
	{"an outage is a refusal", "Unavailable", class("Unavailable", kmsprovider.ErrRejected)},
	{"deleted is disabled", "NotFound", class("NotFound", kmsprovider.ErrDisabled)},
	{"denied is not found", "Denied", class("Denied", kmsprovider.ErrNotFound)},
	{"denied may be tried again", "Denied", class("Denied", errors.Join(kmsprovider.ErrDenied, kmsprovider.ErrUnavailable))},
	{"disabled is unavailable", "Disabled", class("Disabled", kmsprovider.ErrUnavailable)},
	{"pending deletion is not found", "PendingDeletion", class("PendingDeletion", kmsprovider.ErrNotFound)},
	{"throttled is denied", "Throttled", class("Throttled", kmsprovider.ErrDenied)},
	{"hung up is an error of no class", "HungUp", func(p *toy) {
		p.network = func(ctx context.Context, err error) error {
			if errors.Is(err, io.EOF) {
				return err
			}
			return errors.Join(kmsprovider.ErrUnavailable, err, ctx.Err())
		}
	}},
	{"a page is an empty error", "BadGateway", func(p *toy) {
		p.decode = func(status int, data []byte, m *toyMessage) error {
			if status == http.StatusBadGateway && bytes.HasPrefix(data, []byte("<")) {
				m.Code = "page"
				return nil
			}
			return json.Unmarshal(data, m)
		}
		p.class = func(code string) error {
			if code == "page" {
				return kmsprovider.ErrRejected
			}
			return toyClasses[code]
		}
	}},
	{"a page is a refusal", "Blocked", func(p *toy) {
		p.decode = func(status int, data []byte, m *toyMessage) error {
			if status == http.StatusForbidden {
				m.Code = "Denied"
				return nil
			}
			return json.Unmarshal(data, m)
		}
	}},
	{"tries again by itself", "OneAttempt", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		secret, err := soundUnwrap(p, ctx, wrapped, kc)
		for n := 0; n < 2 && ctx.Err() == nil && kmsprovider.Retryable(err); n++ {
			secret, err = soundUnwrap(p, ctx, wrapped, kc)
		}
		return secret, err
	})},
	{"leaves answers open", "Connections", func(p *toy) {
		p.client = &http.Client{Transport: leaky{p.client.Transport}}
	}},
	{"panics at null", "Mangled", func(p *toy) {
		p.decode = func(status int, data []byte, m *toyMessage) error {
			var in *toyMessage
			if err := json.Unmarshal(data, &in); err != nil {
				return err
			}
			*m = *in
			return nil
		}
	}},
	{"a page is a key", "HTMLAnswer", func(p *toy) {
		p.decode = func(status int, data []byte, m *toyMessage) error {
			if bytes.HasPrefix(data, []byte("<")) {
				*m = toyMessage{Key: p.key, Bytes: data, Sum: crc32.ChecksumIEEE(data)}
				return nil
			}
			return json.Unmarshal(data, m)
		}
	}},
	{"takes what it can read", "TruncatedAnswer", func(p *toy) {
		p.decode = func(status int, data []byte, m *toyMessage) error {
			err := json.Unmarshal(data, m)
			if err != nil && bytes.HasPrefix(data, []byte("{")) && len(data) < 1<<20 {
				*m = toyMessage{Key: p.key, Bytes: data, Sum: crc32.ChecksumIEEE(data)}
				return nil
			}
			return err
		}
	}},
	{"reads all there is", "HugeAnswer", func(p *toy) {
		p.read = func(_ context.Context, body io.Reader) ([]byte, error) { return io.ReadAll(body) }
	}},
	{"trusts every certificate", "BadCertificate", tlsWith(func(*x509.CertPool) func(tls.ConnectionState) error {
		return func(s tls.ConnectionState) error { return s.PeerCertificates[0].VerifyHostname("127.0.0.1") }
	})},
	{"trusts every host", "WrongHost", tlsWith(func(roots *x509.CertPool) func(tls.ConnectionState) error {
		return func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		}
	})},
	{"checks no checksum", "WrongChecksum", func(p *toy) {
		p.check = func(p *toy, m toyMessage) error {
			if m.Key != p.key {
				return kmsprovider.ErrWrongAnswer
			}
			return nil
		}
	}},
	{"checks no key id", "WrongKeyID", func(p *toy) {
		p.check = func(p *toy, m toyMessage) error { return checkToy(&toy{key: m.Key}, m) }
	}},
	{"doesn't hand on the context", "Silent", func(p *toy) {
		p.client = &http.Client{Transport: detached{p.client.Transport, false}}
	}},
	{"reads without the context", "SlowAnswer", func(p *toy) {
		p.client = &http.Client{Transport: detached{p.client.Transport, true}}
	}},
	{"knows better", "OtherBytes", mends(func(right, got []byte) bool {
		return len(got) == len(right) && len(bytes.Trim(got, "\x00")) > 0
	})},
	{"keeps zeros", "ZeroBytes", remembers(func(b []byte) bool { return len(b) > 0 && len(bytes.Trim(b, "\x00")) == 0 && len(b) == 32 })},
	{"keeps empty keys", "Length0", remembers(func(b []byte) bool { return len(b) == 0 })},
	{"keeps short keys", "Length16", remembers(func(b []byte) bool { return len(b) == 16 })},
	{"keeps cut keys", "Length31", remembers(func(b []byte) bool { return len(b) == 31 })},
	{"cuts long keys", "Length33", mends(func(right, got []byte) bool { return len(got) == len(right)+1 })},
	{"prints its token", "Secrets", func(p *toy) { p.chatty = true }},
	{"puts its token into the address", "Secrets", func(p *toy) {
		p.client = &http.Client{Transport: inAddress{p.client.Transport, p.token()}}
	}},
	{"logs the secret", "Secrets", onWrap(func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
		slog.Debug("wrap", "secret", fmt.Sprintf("%x", secret))
		return soundWrap(p, ctx, secret, kc)
	})},
	{"puts the wrap into the error", "Secrets", onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		secret, err := soundUnwrap(p, ctx, wrapped, kc)
		if err != nil {
			err = fmt.Errorf("unwrap %x: %w", wrapped, err)
		}
		return secret, err
	})},
	{"puts the secret into the error", "Secrets", onWrap(func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
		wrapped, err := soundWrap(p, ctx, secret, kc)
		if err != nil {
			err = fmt.Errorf("wrap %v: %w", secret, err)
		}
		return wrapped, err
	})},
}
