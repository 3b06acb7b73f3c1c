package kmstest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

// testNothingKept: no answer is kept. A key that was revoked at the service must be
// refused the next time, and a ring has a cache with rules of its own.
func testNothingKept(e *env) {
	var undo func()
	for _, mode := range []Mode{Denied, Disabled, Unavailable, NotFound} {
		if e.faults[mode] != nil {
			secret, kc := key(32), ring()
			wrapped := e.wrap(e.kms, secret, kc)
			e.unwraps(e.kms, wrapped, kc, secret)
			undo = e.enter(mode)
			if out, err := e.kms.Unwrap(e.ctx, bytes.Clone(wrapped), maps.Clone(kc)); err == nil || len(out) > 0 {
				e.Errorf("Unwrap still works when the service is %s: the provider keeps answers", mode)
			}
			undo()
			e.recovers(wrapped, kc, secret)
			return
		}
	}
	e.Skip("no Fault given that refuses calls")
}

// answered is how long a call may take that is answered.
const answered = 20 * time.Second

// testRefusal: what the service says is told apart, and is over when it is over.
func testRefusal(e *env, mode Mode, want error, own bool) {
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	undo := e.enter(mode)
	e.settle(wrapped, kc, answered)
	for name, do := range e.calls(wrapped, kc) {
		ctx, cancel := context.WithTimeout(e.ctx, answered)
		out, err := e.leaves(ctx, name, do)
		cancel()
		e.fails(name, out, err, want)
		if err != nil && own && e.serviceError != nil && !e.serviceError(err) {
			e.Errorf("%s: the service's own error is not in %v", name, err)
		}
	}
	undo()
	e.recovers(wrapped, kc, secret)
}

// recovers waits until a service that is sound again is used again.
func (e *env) recovers(wrapped []byte, kc kmsprovider.Context, secret []byte) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, 20*time.Second)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		got, err := e.kms.Unwrap(ctx, bytes.Clone(wrapped), maps.Clone(kc))
		if err == nil && bytes.Equal(got, secret) {
			return
		}
		if err == nil {
			e.Fatal("Unwrap returned another key after the service was sound again: the provider keeps answers")
		}
		// A connection may just be made anew. A refusal is a refusal.
		if !kmsprovider.Retryable(err) {
			e.Fatalf("Unwrap after the service was sound again: %v", err)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			e.Fatalf("Unwrap after the service was sound again: %v", err)
		}
	}
}

// testLie: wrong bytes don't get into a ring, and out of nothing that was kept.
func testLie(e *env, mode Mode) {
	name, store := "kmstest-"+hex.EncodeToString(key(5)), keyring.NewMemoryStore()
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	ring, pin, err := keyring.Create(e.ctx, name, store, e.kms, nil)
	if err != nil {
		e.Fatal(err)
	}
	defer ring.Close()
	undo := e.enter(mode)
	if got, err := e.kms.Unwrap(e.ctx, bytes.Clone(wrapped), maps.Clone(kc)); err == nil && bytes.Equal(got, secret) {
		e.Errorf("Unwrap returned the right key: the provider mends what the service answers, or the service does not lie")
	}
	refused := func(call string, err error) {
		e.Helper()
		switch {
		case err == nil:
			e.Errorf("%s: no error, and the service lies", call)
		case kmsprovider.Retryable(err):
			e.Errorf("%s: error %v, which may be tried again", call, err)
		}
	}
	opened, err := keyring.Open(e.ctx, name, store, e.kms, pin, nil)
	refused("keyring.Open", err)
	if err == nil {
		opened.Close()
	}
	created, _, err := keyring.Create(e.ctx, name+"-2", store, e.kms, nil)
	refused("keyring.Create", err)
	if err == nil {
		created.Close()
	}
	if _, err := store.Load(e.ctx, name+"-2"); !errors.Is(err, keyring.ErrNotFound) {
		e.Errorf("keyring.Create has stored a ring: %v", err)
	}
	if _, err := ring.Rotate(e.ctx, keyring.Data, nil); err == nil {
		e.Error("keyring.Rotate: no error, and the service lies")
	}
	undo()
	e.recovers(wrapped, kc, secret)
	again, err := keyring.Open(e.ctx, name, store, e.kms, pin, nil)
	if err != nil {
		e.Fatalf("keyring.Open after the service was sound again: %v", err)
	}
	defer again.Close()
	if _, err := again.Primary(e.ctx, keyring.Data); err != nil {
		e.Errorf("Primary after the service was sound again: %v", err)
	}
}
