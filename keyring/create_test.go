package keyring

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

func TestCreateMakesEveryPurpose(t *testing.T) {
	ctx := t.Context()
	for _, suite := range []crypto.Suite{0, crypto.Default, crypto.Compact} {
		store, kms := newFakeStore(), newFakeKMS()
		ring, pin, err := Create(ctx, "app", store, kms, &CreateOptions{Suite: suite})
		if err != nil {
			t.Fatal(err)
		}
		if suite == 0 {
			suite = crypto.Default
		}
		if ring.Name() != "app" || ring.Pin() != pin || ring.Revision() != 1 {
			t.Errorf("name %q, pin %v (want %v), revision %d", ring.Name(), ring.Pin(), pin, ring.Revision())
		}
		want := map[Purpose]string{Data: suite.String(), Deterministic: "aes-256-siv", SubjectWrap: "xaes-256-gcm", HashSubjects: "hmac-sha256", Index: "hmac-sha256", MAC: "hmac-sha256"}
		for _, k := range ring.Keys() {
			if k.ID == 0 || k.State != Primary || k.Suite != want[k.Purpose] || k.Created.IsZero() || len(k.KEKs) != 1 || k.KEKs[0] != kms.ID() {
				t.Errorf("%+v", k)
			}
			delete(want, k.Purpose)
		}
		if len(want) > 0 {
			t.Errorf("no key for %v", want)
		}
		// P7: each wrapped once, opened once, none left out.
		if kms.wraps.Load() != 6 || kms.unwraps.Load() != 6 || store.swaps.Load() != 1 {
			t.Errorf("%d wraps, %d unwraps, %d swaps", kms.wraps.Load(), kms.unwraps.Load(), store.swaps.Load())
		}
		for _, kc := range kms.contexts {
			if len(kc) != 4 || kc["structseal-ring"] != "app" || len(kc["structseal-key"]) != 8 || kc["structseal-purpose"] == "" || kc["structseal-suite"] == "" {
				t.Errorf("wrapped with context %v", kc)
			}
		}
		for i, a := range kms.secrets {
			for _, b := range kms.secrets[:i] {
				if string(a) == string(b) {
					t.Error("two keys are equal")
				}
			}
		}
		again := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		for _, p := range []Purpose{Data, SubjectWrap} {
			sealed := must[*crypto.Key](t)(ring.Primary(ctx, p))
			ct := must[[]byte](t)(sealed.Seal(nil, []byte("text"), nil))
			key := must[*crypto.Key](t)(again.Key(ctx, p, sealed.ID()))
			if got, err := key.Open(nil, ct, nil); err != nil || string(got) != "text" {
				t.Errorf("%s: %q, %v", p, got, err)
			}
		}
		// P11: the key exists in FIPS-only mode; only its use is refused.
		for _, r := range []*Keyring{ring, again} {
			key, err := r.Primary(ctx, Deterministic)
			if fips140.Enforced() != errors.Is(err, crypto.ErrNotApproved) || (err == nil) != (key != nil) {
				t.Errorf("deterministic: %v, %v", key, err)
			}
		}
		a := must[*crypto.BlindIndexKey](t)(ring.BlindIndexKey(ctx, "customer", "email", "eq"))
		b := must[*crypto.BlindIndexKey](t)(again.BlindIndexKey(ctx, "customer", "email", "eq"))
		other := must[*crypto.BlindIndexKey](t)(again.BlindIndexKey(ctx, "customer", "email", "prefix"))
		tag := func(k *crypto.BlindIndexKey) string {
			return string(must[[]byte](t)(k.Append(nil, []byte("a@example.com"), 256)))
		}
		if tag(a) != tag(b) || tag(a) == tag(other) {
			t.Error("blind index keys don't depend on ring and index alone")
		}
		for _, p := range []Purpose{Index, MAC, 0, 99} {
			if key, err := ring.Primary(ctx, p); !errors.Is(err, ErrPurpose) || key != nil {
				t.Errorf("Primary(%s): %v, %v", p, key, err)
			}
			if key, err := ring.Key(ctx, p, ring.Keys()[0].ID); !errors.Is(err, ErrPurpose) || key != nil {
				t.Errorf("Key(%s): %v, %v", p, key, err)
			}
		}
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	mustCreate(t, "app", store, kms)
	before := store.get(t, "app")
	calls := kms.wraps.Load()
	if _, _, err := Create(ctx, "app", store, kms, nil); !errors.Is(err, ErrExists) {
		t.Errorf("second Create: %v", err)
	}
	if kms.wraps.Load() != calls {
		t.Error("second Create called the KMS")
	}
	// Two at once: both see nothing, one stores.
	store.onLoad = func(context.Context, Record, error) (Record, error) { return Record{}, ErrNotFound }
	if _, _, err := Create(ctx, "app", store, kms, nil); !errors.Is(err, ErrExists) {
		t.Errorf("racing Create: %v", err)
	}
	store.onLoad = nil
	// A store that tries again by itself conflicts with its own first attempt.
	store.onSwap = func(swap func() error) error {
		if err := swap(); err != nil {
			return err
		}
		return ErrConflict
	}
	if _, pin, err := Create(ctx, "retried", store, kms, nil); err != nil || pin.IsZero() {
		t.Errorf("Create on a store that retries: %v", err)
	}
	store.onSwap = nil
	// What can't be parsed is still there.
	store.put(t, "odd", Record{1, []byte("not a ring")})
	if _, _, err := Create(ctx, "odd", store, kms, nil); !errors.Is(err, ErrExists) {
		t.Errorf("Create over something else: %v", err)
	}
	if after := store.get(t, "app"); string(after.Data) != string(before.Data) {
		t.Error("the stored ring changed")
	}
}

func TestCreateRefuses(t *testing.T) {
	ctx := t.Context()
	kms := localkms.NewRandom()
	for _, name := range []string{"", "A", "a b", "-a", ".a", "_a", "ä", "a/b", "a\x00", "a\n", strings.Repeat("a", 101)} {
		if _, _, err := Create(ctx, name, NewMemoryStore(), kms, nil); !errors.Is(err, ErrName) {
			t.Errorf("Create(%q): %v", name, err)
		}
		if _, err := Open(ctx, name, NewMemoryStore(), kms, TrustOnFirstUse, nil); !errors.Is(err, ErrName) {
			t.Errorf("Open(%q): %v", name, err)
		}
	}
	for _, name := range []string{"a", "0", "a.b_c-9", strings.Repeat("z", 100)} {
		if _, _, err := Create(ctx, name, NewMemoryStore(), kms, nil); err != nil {
			t.Errorf("Create(%q): %v", name, err)
		}
	}
	for _, s := range []crypto.Suite{crypto.Deterministic, 99} {
		if _, _, err := Create(ctx, "a", NewMemoryStore(), kms, &CreateOptions{Suite: s}); !errors.Is(err, ErrSuite) {
			t.Errorf("suite %s: %v", s, err)
		}
	}
	if _, _, err := Create(ctx, "a", nil, kms, nil); err == nil {
		t.Error("no store: no error")
	}
	if _, _, err := Create(ctx, "a", NewMemoryStore(), nil, nil); err == nil {
		t.Error("no provider: no error")
	}
	for _, id := range []string{"", "a b", "a\"b", "a\\b", "ä", "a\n", strings.Repeat("a", 2049)} {
		if _, _, err := Create(ctx, "a", NewMemoryStore(), namedKMS{kms, id}, nil); err == nil {
			t.Errorf("provider id %q: no error", id)
		}
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := Create(done, "a", NewMemoryStore(), kms, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type namedKMS struct {
	kmsprovider.Provider
	id string
}

func (n namedKMS) ID() string { return n.id }

// P7: a wrap that can't be opened to the same key is never stored.
func TestCreateComparesEveryWrap(t *testing.T) {
	for name, lie := range lies {
		for n := range int64(5) {
			store, kms := newFakeStore(), newFakeKMS()
			kms.onUnwrap = func(_ context.Context, secret []byte, err error) ([]byte, error) {
				if kms.unwraps.Load() == n+1 {
					return lie(secret), err
				}
				return secret, err
			}
			if _, _, err := Create(t.Context(), "app", store, kms, nil); !errors.Is(err, ErrRewrap) {
				t.Errorf("%s, key %d: %v", name, n, err)
			}
			if store.swaps.Load() != 0 {
				t.Errorf("%s, key %d: a ring was stored", name, n)
			}
		}
	}
	for name, wrapped := range map[string][]byte{"nil": nil, "empty": {}, "huge": make([]byte, maxBlobLen+1)} {
		store, kms := newFakeStore(), newFakeKMS()
		kms.onWrap = func(context.Context, []byte, error) ([]byte, error) { return wrapped, nil }
		if _, _, err := Create(t.Context(), "app", store, kms, nil); !errors.Is(err, ErrRewrap) || store.swaps.Load() != 0 {
			t.Errorf("%s wrap: %v", name, err)
		}
	}
}

// lies are what a KMS may answer instead of the key.
var lies = map[string]func(secret []byte) []byte{
	"another key": func(s []byte) []byte { o := append([]byte(nil), s...); o[len(o)-1] ^= 1; return o },
	"zeros":       func(s []byte) []byte { return make([]byte, len(s)) },
	"short":       func(s []byte) []byte { return s[:len(s)-1] },
	"long":        func(s []byte) []byte { return append(s[:len(s):len(s)], 0) },
	"half":        func(s []byte) []byte { return s[:len(s)/2] },
	"double":      func(s []byte) []byte { return append(s[:len(s):len(s)], s...) },
	"nil":         func(s []byte) []byte { return nil },
	"empty":       func(s []byte) []byte { return []byte{} },
}

func TestErrorsAreSaidOnceAndNamed(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	other := localkms.NewRandom()
	check := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", what)
			return
		}
		s := err.Error()
		if !strings.HasPrefix(s, `keyring: ring "app": `) || strings.Count(s, "keyring:") != 1 || strings.Count(s, `"app"`) != 1 {
			t.Errorf("%s: %s", what, s)
		}
	}
	_, _, err := Create(ctx, "app", store, kms, nil)
	check("exists", err)
	_, err = Open(ctx, "app", store, kms, Pin{}, nil)
	check("no pin", err)
	_, err = Open(ctx, "app", NewMemoryStore(), kms, pin, nil)
	check("not found", err)
	_, err = Open(ctx, "app", store, other, pin, nil)
	check("wrong KEK", err)
	_, err = Open(ctx, "app", store, kms, Pin{check: [32]byte{1}}, nil)
	check("wrong pin", err)
	_, err = ring.Key(ctx, Data, 1)
	check("unknown key", err)
	_, err = ring.Primary(ctx, MAC)
	check("purpose", err)
	_, err = ring.Rotate(ctx, MAC, &RotateOptions{Now: true})
	check("rotate purpose", err)
	store.onLoad = func(context.Context, Record, error) (Record, error) {
		return Record{}, fmt.Errorf("connection refused")
	}
	check("refresh", ring.Refresh(ctx))
	_, err = ring.Rotate(ctx, Data, &RotateOptions{Now: true})
	check("rotate", err)
	store.onLoad = nil
	kms.onUnwrap = func(context.Context, []byte, error) ([]byte, error) { return nil, kmsprovider.ErrThrottled }
	_, err = Open(ctx, "app", store, kms, pin, nil)
	check("throttled", err)
	kms.onUnwrap = nil
	cold := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	kms.onUnwrap = func(context.Context, []byte, error) ([]byte, error) { return nil, kmsprovider.ErrThrottled }
	_, err = cold.Primary(ctx, Data)
	check("throttled key", err)
	cold.Close()
	_, err = cold.Primary(ctx, Data)
	check("closed", err)
	check("closed", cold.Refresh(ctx))
}
