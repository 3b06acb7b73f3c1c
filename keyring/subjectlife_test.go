package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
)

// A census counts the subjects of its own ring.
func TestCensusOfAnotherRing(t *testing.T) {
	ctx := t.Context()
	store, kms := NewMemoryStore(), newFakeKMS()
	a, _ := mustCreate(t, "a", store, kms)
	b, _ := mustCreate(t, "b", store, kms)
	sealFor(t, a, ada)
	old := must[*crypto.Key](t)(a.Primary(ctx, SubjectWrap)).ID()
	c := must[*Census](t)(a.BeginCensus(ctx))
	if err := b.CountSubjects(ctx, c); !errors.Is(err, ErrCensus) {
		t.Errorf("ring b counts for ring a: %v", err)
	}
	c.Finish()
	if _, err := c.unused("a", SubjectWrap, old); !errors.Is(err, ErrCensus) {
		t.Errorf("b's subjects prove that a's key is unused: %v", err)
	}
}

// A bad record keeps no others from being rewrapped.
func TestRewrapPastBadRecord(t *testing.T) {
	ring, store, _, _ := hookedRing(t, nil)
	ctx := t.Context()
	var list []Subject
	for i := range 1500 {
		list = append(list, Subject{ID: fmt.Sprint(i)})
	}
	must1(t, ring.WarmSubjects(ctx, list, true))
	must[uint32](t)(ring.Rotate(ctx, SubjectWrap, &RotateOptions{Now: true}))
	hashes, err := store.ListSubjects(ctx, "app", SubjectHash{}, 1)
	must1(t, err)
	store.MemoryStore.mu.Lock()
	r := store.MemoryStore.subjects["app"][hashes[0]]
	r.Data[len(r.Data)-1] ^= 1
	store.MemoryStore.mu.Unlock()
	total := 0
	for range 500 {
		m, err := ring.Maintain(ctx)
		total += m.Subjects
		if err == nil {
			break
		}
	}
	if total < 1499 {
		t.Errorf("%d of 1499 good ones rewrapped after 500 Maintain", total)
	}
}

// Nobody opens anything after closed_at.
func TestClosedAt(t *testing.T) {
	inRandomTime(t, func(t *testing.T) {
		store, kms := &hookStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
		ring, pin, err := Create(t.Context(), "app", store, kms, nil)
		must1(t, err)
		defer ring.Close()
		other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer other.Close()
		ct := sealFor(t, ring, ada)
		store.set(nil, func(context.Context) error { time.Sleep(9 * time.Second); return nil })
		var cert *Certificate
		done := make(chan bool)
		go func() { cert, err = ring.Forget(t.Context(), ada, nil); close(done) }()
		time.Sleep(8900 * time.Millisecond)
		must1(t, openFor(other, ada, ct)) // the last look before the tombstone is stored
		<-done
		must1(t, err)
		// other is cut off from now on, as the certificate allows.
		store.set(func(context.Context, int) error { return errors.New("cut off") }, nil)
		kept := time.NewTicker(time.Minute) // somebody uses the ring
		defer kept.Stop()
		for time.Now().Before(cert.ClosedAt.Add(time.Second)) {
			time.Sleep(500 * time.Millisecond)
			other.Key(t.Context(), Data, 0)
			_ = openFor(other, ada, ct)
		}
		if err := openFor(other, ada, ct); err == nil {
			t.Errorf("opened at %s, closed_at was %s", time.Now().UTC().Format("15:04:05.000"), cert.ClosedAt.Format("15:04:05.000"))
		}
	})
}

// Maintain looks again when every process has noticed the new wrapping key.
func TestRewrapsStragglers(t *testing.T) {
	inRandomTime(t, func(t *testing.T) {
		ring, store, kms, pin := hookedRing(t, nil)
		ctx := t.Context()
		sealFor(t, ring, ada)
		other := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
		defer other.Close()
		sealFor(t, other, ada) // has the old primary
		old := must[*crypto.Key](t)(ring.Primary(ctx, SubjectWrap)).ID()
		must[uint32](t)(ring.Rotate(ctx, SubjectWrap, &RotateOptions{Now: true}))
		if m := must[Maintenance](t)(ring.Maintain(ctx)); m.Subjects != 1 {
			t.Errorf("rewrapped %d", m.Subjects)
		}
		sealFor(t, other, Subject{ID: "late"}) // within other's TTL: normal
		wrote := store.swaps.Load()
		for range 30 {
			time.Sleep(ring.core().quiet() / 10)
			must[Maintenance](t)(ring.Maintain(ctx))
		}
		c := must[*Census](t)(ring.BeginCensus(ctx))
		must1(t, ring.CountSubjects(ctx, c))
		if n := c.Counted(old); n > 0 {
			t.Errorf("%d subjects under the old key", n)
		}
		if n := store.swaps.Load() - wrote; n != 1 {
			t.Errorf("%d records written for one", n)
		}
	})
}

// Nobody is revived while another process may still seal with the destroyed keys.
func TestReviveWaits(t *testing.T) {
	inRandomTime(t, func(t *testing.T) {
		ring, store, kms, pin := hookedRing(t, nil)
		other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer other.Close()
		sealFor(t, other, ada)
		must1(t, ring.Revive(t.Context(), ada, nil)) // nothing to do, nothing to wait for
		must[*Certificate](t)(ring.Forget(t.Context(), ada, nil))
		const wait = DefaultMaxStale + DefaultTTL
		for _, r := range []*Keyring{ring, other} {
			if d := remaining(t, r.Revive(t.Context(), ada, nil)); d != wait {
				t.Errorf("at once: wait %v", d)
			}
		}
		time.Sleep(wait - time.Millisecond)
		if d := remaining(t, ring.Revive(t.Context(), ada, nil)); d != time.Millisecond {
			t.Errorf("a millisecond early: wait %v", d)
		}
		late := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil)) // knows nothing
		defer late.Close()
		if d := remaining(t, late.Revive(t.Context(), ada, nil)); d != wait {
			t.Errorf("who came later waits %v", d)
		}
		time.Sleep(time.Millisecond)
		must1(t, other.Revive(t.Context(), ada, nil)) // it was asked before
		ct := sealFor(t, ring, ada)
		must1(t, openFor(other, ada, ct))
	})
}

// However often a subject was forgotten and revived, it can be forgotten.
func TestManyLives(t *testing.T) {
	ring, _, _, _ := hookedRing(t, nil)
	ctx := t.Context()
	for range 64 {
		for range 64 {
			must[uint32](t)(ring.RotateSubject(ctx, ada))
		}
		_, err := ring.Forget(ctx, ada, nil)
		must1(t, err)
		must1(t, ring.Revive(ctx, ada, &ReviveOptions{Now: true}))
	}
	ct := sealFor(t, ring, ada)
	if _, err := ring.Forget(ctx, ada, nil); err != nil {
		t.Errorf("Forget: %v; still opens: %v", err, openFor(ring, ada, ct))
	}
}

// A restored store has the keys again, and the certificate says so.
func TestCertificateTellsOfRestores(t *testing.T) {
	outside := NewMemoryStore()
	ring, store, kms, pin := hookedRing(t, &OpenOptions{Tombstones: outside, BackupRetention: time.Nanosecond})
	ct := sealFor(t, ring, ada)
	saved := snapshotOf(store.MemoryStore)
	cert, err := ring.Forget(t.Context(), ada, nil)
	must1(t, err)
	restore(store.MemoryStore, saved)
	if err = openFor(ring, ada, ct); !errors.Is(err, ErrForgotten) {
		t.Errorf("with tombstones: %v", err)
	}
	plain := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer plain.Close()
	told := false
	for _, n := range cert.NotCovered {
		told = told || strings.Contains(n.What, "restored backup") && strings.Contains(n.What, "forget again")
	}
	if err := openFor(plain, ada, ct); err != nil || !told {
		t.Errorf("without tombstones: %v; told of it: %v", err, told)
	}
}

// A certificate that was edited is none; JSON makes no other of it.
func TestEditedCertificates(t *testing.T) {
	ring, _, _, _ := hookedRing(t, nil)
	sealFor(t, ring, ada)
	cert, err := ring.Forget(t.Context(), ada, &ForgetOptions{Actor: "dpo"})
	must1(t, err)
	text := must[[]byte](t)(json.Marshal(cert))
	for _, edit := range [][2]string{{`"closed_at":"2`, `"closed_at":"1`}, {`"keys":[`, `"keys":["00000001",`}, {`"until":null`, `"until":"2030-01-01T00:00:00Z"`}, {`"ring":"app"`, `"ring":"apq"`}} {
		var c Certificate
		if json.Unmarshal(bytes.Replace(text, []byte(edit[0]), []byte(edit[1]), 1), &c) == nil {
			if err := ring.VerifyCertificate(t.Context(), &c); err == nil {
				t.Errorf("%v passes", edit)
			}
		}
	}
	var c Certificate
	must1(t, json.Unmarshal(text, &c))
	must1(t, ring.VerifyCertificate(t.Context(), &c))
}
