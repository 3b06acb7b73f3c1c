package keyring

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// A KMS that is away keeps nobody from noticing Forget.
func TestKMSOutageHidesNoForget(t *testing.T) {
	inRandomTime(t, func(t *testing.T) {
		store, kms := &hookStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
		ring, pin, err := Create(t.Context(), "app", store, kms, nil)
		must1(t, err)
		defer ring.Close()
		bob := Subject{ID: "bob"}
		ct, ctb := sealFor(t, ring, ada), sealFor(t, ring, bob)
		other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer other.Close()
		must1(t, openFor(other, bob, ctb))
		must[uint32](t)(ring.Rotate(t.Context(), SubjectWrap, &RotateOptions{Now: true}))
		must[uint32](t)(ring.RotateSubject(t.Context(), bob)) // wraps bob by the new one
		must[*crypto.Key](t)(ring.Primary(t.Context(), SubjectWrap))
		time.Sleep(DefaultTTL - 10*time.Second)
		must1(t, openFor(other, ada, ct))
		kms.down(fmt.Errorf("down: %w", kmsprovider.ErrUnavailable))
		time.Sleep(20 * time.Second)
		noise := func() {
			for range 20 {
				if k, err := other.Subject(t.Context(), bob); err == nil {
					k.Release()
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		_, err = ring.Forget(t.Context(), ada, nil)
		must1(t, err)
		start := time.Now()
		var last time.Duration
		for time.Since(start) < 70*time.Minute {
			noise()
			if openFor(other, ada, ct) == nil {
				last = time.Since(start)
			}
		}
		t.Logf("last opened %v after Forget", last)
		if last > DefaultTTL+time.Second {
			t.Errorf("store healthy throughout; forgotten and open for %v (TTL %v)", last, DefaultTTL)
		}
	})
}

// Callers with short deadlines keep no other subject's Forget from being noticed.
func TestImpatientCallersHideNoForget(t *testing.T) {
	inRandomTime(t, func(t *testing.T) {
		store, kms := &hookStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
		ring, pin, err := Create(t.Context(), "app", store, kms, nil)
		must1(t, err)
		defer ring.Close()
		ct := sealFor(t, ring, ada)
		bob := Subject{ID: "bob"}
		sealFor(t, ring, bob)
		other := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
		defer other.Close()
		k, err := other.Subject(t.Context(), bob)
		must1(t, err)
		k.Release()
		time.Sleep(DefaultTTL + time.Second)
		// Healthy store, 20 ms an answer; clients with a budget of 5 ms ask for bob.
		store.set(func(context.Context, int) error { time.Sleep(20 * time.Millisecond); return nil }, nil)
		noise := func() {
			for range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				if k, err := other.Subject(ctx, bob); err == nil {
					k.Release()
				}
				cancel()
				time.Sleep(10 * time.Millisecond)
			}
		}
		noise()
		must1(t, openFor(other, ada, ct))
		_, err = ring.Forget(t.Context(), ada, nil)
		must1(t, err)
		start := time.Now()
		var last time.Duration
		failed := 0
		for time.Since(start) < 50*time.Minute {
			noise()
			if err := openFor(other, ada, ct); err == nil {
				last = time.Since(start)
			} else if failed++; failed > 100 {
				break
			}
		}
		time.Sleep(time.Minute)
		t.Logf("store healthy throughout; ada last opened %v after Forget, TTL %v", last, DefaultTTL)
		if last > DefaultTTL+time.Second {
			t.Errorf("forgotten, store reachable, and open for %v", last)
		}
	})
}

// A caller who leaves is no answer of the store.
func TestCallersWhoLeaveCloseNoBreaker(t *testing.T) {
	inRandomTime(t, func(t *testing.T) {
		store, kms := &hookStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
		ring, _, err := Create(t.Context(), "app", store, kms, nil)
		must1(t, err)
		defer ring.Close()
		sealFor(t, ring, ada)
		store.set(func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }, nil) // hangs
		time.Sleep(DefaultTTL + time.Second)
		s := ring.core().subjects
		for range 5 {
			k, err := ring.Subject(t.Context(), ada)
			must1(t, err)
			k.Release()
		}
		if !s.breaker.open() {
			t.Fatal("not open")
		}
		time.Sleep(backoffCap)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		go func() { time.Sleep(time.Millisecond); cancel() }()
		if k, err := ring.Subject(ctx, ada); err == nil {
			k.Release()
		}
		if !s.breaker.open() {
			t.Errorf("a caller who left has closed the breaker of a store that hangs")
			start := time.Now()
			k, _ := ring.Subject(t.Context(), ada)
			k.Release()
			t.Logf("the next caller waits %v", time.Since(start))
		}
	})
}
