package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// The pin of a ring that was stored is not lost.
func TestCreateKeepsPin(t *testing.T) {
	store, kms, a := newFakeStore(), newFakeKMS(), &failingRaise{}
	opts := &CreateOptions{OpenOptions: OpenOptions{Anchor: a}}
	_, pin, err := Create(t.Context(), "app", store, kms, opts)
	if !errors.Is(err, ErrUnavailable) || pin.IsZero() {
		t.Fatalf("pin lost: %v, %v", pin.IsZero(), err)
	}
	a.ok = true
	must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &opts.OpenOptions)).Close()
}

// A damaged anchor says nothing about the store's record.
func TestDamagedAnchorIsNoTampering(t *testing.T) {
	store, kms, a := newFakeStore(), newFakeKMS(), &fakeAnchor{}
	ring, pin := mustCreate(t, "app", store, kms)
	var buf bytes.Buffer
	other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &OpenOptions{Anchor: a, Logger: slog.New(slog.NewTextHandler(&buf, nil))}))
	defer other.Close()
	must[uint32](t)(ring.Rotate(t.Context(), Data, nil))
	a.down(ErrCorrupt) // the anchor's file is damaged
	t.Logf("refresh: %v", other.Refresh(t.Context()))
	if bytes.Contains(buf.Bytes(), []byte(EventTampered)) {
		t.Errorf("the store's record is good: %s", buf.Bytes())
	}
}

// Also when it is told of a bad record.
func TestHandlerUsesTamperedRing(t *testing.T) {
	store, kms := newFakeStore(), newFakeKMS()
	_, pin := mustCreate(t, "app", store, kms)
	synctest.Test(t, func(t *testing.T) {
		var ring *Keyring
		h := handlerFunc(func(rec slog.Record) {
			if rec.Message == EventTampered && ring != nil {
				ring.Key(context.Background(), Data, 4711)
			}
		})
		ring = must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &OpenOptions{Logger: slog.New(h)}))
		defer ring.Close()
		good := store.get(t, "app")
		bad := Record{good.Revision, bytes.Clone(good.Data)}
		bad.Data[len(bad.Data)-5] ^= 1
		store.put(t, "app", bad)
		start := time.Now()
		_, err := ring.Key(t.Context(), Data, 4712)
		if d := time.Since(start); d > time.Second {
			t.Errorf("%v, %v", d, err)
		}
	})
}

// A file anchor writes nothing that it can't read.
func TestFileAnchorIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "anchor")
	a := must[*FileAnchor](t)(NewFileAnchor(path))
	all := map[string]anchored{}
	for i := range 7130 {
		all[fmt.Sprintf("tenant-%093d", i)] = anchored{1, [32]byte{1}}
	}
	text := formatAnchors(all)
	t.Logf("%d rings, %d bytes, limit %d", len(all), len(text), maxAnchor)
	must1(t, os.WriteFile(path, text, 0o600))
	if _, _, err := a.Highest(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; err == nil; i++ {
		err = a.Raise(t.Context(), fmt.Sprintf("new-%090d", i), 1, [32]byte{})
	}
	if !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, _, err := a.Highest(t.Context(), "tenant-"+fmt.Sprintf("%093d", 0)); err != nil {
		t.Errorf("every ring's anchor: %v", err)
	}
}

// A log handler may use the ring.
func TestHandlerUsesRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, kms := newFakeStore(), newFakeKMS()
		r, pin := mustCreate(t, "app", store, kms)
		r.Close()
		var ring *Keyring
		h := handlerFunc(func(rec slog.Record) {
			if rec.Message == EventKeyRefused && ring != nil {
				start := time.Now()
				_, err := ring.Primary(context.Background(), Data)
				t.Logf("handler: %v after %v", err, time.Since(start))
			}
		})
		ring = must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &OpenOptions{Logger: slog.New(h)}))
		defer ring.Close()
		kms.answer(func(context.Context, []byte, error) ([]byte, error) { return bytes.Repeat([]byte{1}, 32), nil })
		start := time.Now()
		_, err := ring.Primary(t.Context(), Data)
		d := time.Since(start)
		if d > time.Second {
			t.Errorf("a refusal took %v: %v (ErrUnavailable %v, ErrKeyCheck %v)", d, err, errors.Is(err, ErrUnavailable), errors.Is(err, ErrKeyCheck))
		}
	})
}

// failingRaise is an anchor that can only be read.
type failingRaise struct {
	fakeAnchor
	ok bool
}

func (f *failingRaise) Raise(ctx context.Context, n string, r uint64, d [32]byte) error {
	if !f.ok {
		return errors.New("disk full")
	}
	return f.fakeAnchor.Raise(ctx, n, r, d)
}

type handlerFunc func(slog.Record)

func (handlerFunc) Enabled(context.Context, slog.Level) bool { return true }

func (f handlerFunc) Handle(_ context.Context, r slog.Record) error { f(r); return nil }

func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler { return f }

func (f handlerFunc) WithGroup(string) slog.Handler { return f }
