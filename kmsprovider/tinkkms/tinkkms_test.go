package tinkkms_test

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/tinkkms"
)

func TestMain(m *testing.M) {
	if fips140.Enforced() {
		fmt.Println("skipped: Tink's AES-GCM takes nonces of its own, which GODEBUG=fips140=only refuses")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func newAEAD(t *testing.T) tink.AEAD {
	a, _ := newAEADAndKey(t)
	return a
}

func newAEADAndKey(t *testing.T) (tink.AEAD, string) {
	t.Helper()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	a, err := aead.New(handle)
	if err != nil {
		t.Fatal(err)
	}
	primary, err := handle.Primary()
	if err != nil {
		t.Fatal(err)
	}
	return a, string(primary.Key().(*aesgcm.Key).KeyBytes().Data(insecuresecretdataaccess.Token{}))
}

// service is an AEAD that calls a service, as far as anybody can see.
type service struct {
	tink.AEAD
	mu    sync.Mutex
	mode  kmstest.Mode
	ended chan struct{} // the mode has
}

// serviceError is what the service's client returns.
type serviceError struct{ mode kmstest.Mode }

func (e serviceError) Error() string { return "service: " + string(e.mode) }

func (s *service) fault(m kmstest.Mode) kmstest.Option {
	return kmstest.Fault(m, func(*testing.T) func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mode, s.ended = m, make(chan struct{})
		return func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.mode = ""
			close(s.ended)
		}
	})
}

func (s *service) EncryptWithContext(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	if _, err := s.answer(ctx); err != nil {
		return nil, err
	}
	return s.Encrypt(plaintext, associated)
}

func (s *service) DecryptWithContext(ctx context.Context, ciphertext, associated []byte) ([]byte, error) {
	mode, err := s.answer(ctx)
	if err != nil {
		return nil, err
	}
	plaintext, err := s.Decrypt(ciphertext, associated)
	if err != nil {
		return nil, errors.Join(serviceError{"Rejected"}, err)
	}
	return mode.Lie(plaintext), nil
}

func (s *service) answer(ctx context.Context) (kmstest.Mode, error) {
	s.mu.Lock()
	mode, ended := s.mode, s.ended
	s.mu.Unlock()
	switch mode {
	case kmstest.Silent:
		select {
		case <-ctx.Done():
		case <-ended: // and nobody waits any more
		}
		return "", context.Canceled
	case kmstest.HungUp:
		return "", &net.OpError{Op: "read", Err: errors.New("connection reset")}
	case kmstest.NotFound, kmstest.Denied, kmstest.Disabled, kmstest.PendingDeletion, kmstest.Unavailable, kmstest.Throttled:
		return "", serviceError{mode}
	}
	return mode, nil
}

var classes = map[kmstest.Mode]error{
	kmstest.NotFound: kmsprovider.ErrNotFound, kmstest.Denied: kmsprovider.ErrDenied, kmstest.Disabled: kmsprovider.ErrDisabled,
	kmstest.PendingDeletion: kmsprovider.ErrDisabled, kmstest.Unavailable: kmsprovider.ErrUnavailable, kmstest.Throttled: kmsprovider.ErrThrottled,
}

// classify is for the service's errors.
func classify(err error) error {
	var e serviceError
	if errors.As(err, &e) {
		return classes[e.mode]
	}
	return nil
}

// conforms runs the suite on a service that can be in every mode that can be seen
// through Tink's interface.
func conforms(t *testing.T, open func(t *testing.T, id string, s *service) kmsprovider.Provider) {
	one, key := newAEADAndKey(t)
	s, other := &service{AEAD: one}, &service{AEAD: newAEAD(t)}
	opts := []kmstest.Option{
		kmstest.Secrets(key),
		kmstest.Lacks("Tink's interface has no answers to look at", kmstest.BadGateway, kmstest.Blocked, kmstest.HTMLAnswer, kmstest.TruncatedAnswer,
			kmstest.HugeAnswer, kmstest.BadCertificate, kmstest.WrongHost, kmstest.WrongChecksum, kmstest.WrongKeyID, kmstest.SlowAnswer),
		kmstest.ServiceError(func(err error) bool { return errors.As(err, new(serviceError)) }),
	}
	for _, m := range []kmstest.Mode{
		kmstest.NotFound, kmstest.Denied, kmstest.Disabled, kmstest.PendingDeletion, kmstest.Unavailable, kmstest.Throttled,
		kmstest.HungUp, kmstest.Silent, kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33,
	} {
		opts = append(opts, s.fault(m))
	}
	kmstest.Run(t,
		func(t *testing.T) kmsprovider.Provider { return open(t, "tink:one", s) },
		func(t *testing.T) kmsprovider.Provider { return open(t, "tink:other", other) }, opts...)
}

func TestNewWithContext(t *testing.T) {
	conforms(t, func(t *testing.T, id string, s *service) kmsprovider.Provider {
		p, err := tinkkms.NewWithContext(id, s, &tinkkms.Options{Classify: classify})
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
}

// plain is a service whose client knows no contexts.
type plain struct{ *service }

func (p plain) Encrypt(plaintext, associated []byte) ([]byte, error) {
	return p.EncryptWithContext(context.Background(), plaintext, associated)
}

func (p plain) Decrypt(ciphertext, associated []byte) ([]byte, error) {
	return p.DecryptWithContext(context.Background(), ciphertext, associated)
}

func TestNew(t *testing.T) {
	conforms(t, func(t *testing.T, id string, s *service) kmsprovider.Provider {
		p, err := tinkkms.New(id, plain{s}, &tinkkms.Options{Classify: classify})
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
}

// A keyset that the program holds itself: there is nothing to classify.
func TestKeyset(t *testing.T) {
	one, key := newAEADAndKey(t)
	open := func(id string, a tink.AEAD) func(t *testing.T) kmsprovider.Provider {
		return func(t *testing.T) kmsprovider.Provider {
			p, err := tinkkms.New(id, a, nil)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	kmstest.Run(t, open("tink:one", one), open("tink:other", newAEAD(t)),
		kmstest.Secrets(key), kmstest.Lacks("a keyset in memory", kmstest.Modes()...))
}

// stuck is an AEAD that waits while it is held.
type stuck struct {
	tink.AEAD
	hold  atomic.Pointer[chan struct{}]
	calls atomic.Int64
}

func (s *stuck) wait() {
	s.calls.Add(1)
	defer s.calls.Add(-1)
	if c := s.hold.Load(); c != nil {
		<-*c
	}
}

func (s *stuck) Encrypt(plaintext, associated []byte) ([]byte, error) {
	s.wait()
	return s.AEAD.Encrypt(plaintext, associated)
}

func (s *stuck) Decrypt(ciphertext, associated []byte) ([]byte, error) {
	s.wait()
	return s.AEAD.Decrypt(ciphertext, associated)
}

// Calls that are left go on, and are bounded.
func TestCallsThatAreLeftAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{AEAD: newAEAD(t)}
		p, err := tinkkms.New("tink:one", s, nil)
		if err != nil {
			t.Fatal(err)
		}
		wrapped, err := p.Wrap(t.Context(), []byte("a key"), nil)
		if err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		s.hold.Store(&hold)
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := p.Unwrap(ctx, wrapped, nil); !kmsprovider.Retryable(err) {
				t.Fatalf("a call that hangs: %v", err)
			}
			cancel()
		}
		if n := s.calls.Load(); n != 32 {
			t.Errorf("%d calls are under way, want 32", n)
		}
		s.hold.Store(nil)
		close(hold)
		synctest.Wait()
		if got, err := p.Unwrap(t.Context(), wrapped, nil); err != nil || string(got) != "a key" || s.calls.Load() != 0 {
			t.Errorf("afterwards: %q, %v, %d calls", got, err, s.calls.Load())
		}
	})
}

func TestOptions(t *testing.T) {
	for what, err := range map[string]error{
		"no AEAD":                second(tinkkms.New("tink:one", nil, nil)),
		"no AEAD, with contexts": second(tinkkms.NewWithContext("tink:one", nil, nil)),
		"no id":                  second(tinkkms.New("", newAEAD(t), nil)),
		"id with a space":        second(tinkkms.New("tink one", newAEAD(t), nil)),
	} {
		if !errors.Is(err, tinkkms.ErrOptions) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p, err := tinkkms.New("tink:one", newAEAD(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%v %+v %s", p, p, p); strings.Count(got, "tinkkms.Provider(tink:one)") != 3 {
		t.Errorf("prints as %s", got)
	}
}

func second[T any](_ T, err error) error { return err }
