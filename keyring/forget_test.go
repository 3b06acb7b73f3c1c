package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
)

// P12, and the order of things.
func TestForget(t *testing.T) {
	kms, store, outside := newFakeKMS(), NewMemoryStore(), NewMemoryStore()
	ring, pin, err := Create(t.Context(), "app", store, kms, &CreateOptions{OpenOptions: OpenOptions{Tombstones: outside, BackupRetention: 30 * 24 * time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	ct := sealFor(t, ring, ada)
	must[uint32](t)(ring.RotateSubject(t.Context(), ada))
	newer := sealFor(t, ring, ada)
	bob := Subject{ID: "bob"}
	kept := sealFor(t, ring, bob)
	held, err := ring.Subject(t.Context(), ada)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := held.Primary()
	yesterday := snapshotOf(store)

	cert, err := ring.Forget(t.Context(), ada, &ForgetOptions{Actor: "dpo"})
	if err != nil {
		t.Fatal(err)
	}
	// Keys that are in use at this moment are wiped, too.
	if _, err := key.Open(nil, newer, nil); !errors.Is(err, crypto.ErrWiped) {
		t.Errorf("a key that is in use: %v", err)
	}
	held.Release()
	fresh := func(opts *OpenOptions) *Keyring {
		r := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, opts))
		t.Cleanup(func() { r.Close() })
		return r
	}
	closed := func(what string, r *Keyring) {
		t.Helper()
		for _, c := range [][]byte{ct, newer} {
			if err := openFor(r, ada, c); !errors.Is(err, ErrForgotten) {
				t.Errorf("%s: open: %v", what, err)
			}
		}
		if _, err := trySeal(r, ada); !errors.Is(err, ErrForgotten) {
			t.Errorf("%s: seal: %v", what, err)
		}
		if _, err := r.RotateSubject(t.Context(), ada); !errors.Is(err, ErrForgotten) {
			t.Errorf("%s: rotate: %v", what, err)
		}
		if err := openFor(r, bob, kept); err != nil {
			t.Errorf("%s: somebody else: %v", what, err)
		}
	}
	closed("here", ring)
	closed("elsewhere", fresh(nil))
	closed("elsewhere, with tombstones", fresh(&OpenOptions{Tombstones: outside}))

	// A restored backup doesn't undo it.
	restore(store, yesterday)
	closed("restored", fresh(&OpenOptions{Tombstones: outside}))
	if err := openFor(fresh(nil), ada, ct); err != nil {
		t.Errorf("the backup isn't one: %v", err) // and that is why it is reported
	}
	// While the tombstones can't be reached nobody knows.
	if err := openFor(fresh(&OpenOptions{Tombstones: unreachableSubjects{outside}}), ada, ct); !errors.Is(err, ErrUnavailable) {
		t.Errorf("tombstones away: %v", err)
	}
	// Forgetting again closes the restored store, and says the same.
	again, err := fresh(&OpenOptions{Tombstones: outside}).Forget(t.Context(), ada, &ForgetOptions{Actor: "ops"})
	if err != nil || len(again.Keys) != 2 {
		t.Errorf("again: %v, %v", again, err)
	}
	closed("forgotten again", fresh(nil))

	// The certificate.
	if len(cert.Keys) != 2 || cert.Actor != "dpo" || cert.ClosedAt.Sub(cert.Forgotten) != DefaultMaxStale+DefaultCallTimeout+time.Second || cert.IrrecoverableAt.Sub(cert.Forgotten) != 30*24*time.Hour {
		t.Errorf("%+v", cert)
	}
	text := must[[]byte](t)(json.Marshal(cert))
	if strings.Contains(string(text)+cert.String(), ada.ID) {
		t.Error("the certificate names the person")
	}
	for _, want := range []string{cert.Subject, cert.Keys[0], "dpo", "Not covered", "Irrecoverable at", "backups", "blind indexes"} {
		if !strings.Contains(cert.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, cert)
		}
	}
	var back Certificate
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if err := ring.VerifyCertificate(t.Context(), &back); err != nil {
		t.Error(err)
	}
	back.Keys = back.Keys[:1]
	if err := ring.VerifyCertificate(t.Context(), &back); !errors.Is(err, ErrCertificate) {
		t.Errorf("an edited certificate: %v", err)
	}
	if err := ring.VerifyCertificate(t.Context(), nil); !errors.Is(err, ErrCertificate) {
		t.Errorf("no certificate: %v", err)
	}
	alone, _ := subjectRing(t, nil)
	lone, err := alone.Forget(t.Context(), ada, nil)
	if err != nil || lone.IrrecoverableAt != nil || !strings.Contains(lone.String(), "no tombstones are kept outside") {
		t.Errorf("%v, %v", lone, err)
	}
	if err := alone.VerifyCertificate(t.Context(), cert); !errors.Is(err, ErrCertificate) {
		t.Errorf("another ring's: %v", err)
	}
}

func TestRevive(t *testing.T) {
	for _, outside := range []*MemoryStore{nil, NewMemoryStore()} {
		var opts OpenOptions
		if outside != nil {
			opts.Tombstones = outside
		}
		ring, store := subjectRing(t, &opts)
		ct := sealFor(t, ring, ada)
		yesterday := snapshotOf(store)
		must[*Certificate](t)(ring.Forget(t.Context(), ada, nil))
		if err := ring.Revive(t.Context(), ada, &ReviveOptions{Actor: "dpo", Now: true}); err != nil {
			t.Fatal(err)
		}
		if err := openFor(ring, ada, ct); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("before she is back: %v", err)
		}
		fresh := sealFor(t, ring, ada)
		if err := openFor(ring, ada, fresh); err != nil {
			t.Error(err)
		}
		if err := openFor(ring, ada, ct); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("the old key: %v", err)
		}
		if err := ring.Revive(t.Context(), ada, &ReviveOptions{Now: true}); err != nil {
			t.Error(err)
		}
		cert := must[*Certificate](t)(ring.Forget(t.Context(), ada, nil))
		if len(cert.Keys) != 2 {
			t.Errorf("%d keys destroyed in two lives", len(cert.Keys))
		}
		if outside == nil {
			continue
		}
		// Revived, and the row of the first life restored: it doesn't come back.
		if err := ring.Revive(t.Context(), ada, &ReviveOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
		restore(store, yesterday)
		ring.core().subjects.cache.Purge()
		if err := openFor(ring, ada, ct); !errors.Is(err, ErrForgotten) {
			t.Errorf("a row of an earlier life: %v", err)
		}
	}
}

func TestLegalHold(t *testing.T) {
	hold := errors.New("case 17")
	ring, _ := subjectRing(t, &OpenOptions{LegalHold: func(_ context.Context, s Subject) error {
		if s == ada {
			return hold
		}
		return nil
	}})
	ct := sealFor(t, ring, ada)
	if _, err := ring.Forget(t.Context(), ada, nil); !errors.Is(err, ErrLegalHold) || !errors.Is(err, hold) {
		t.Error(err)
	}
	if err := openFor(ring, ada, ct); err != nil {
		t.Error(err)
	}
	must[*Certificate](t)(ring.Forget(t.Context(), Subject{ID: "bob"}, nil))
}

// Other processes notice within TTL, whatever their wall clocks say; cut off, within
// MaxStale.
func TestForgetIsNoticed(t *testing.T) {
	for name, clock := range wrongClocks {
		t.Run(name, func(t *testing.T) {
			wallClock = func() time.Time { return clock(time.Now()) }
			defer func() { wallClock = time.Now }()
			store, kms := &outageStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
			first, pin := mustCreate(t, "app", store, kms)
			ct := sealFor(t, first, ada)
			synctest.Test(t, func(t *testing.T) {
				open := func() *Keyring { return must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil)) }
				ring, other := open(), open()
				defer ring.Close()
				defer other.Close()
				if err := openFor(other, ada, ct); err != nil {
					t.Fatal(err)
				}
				must[*Certificate](t)(ring.Forget(t.Context(), ada, nil))
				forgotten := time.Now()
				for openFor(other, ada, ct) == nil {
					time.Sleep(time.Second)
				}
				if d := time.Since(forgotten); d > DefaultTTL {
					t.Errorf("noticed after %v", d)
				}
				if err := openFor(other, ada, ct); !errors.Is(err, ErrForgotten) {
					t.Error(err)
				}
				// A day later nobody has changed his mind.
				time.Sleep(24 * time.Hour)
				for _, ring := range []*Keyring{ring, other} {
					if err := openFor(ring, ada, ct); !errors.Is(err, ErrForgotten) {
						t.Error(err)
					}
				}
			})
		})
	}
}

func snapshotOf(s *MemoryStore) map[string]map[SubjectHash]Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]map[SubjectHash]Record)
	for name, rows := range s.subjects {
		out[name] = make(map[SubjectHash]Record)
		for h, r := range rows {
			out[name][h] = Record{r.Revision, bytes.Clone(r.Data)}
		}
	}
	return out
}

func restore(s *MemoryStore, rows map[string]map[SubjectHash]Record) {
	clone := snapshotOf(&MemoryStore{subjects: rows})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subjects = clone
}

// unreachableSubjects is a store that is away.
type unreachableSubjects struct{ SubjectStore }

func (unreachableSubjects) LoadSubjects(context.Context, string, []SubjectHash) (map[SubjectHash]Record, error) {
	return nil, errors.New("connection refused")
}
