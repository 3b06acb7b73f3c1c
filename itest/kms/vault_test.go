package kms

import (
	"bytes"
	"context"
	"crypto/fips140"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/vaultkms"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

var (
	kc     = kmsprovider.Context{"structseal-ring": "app", "structseal-key": "0a1b2c3d"}
	secret = []byte("0123456789abcdef0123456789abcdef")
)

// start starts an engine with a key "one" of the type, and what stands before it.
func start(t *testing.T, keyType string) (*engine, *kmstest.Proxy) {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("the server chooses its own nonces, which this process may not")
	}
	e := newEngine(t)
	e.write(t, "keys/one", map[string]any{"type": keyType})
	return e, kmstest.NewProxy(t, e)
}

func given(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

func open(t testing.TB, address string, client *http.Client, name string) *vaultkms.Provider {
	t.Helper()
	c, err := vaultapi.New(&vaultapi.Options{
		Address: address, HTTP: client,
		Token: given(token),
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := vaultkms.New("hcvault:///transit/keys/"+name, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func isResponse(err error) bool { return errors.As(err, new(*vaultapi.ResponseError)) }

func TestConformance(t *testing.T) {
	for _, keyType := range []string{"aes256-gcm96", "chacha20-poly1305"} {
		t.Run(keyType, func(t *testing.T) {
			e, proxy := start(t, keyType)
			e.write(t, "keys/two", map[string]any{"type": keyType})
			opener := func(name string) func(*testing.T) kmsprovider.Provider {
				return func(t *testing.T) kmsprovider.Provider { return open(t, proxy.URL, proxy.Client(), name) }
			}
			opts := []kmstest.Option{
				proxy.Faults(), kmstest.ServiceError(isCause), kmstest.Secrets(token),
				kmstest.Fault(kmstest.NotFound, func(t *testing.T) func() { return e.remove(t, "one") }),
				kmstest.Fault(kmstest.Disabled, func(t *testing.T) func() { return e.softDelete(t, "one") }),
				kmstest.Lacks("Transit deletes at once", kmstest.PendingDeletion),
				kmstest.Lacks("answers don't name the key, and have no checksum", kmstest.WrongKeyID, kmstest.WrongChecksum),
			}
			for _, m := range []kmstest.Mode{
				kmstest.Denied, kmstest.Unavailable, kmstest.Throttled,
				kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33,
			} {
				opts = append(opts, e.fault(m))
			}
			kmstest.Run(t, opener("one"), opener("two"), opts...)
		})
	}
}

// isCause: what isn't Transit's text form isn't sent to the server.
func isCause(err error) bool { return isResponse(err) || errors.Is(err, vaultkms.ErrFormat) }

// A key that was deleted isn't made anew by Transit, as it would be by default.
func TestDeletedKeyIsNotMadeAnew(t *testing.T) {
	e, proxy := start(t, "aes256-gcm96")
	p := open(t, proxy.URL, proxy.Client(), "none")
	if _, err := p.Wrap(t.Context(), secret, kc); !errors.Is(err, kmsprovider.ErrNotFound) {
		t.Errorf("wrap with a key that isn't there: %v", err)
	}
	if entry, err := e.storage.Get(t.Context(), "policy/none"); err != nil || entry != nil {
		t.Errorf("wrap has made a key: %v", err)
	}
	// That Transit would have.
	e.write(t, "encrypt/none", map[string]any{"plaintext": "eA=="})
	if entry, err := e.storage.Get(t.Context(), "policy/none"); err != nil || entry == nil {
		t.Errorf("the engine makes no keys by itself: %v", err)
	}
}

func TestVersions(t *testing.T) {
	ctx := t.Context()
	e, proxy := start(t, "aes256-gcm96")
	p := open(t, proxy.URL, proxy.Client(), "one")
	var wraps [][]byte
	for i := range 3 {
		if i > 0 {
			e.write(t, "keys/one/rotate", nil)
		}
		w, err := p.Wrap(ctx, secret, kc)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"vault:v1:", "vault:v2:", "vault:v3:"}[i]; !strings.HasPrefix(string(w), want) {
			t.Errorf("wrap %d is not %s", i, want)
		}
		wraps = append(wraps, w)
	}
	for i, w := range wraps {
		if got, err := p.Unwrap(ctx, w, kc); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("wrap %d after rotation: %v", i, err)
		}
	}
	e.write(t, "keys/one/config", map[string]any{"min_decryption_version": 2})
	if _, err := p.Unwrap(ctx, wraps[0], kc); !errors.Is(err, kmsprovider.ErrDisabled) || kmsprovider.Retryable(err) {
		t.Errorf("below min_decryption_version: %v", err)
	}
	if got, err := p.Unwrap(ctx, wraps[1], kc); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("at min_decryption_version: %v", err)
	}
	// Versions are authenticated with the rest, and have one form. Transit itself reads
	// version 0 as 1, and " 3" and "03" as 3.
	e.write(t, "keys/one/config", map[string]any{"min_decryption_version": 1})
	_, text, _ := strings.Cut(string(wraps[0]), "vault:v1:")
	for _, version := range []string{"0", "2", "3", "4", "01", "+1", "-1", " 1", "1 ", "", "99999999999999999999"} {
		if _, err := p.Unwrap(ctx, []byte("vault:v"+version+":"+text), kc); !errors.Is(err, kmsprovider.ErrRejected) {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func TestKeysThatBindNothing(t *testing.T) {
	e, proxy := start(t, "aes256-gcm96")
	for name, data := range map[string]map[string]any{
		"rsa":        {"type": "rsa-2048"},
		"derived":    {"derived": true},
		"convergent": {"derived": true, "convergent_encryption": true},
		"signing":    {"type": "ed25519"},
		"ecdsa":      {"type": "ecdsa-p256"},
	} {
		e.write(t, "keys/"+name, data)
		p := open(t, proxy.URL, proxy.Client(), name)
		if _, err := p.Wrap(t.Context(), secret, kc); !errors.Is(err, vaultkms.ErrUnsupported) || kmsprovider.Retryable(err) || !isResponse(err) {
			t.Errorf("%s: wrap: %v", name, err)
		}
		if _, err := p.Unwrap(t.Context(), []byte("vault:v1:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ=="), kc); !errors.Is(err, vaultkms.ErrUnsupported) || kmsprovider.Retryable(err) {
			t.Errorf("%s: unwrap: %v", name, err)
		}
	}
}

// A wrap is Transit's own: an operator who has the context can open it by hand. And
// rewrap, which has no associated data, can't: that is why the driver doesn't use it.
func TestWrapsAreTransitsOwn(t *testing.T) {
	e, proxy := start(t, "aes256-gcm96")
	p := open(t, proxy.URL, proxy.Client(), "one")
	w, err := p.Wrap(t.Context(), secret, kc)
	if err != nil {
		t.Fatal(err)
	}
	out := e.write(t, "decrypt/one", map[string]any{"ciphertext": string(w), "associated_data": b64(kc.AAD())})
	if out["plaintext"] != b64(secret) {
		t.Error("transit decrypts it to something else")
	}
	resp, err := e.handle(t.Context(), "rewrap/one", map[string]any{"ciphertext": string(w)})
	if err == nil && !resp.IsError() {
		t.Error("rewrap takes associated data now: look at the documentation again")
	}
}

// A ring is moved to the newest version of the KEK, and then the older ones may go.
func TestRing(t *testing.T) {
	ctx := t.Context()
	e, proxy := start(t, "aes256-gcm96")
	store := keyring.NewMemoryStore()
	kms := open(t, proxy.URL, proxy.Client(), "one")
	ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	reopen := func() error {
		again, err := keyring.Open(ctx, "app", store, kms, pin, nil)
		if err == nil {
			_, err = again.Primary(ctx, keyring.Data)
			again.Close()
		}
		return err
	}
	floor := func(v int) { e.write(t, "keys/one/config", map[string]any{"min_decryption_version": v}) }

	e.write(t, "keys/one/rotate", nil)
	if err := reopen(); err != nil {
		t.Errorf("after a rotation of the KEK: %v", err)
	}
	floor(2)
	if err := reopen(); !errors.Is(err, kmsprovider.ErrDisabled) {
		t.Errorf("with the old version switched off too early: %v", err)
	}
	floor(1)
	if _, err := ring.Rewrap(ctx, keyring.RewrapTarget{Renew: true}); err != nil {
		t.Fatal(err)
	}
	floor(2)
	if err := reopen(); err != nil {
		t.Errorf("with the old version switched off after Rewrap: %v", err)
	}
}

// The check that the server binds costs one call, once.
func TestCalls(t *testing.T) {
	ctx := t.Context()
	e, proxy := start(t, "aes256-gcm96")
	p := open(t, proxy.URL, proxy.Client(), "one")
	calls := func(what string, want int64, call func() error) {
		t.Helper()
		before := e.calls.Load()
		err := call()
		if n := e.calls.Load() - before; n != want {
			t.Errorf("%s: %d calls, want %d (%v)", what, n, want, err)
		}
	}
	var w []byte
	wrap := func() (err error) { w, err = p.Wrap(ctx, secret, kc); return err }
	calls("the first wrap", 2, wrap)
	calls("the second wrap", 1, wrap)
	calls("unwrap", 1, func() error { _, err := p.Unwrap(ctx, w, kc); return err })
	p = open(t, proxy.URL, proxy.Client(), "one")
	calls("the first unwrap", 2, func() error { _, err := p.Unwrap(ctx, w, kc); return err })
	calls("the second unwrap", 1, func() error { _, err := p.Unwrap(ctx, w, kc); return err })
	for _, m := range []kmstest.Mode{kmstest.Unavailable, kmstest.Throttled, kmstest.Denied} {
		e.mode.Store(&m)
		calls("wrap when "+string(m), 1, wrap)
		e.mode.Store(nil)
	}
}
