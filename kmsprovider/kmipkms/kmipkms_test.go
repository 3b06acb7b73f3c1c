package kmipkms_test

import (
	"bytes"
	"crypto/fips140"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmipkms"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

func serviceError(err error) bool {
	var e *kmipkms.Error
	return errors.As(err, &e) && e.Reason != 0
}

// TestConformance runs the suite with every mode on a server of the test.
func TestConformance(t *testing.T) {
	f, s := newFake(t)
	opts := append(s.proxy.faults(),
		kmstest.ServiceError(serviceError),
		kmstest.Lacks("KMIP 1.4 has no throttling", kmstest.Throttled),
		kmstest.Lacks("answers have no checksum and no status", kmstest.WrongChecksum, kmstest.Blocked),
	)
	for _, m := range []kmstest.Mode{
		kmstest.NotFound, kmstest.Denied, kmstest.Disabled, kmstest.PendingDeletion, kmstest.Unavailable, kmstest.WrongKeyID,
		kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33,
	} {
		opts = append(opts, f.fault(m))
	}
	kmstest.Run(t, s.provider("one"), s.provider("two"), opts...)
}

func (s *site) provider(key string) func(*testing.T) kmsprovider.Provider {
	return func(t *testing.T) kmsprovider.Provider { return s.open(t, key) }
}

// TestConformancePyKMIP runs it on a server of another hand.
func TestConformancePyKMIP(t *testing.T) {
	server, p := newPyKMIP(t)
	if os.Getenv("STRUCTSEAL_LONG") != "1" && !testing.Short() { // it takes 10 ms for a call
		flag.Set("test.short", "true")
		defer flag.Set("test.short", "false")
	}
	one, two := server.MakeKey(t), server.MakeKey(t)
	opts := append(p.proxy.faults(),
		kmstest.ServiceError(serviceError),
		kmstest.Lacks("KMIP 1.4 has no throttling", kmstest.Throttled),
		kmstest.Lacks("answers have no checksum and no status", kmstest.WrongChecksum, kmstest.Blocked),
		kmstest.Lacks("this server can't be brought back from it; see TestPyKMIPSays", kmstest.NotFound, kmstest.Denied, kmstest.Disabled, kmstest.PendingDeletion),
		kmstest.Lacks("this server is sound", kmstest.Unavailable, kmstest.WrongKeyID, kmstest.OtherBytes, kmstest.ZeroBytes,
			kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33),
	)
	kmstest.Run(t, p.provider(one), p.provider(two), opts...)
}

// TestConformanceWithoutAAD runs it on a server that ignores associated data.
func TestConformanceWithoutAAD(t *testing.T) {
	f, s := newFake(t)
	f.flaw.Store(ignoresAAD)
	kmstest.Run(t, s.provider("one"), s.provider("two"), kmstest.Lacks("tested elsewhere", kmstest.Modes()...))
}

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	kc     = kmsprovider.Context{"structseal-ring": "app"}
)

func wrap(t testing.TB, p *kmipkms.Provider) []byte {
	t.Helper()
	wrapped, err := p.Wrap(t.Context(), secret, kc)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

func unwraps(t testing.TB, p *kmipkms.Provider, wrapped []byte) {
	t.Helper()
	got, err := p.Unwrap(t.Context(), wrapped, kc)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, secret) {
		t.Fatalf("unwrapped to %d other bytes", len(got))
	}
}

// fails checks that both calls fail in the same way.
func fails(t testing.TB, p *kmipkms.Provider, wrapped []byte, want error) {
	t.Helper()
	_, wrapErr := p.Wrap(t.Context(), secret, kc)
	_, unwrapErr := p.Unwrap(t.Context(), wrapped, kc)
	for call, err := range map[string]error{"Wrap": wrapErr, "Unwrap": unwrapErr} {
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %q", call, err, want)
		}
	}
}

// What a real server says of keys that it won't use.
func TestPyKMIPSays(t *testing.T) {
	server, p := newPyKMIP(t)
	id := server.MakeKey(t)
	kms := p.open(t, id)
	wrapped := wrap(t, kms)

	var inactive, wraps string
	server.Admin(t, func(c *kmipclient.Client) error {
		one, err := c.Create().AES(256, kmip.CryptographicUsageEncrypt|kmip.CryptographicUsageDecrypt).Exec()
		if err != nil {
			return err
		}
		two, err := c.Create().AES(256, kmip.CryptographicUsageWrapKey).Exec()
		if err != nil {
			return err
		}
		inactive, wraps = one.UniqueIdentifier, two.UniqueIdentifier
		_, err = c.Activate(wraps).Exec()
		return err
	})
	fails(t, p.open(t, inactive), wrapped, kmsprovider.ErrDisabled)
	fails(t, p.open(t, wraps), wrapped, kmsprovider.ErrDenied)
	fails(t, p.open(t, "4711"), wrapped, kmsprovider.ErrNotFound)

	o := kmipkms.Options{Addr: server.Addr(), KeyID: id, TLS: server.TLS()}
	unwraps(t, open(t, o), wrapped)
	o.TLS.Certificates = []tls.Certificate{p.ca.Issue(t, "mallory", x509.ExtKeyUsageClientAuth)}
	fails(t, open(t, o), wrapped, kmsprovider.ErrDenied)
	o.TLS.Certificates = []tls.Certificate{kmstest.NewAuthority(t).Issue(t, "app", x509.ExtKeyUsageClientAuth)}
	fails(t, open(t, o), wrapped, kmsprovider.ErrDenied)

	// An outage, and the same keys on another port.
	server.Stop()
	fails(t, kms, wrapped, kmsprovider.ErrUnavailable)
	server.Restart(t)
	addr := server.Addr()
	p.proxy.backend.Store(&addr)
	p.proxy.disconnect()
	unwraps(t, kms, wrapped)

	server.RevokeKey(t, id)
	fails(t, kms, wrapped, kmsprovider.ErrDisabled)
	server.DestroyKey(t, id)
	fails(t, kms, wrapped, kmsprovider.ErrNotFound)
}

// The bytes are what the package comment says.
func TestFormat(t *testing.T) {
	f, s := newFake(t)
	for _, serverIV := range []bool{false, true} {
		o := s.options("one")
		if o.ServerIV = serverIV; serverIV {
			f.flaw.Store(makesIV)
		}
		p := open(t, o)
		wrapped := wrap(t, p)
		unwraps(t, p, wrapped)
		if len(wrapped) != 1+1+12+32+32+16 || wrapped[0] != 1 || wrapped[1] != 12 {
			t.Fatalf("%d bytes, beginning with %x", len(wrapped), wrapped[:2])
		}
		g, aad := f.aead("one", kc.AAD())
		var text []byte
		var err error
		fips140.WithoutEnforcement(func() { text, err = g.Open(nil, wrapped[2:14], wrapped[14:], aad) })
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(slices.Concat(aad, secret)); !bytes.Equal(text, slices.Concat(sum[:], secret)) {
			t.Error("the ciphertext holds something else")
		}
	}
	p := s.open(t, "one") // sends its own, which this server takes not
	if _, err := p.Wrap(t.Context(), secret, kc); !errors.Is(err, kmipkms.ErrUnfit) || kmsprovider.Retryable(err) {
		t.Errorf("error %v, want ErrUnfit", err)
	}
}

// A server that checks no tags opens nothing changed, and nothing elsewhere.
func TestServerIgnoresTags(t *testing.T) {
	f, s := newFake(t)
	f.flaw.Store(ignoresTag)
	p := s.open(t, "one")
	wrapped := wrap(t, p)
	unwraps(t, p, wrapped)
	for i := 14; i < len(wrapped)-16; i++ {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		if _, err := p.Unwrap(t.Context(), bad, kc); !errors.Is(err, kmsprovider.ErrRejected) {
			t.Errorf("byte %d changed: error %v", i, err)
		}
	}
	for _, other := range []kmsprovider.Context{nil, {"structseal-ring": "App"}, {"structseal-ring": "app", "x": ""}} {
		if _, err := p.Unwrap(t.Context(), wrapped, other); !errors.Is(err, kmsprovider.ErrRejected) {
			t.Errorf("context %v: error %v", other, err)
		}
	}
}

// One failure is no rejection.
func TestOneFailureIsNoRejection(t *testing.T) {
	f, s := newFake(t)
	p := s.open(t, "one")
	wrapped := wrap(t, p)
	f.flaw.Store(oneFailure)
	unwraps(t, p, wrapped)
}

func TestOddAnswers(t *testing.T) {
	f, s := newFake(t)
	p := s.open(t, "one")
	wrapped := wrap(t, p)
	for flaw, want := range map[int32]error{twoAnswers: kmsprovider.ErrUnavailable, wrongAnswer: kmsprovider.ErrUnavailable} {
		f.flaw.Store(flaw)
		fails(t, p, wrapped, want)
	}
	f.flaw.Store(shortTag)
	if _, err := p.Wrap(t.Context(), secret, kc); !errors.Is(err, kmipkms.ErrUnfit) {
		t.Errorf("short tags: error %v", err)
	}
	f.flaw.Store(sound)
	unwraps(t, p, wrapped)
}

// Whatever byte of an answer is another one, the key is right or there is an error.
func TestMangledAnswers(t *testing.T) {
	_, s := newFake(t)
	p := s.open(t, "one")
	wrapped := wrap(t, p)
	refused := 0
	for i, end := 8, false; !end; i++ {
		for _, value := range []byte{0, 1, 0x7f, 0xff} {
			mangle := func(answer []byte) {
				if end = i >= len(answer); !end {
					answer[i] = value
				}
			}
			s.proxy.mangle.Store(&mangle)
			got, err := p.Unwrap(t.Context(), wrapped, kc)
			if err == nil && !bytes.Equal(got, secret) {
				t.Errorf("byte %d as %d: %x", i, value, got)
			}
			if err != nil {
				refused++
			}
		}
	}
	if refused < 100 {
		t.Errorf("%d answers were refused: were they changed?", refused)
	}
}

// Errors name the reason; the server's text stands in a field.
func TestErrorHasNoTextOfTheServer(t *testing.T) {
	f, s := newFake(t)
	m := kmstest.Denied
	f.mode.Store(&m)
	_, err := s.open(t, "one").Wrap(t.Context(), secret, kc)
	var e *kmipkms.Error
	if !errors.As(err, &e) || e.Reason != kmip.ResultReasonPermissionDenied || e.Message != "text of the server" {
		t.Errorf("error %v", err)
	}
	if text := fmt.Sprint(err); strings.Contains(text, "text of") || !strings.Contains(text, "PermissionDenied") {
		t.Errorf("error %s", text)
	}
}

// Connections are used again.
func TestConnectionsAreKept(t *testing.T) {
	_, s := newFake(t)
	p := s.open(t, "one")
	for range 10 {
		unwraps(t, p, wrap(t, p))
	}
	if n := s.proxy.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 20 calls, want 1", n)
	}
}

func TestOptions(t *testing.T) {
	good := kmipkms.Options{Addr: "kms.example.org:5696", KeyID: "a b/c", TLS: &tls.Config{}}
	for what, change := range map[string]func(o *kmipkms.Options){
		"no address":   func(o *kmipkms.Options) { o.Addr = "" },
		"no port":      func(o *kmipkms.Options) { o.Addr = "kms.example.org" },
		"no host":      func(o *kmipkms.Options) { o.Addr = ":5696" },
		"bad host":     func(o *kmipkms.Options) { o.Addr = "a b:5696" },
		"no key":       func(o *kmipkms.Options) { o.KeyID = "" },
		"long key":     func(o *kmipkms.Options) { o.KeyID = strings.Repeat("x", 2048) },
		"no TLS":       func(o *kmipkms.Options) { o.TLS = nil },
		"no addresses": func(o *kmipkms.Options) { o.Addr = "a:b:c" },
	} {
		o := good
		change(&o)
		if _, err := kmipkms.New(o); !errors.Is(err, kmipkms.ErrOptions) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	p, err := kmipkms.New(good)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID() != "kmip://kms.example.org:5696/a%20b%2Fc" {
		t.Errorf("ID %s", p.ID())
	}
	if good.TLS.MinVersion != 0 {
		t.Error("the caller's configuration was changed")
	}
}
