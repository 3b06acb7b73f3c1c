//go:build cgo

package pkcs11kms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms/softhsm"
)

// TestConformance runs the suite on SoftHSM.
func TestConformance(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "one")
	s.MakeKey(t, "two")
	open := func(label string) func(*testing.T) kmsprovider.Provider {
		return func(t *testing.T) kmsprovider.Provider { return s.open(t, label) }
	}
	kmstest.Run(t, open("one"), open("two"), append(s.Faults(),
		// The real thing: a key without permissions, and one that is hidden.
		kmstest.Fault(kmstest.Disabled, func(t *testing.T) func() {
			s.Allow(t, "one", false)
			return func() { s.Allow(t, "one", true) }
		}),
		kmstest.Fault(kmstest.NotFound, func(t *testing.T) func() {
			s.Rename(t, "one", "gone")
			if err := s.LogOut(); err != nil {
				t.Fatal(err)
			}
			return func() { s.Rename(t, "gone", "one") }
		}),
		kmstest.Lacks("PKCS#11 knows no scheduled deletion", kmstest.PendingDeletion),
		kmstest.Lacks("there is no network between", kmstest.BadGateway, kmstest.Blocked, kmstest.HTMLAnswer, kmstest.TruncatedAnswer,
			kmstest.HugeAnswer, kmstest.BadCertificate, kmstest.WrongHost, kmstest.SlowAnswer),
		kmstest.Lacks("answers have no checksum and name no key", kmstest.WrongChecksum, kmstest.WrongKeyID),
		kmstest.ServiceError(func(err error) bool {
			var code pkcs11.Error
			return errors.As(err, &code)
		}),
		kmstest.Secrets(softhsm.PIN, softhsm.SOPIN),
	)...)
}

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	kc     = kmsprovider.Context{"structseal-ring": "app"}
)

func wrap(t testing.TB, p *pkcs11kms.Provider) []byte {
	t.Helper()
	wrapped, err := p.Wrap(t.Context(), secret, kc)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

func unwraps(t testing.TB, p *pkcs11kms.Provider, wrapped []byte) {
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
func fails(t testing.TB, p *pkcs11kms.Provider, wrapped []byte, want error, says string) {
	t.Helper()
	_, wrapErr := p.Wrap(t.Context(), secret, kc)
	_, unwrapErr := p.Unwrap(t.Context(), wrapped, kc)
	for _, err := range []error{wrapErr, unwrapErr} {
		if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("error %v, want %q and %q", err, want, says)
		}
	}
}

// The bytes are what the package comment says: the token's own AES-GCM opens them
// without this package.
func TestFormat(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "format")
	p := s.open(t, "format")
	wrapped := wrap(t, p)
	if len(wrapped) != 1+12+len(secret)+16 || wrapped[0] != 1 {
		t.Fatalf("%d bytes, the first one is %d", len(wrapped), wrapped[0])
	}
	s.EachKey(t, "format", func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		params := pkcs11.NewGCMParams(wrapped[1:13], kc.AAD(), 128)
		defer params.Free()
		if err := s.Lib.DecryptInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key); err != nil {
			return err
		}
		got, err := s.Lib.Decrypt(session, wrapped[13:])
		if err == nil && !bytes.Equal(got, secret) {
			err = errors.New("other bytes")
		}
		return err
	})
}

// Tokens that make the IV themselves: the wrap holds theirs, and opens anywhere.
func TestTokenMakesIV(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "iv")
	for how, m := range map[string]softhsm.Flaw{"writes over ours": softhsm.OwnIV, "takes zeros only": softhsm.OnlyOwnIV} {
		s.Misbehave(m, 0)
		p := s.open(t, "iv")
		a, b := wrap(t, p), wrap(t, p)
		if !bytes.Equal(a[2:13], bytes.Repeat([]byte{0xb5}, 11)) || bytes.Equal(a[1:13], b[1:13]) {
			t.Errorf("%s: the IVs are %x and %x, not the token's", how, a[1:13], b[1:13])
		}
		unwraps(t, p, a)
		s.Set("")
		unwraps(t, s.open(t, "iv"), b)
	}
}

func TestUnfitTokens(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "unfit")
	good := wrap(t, s.open(t, "unfit"))
	for how, m := range map[string]softhsm.Flaw{"no IV": softhsm.NoIV, "something behind the tag": softhsm.Appends, "no associated data": softhsm.NoAAD} {
		s.Misbehave(m, 0)
		p := s.open(t, "unfit")
		if _, err := p.Wrap(t.Context(), secret, kc); !errors.Is(err, pkcs11kms.ErrUnfit) || kmsprovider.Retryable(err) {
			t.Errorf("%s: error %v", how, err)
		}
		s.Set("")
		unwraps(t, p, good)
	}
}

// A key that can leave the token is none; neither is one of two.
func TestKeyMustBeUniqueAndStay(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "free", pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true))
	s.MakeKey(t, "open", pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false))
	s.MakeKey(t, "twice")
	s.MakeKey(t, "twice")
	s.MakeKey(t, "good")
	wrapped := wrap(t, s.open(t, "good"))
	for label, says := range map[string]string{"free": "0 AES keys that can't leave", "open": "0 AES keys", "none": "0 AES keys", "twice": "2 AES keys"} {
		fails(t, s.open(t, label), wrapped, kmsprovider.ErrNotFound, says)
	}
}

// A key that was switched off for one of both, and what a program that starts then
// still can.
func TestKeyThatIsHalfOff(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "half")
	wrapped := wrap(t, s.open(t, "half"))
	set := func(encrypt, decrypt bool) {
		s.EachKey(t, "half", func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
			return s.Lib.SetAttributeValue(session, key, []*pkcs11.Attribute{
				pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, encrypt), pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, decrypt),
			})
		})
	}
	set(false, true)
	p := s.open(t, "half")
	unwraps(t, p, wrapped)
	if _, err := p.Wrap(t.Context(), secret, kc); !errors.Is(err, kmsprovider.ErrDisabled) {
		t.Errorf("Wrap by a key that may not encrypt: %v", err)
	}
	bad := bytes.Clone(wrapped)
	bad[len(bad)-1] ^= 1
	if _, err := p.Unwrap(t.Context(), bad, kc); !errors.Is(err, kmsprovider.ErrRejected) {
		t.Errorf("Unwrap of what was changed: %v", err)
	}
	// It could not be tested, and is before it wraps again.
	set(true, true)
	s.Misbehave(softhsm.NoAAD, 0)
	if _, err := p.Wrap(t.Context(), secret, kc); !errors.Is(err, pkcs11kms.ErrUnfit) {
		t.Errorf("Wrap by a key that ignores associated data: %v", err)
	}
	s.Misbehave(0, 0)
	set(true, false)
	if _, err := s.open(t, "half").Unwrap(t.Context(), wrapped, kc); !errors.Is(err, kmsprovider.ErrDisabled) {
		t.Errorf("Unwrap by a key that may not decrypt: %v", err)
	}
}

// What becomes of a token that is pulled, restarted or logged out by others.
func TestTokenComesBack(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "back")
	p := s.open(t, "back")
	wrapped := wrap(t, p)
	for what, lose := range map[string]func() error{
		"sessions closed": s.LogOut,
		"finalized":       s.Lib.Finalize,
		"logged out":      func() error { return s.Session(s.Lib.Logout) },
	} {
		before := s.Count(softhsm.Logins)
		if err := lose(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		unwraps(t, p, wrapped)
		if s.Count(softhsm.Logins) == before {
			t.Errorf("%s: no login", what)
		}
		wrapped = wrap(t, p)
	}
	// Away for a while.
	tokens := s.Dir
	if err := errors.Join(s.Lib.Finalize(), os.Rename(tokens, tokens+".away"), os.Mkdir(tokens, 0o700)); err != nil {
		t.Fatal(err)
	}
	fails(t, p, wrapped, kmsprovider.ErrUnavailable, "0 tokens have this label")
	if err := errors.Join(s.Lib.Finalize(), os.Remove(tokens), os.Rename(tokens+".away", tokens)); err != nil {
		t.Fatal(err)
	}
	unwraps(t, p, wrapped)
}

// A refused PIN is tried once, however many calls ask: tokens lock after a few.
func TestRefusedPINIsTriedOnce(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "pin")
	wrapped := wrap(t, s.open(t, "pin"))
	o := s.Options("pin")
	current := "wrong-9999-secret"
	o.PIN = func() (string, error) { return current, nil }
	p, err := pkcs11kms.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := s.LogOut(); err != nil { // and with them the login
		t.Fatal(err)
	}
	before := s.Count(softhsm.Logins)
	for range 5 {
		fails(t, p, wrapped, kmsprovider.ErrDenied, "")
	}
	if n := s.Count(softhsm.Logins) - before; n != 1 {
		t.Errorf("%d logins with a wrong PIN, want 1", n)
	}
	current = softhsm.PIN
	unwraps(t, p, wrapped)

	// A PIN that can't be had is no refusal by the token.
	o.PIN = func() (string, error) { return "", errors.New("vault says " + softhsm.PIN) }
	if p, err = pkcs11kms.New(o); err != nil {
		t.Fatal(err)
	}
	if err := s.LogOut(); err != nil {
		t.Fatal(err)
	}
	_, err = p.Wrap(t.Context(), secret, kc)
	if !errors.Is(err, kmsprovider.ErrUnavailable) || !kmsprovider.Retryable(err) || strings.Contains(err.Error(), softhsm.PIN) {
		t.Errorf("error %v", err)
	}
}

// What tokens say of a wrong tag: SoftHSM CKR_GENERAL_ERROR, which is rejected only
// if the token works; others what PKCS#11 has for it.
func TestRejectionIsNoOutage(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "tag")
	p := s.open(t, "tag")
	wrapped := wrap(t, p)
	bad := bytes.Clone(wrapped)
	bad[len(bad)-1] ^= 1
	for _, m := range []softhsm.Flaw{0, softhsm.OddTag} {
		s.Misbehave(m, 0)
		_, err := p.Unwrap(t.Context(), bad, kc)
		var code pkcs11.Error
		if !errors.Is(err, kmsprovider.ErrRejected) || !errors.As(err, &code) {
			t.Errorf("mode %d: error %v, want rejected", m, err)
		}
	}
	for _, c := range []uint32{pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_MEMORY, pkcs11.CKR_HOST_MEMORY} {
		s.Misbehave(softhsm.Refuse, c)
		fails(t, p, wrapped, kmsprovider.ErrUnavailable, "")
	}
	s.Set("")
	unwraps(t, p, wrapped)
}

// Calls that C does not return from are left, and there is a bound to them. This test
// stands behind those that make keys: SoftHSM fails now and then beside calls that were left.
func TestBlockedCallsAreBounded(t *testing.T) {
	s := start(t)
	s.MakeKey(t, "blocked")
	p := s.open(t, "blocked")
	wrapped := wrap(t, p)
	s.Misbehave(softhsm.Silent, 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	const callers = 50
	for range callers {
		go func() {
			_, err := p.Unwrap(ctx, wrapped, kc)
			done <- err
		}()
	}
	for s.Count(softhsm.Blocked) < 8 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	for range callers {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	if n := s.Count(softhsm.Blocked); n > 32 {
		t.Errorf("%d calls are blocked, want at most 32", n)
	}
	s.Set("")
	unwraps(t, p, wrapped)
}

func TestOptions(t *testing.T) {
	s := start(t)
	for what, change := range map[string]func(o *pkcs11kms.Options){
		"no module":    func(o *pkcs11kms.Options) { o.Module = "" },
		"no library":   func(o *pkcs11kms.Options) { o.Module = "/nonexistent.so" },
		"not PKCS#11":  func(o *pkcs11kms.Options) { o.Module = "libc.so.6" },
		"no token":     func(o *pkcs11kms.Options) { o.Token = "" },
		"no key":       func(o *pkcs11kms.Options) { o.Object = "" },
		"a long label": func(o *pkcs11kms.Options) { o.Object = strings.Repeat("x", 2048) },
	} {
		o := s.Options("x")
		change(&o)
		if _, err := pkcs11kms.New(o); !errors.Is(err, pkcs11kms.ErrOptions) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	o := s.Options(`a b;c="\é`)
	p, err := pkcs11kms.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if want := "pkcs11:token=app;object=a%20b%3Bc=%22%5C%C3%A9;type=secret-key"; p.ID() != want {
		t.Errorf("ID %s, want %s", p.ID(), want)
	}
}
