package kmstest

import (
	"bytes"
	"context"
	"maps"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

// testOneAttempt: a call that fails is not repeated. Who has retries of his own has
// them turned off, as package keyring does.
func testOneAttempt(e *env) {
	if e.proxy == nil {
		e.Skip("no Proxy given that counts requests")
	}
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	if r, ok := e.kms.(interface{ WithoutRetry() kmsprovider.Provider }); ok {
		e.kms = r.WithoutRetry()
	}
	for _, mode := range []Mode{Unavailable, Throttled, BadGateway} {
		if e.faults[mode] == nil || e.broken[string(mode)] {
			continue
		}
		undo := e.enter(mode)
		e.settle(wrapped, kc, answered)
		for name, do := range e.calls(wrapped, kc) {
			ctx, cancel := context.WithTimeout(e.ctx, answered)
			before := e.proxy.requests.Load()
			_, err := e.leaves(ctx, name, do)
			cancel()
			if n := e.proxy.requests.Load() - before; n > 1 {
				e.Errorf("%s when the service is %s: %d requests, want 1; then error %v", name, mode, n, err)
			}
		}
		undo()
	}
	e.recovers(wrapped, kc, secret)
}

// testConnections: calls, failed ones too, leave no connections behind.
func testConnections(e *env) {
	if e.proxy == nil {
		e.Skip("no Proxy given that counts connections")
	}
	const calls, spare = 30, 5
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	check := func(what string, call func()) {
		e.Helper()
		call()
		before := e.proxy.connections.Load()
		for range calls {
			call()
		}
		poll := time.NewTicker(10 * time.Millisecond)
		defer poll.Stop()
		for begin := time.Now(); ; <-poll.C {
			more := e.proxy.connections.Load() - before
			if more <= spare {
				return
			}
			if time.Since(begin) > grace {
				e.Errorf("%d calls %s have left %d connections open", calls, what, more)
				return
			}
		}
	}
	bad := bytes.Clone(wrapped)
	bad[len(bad)/2] ^= 1
	check("that are answered", func() { e.unwraps(e.kms, wrapped, kc, secret) })
	check("that are rejected", func() { e.kms.Unwrap(e.ctx, bytes.Clone(bad), maps.Clone(kc)) })
	undo := e.enter(BadGateway)
	check("that are answered with a page", func() { e.kms.Unwrap(e.ctx, bytes.Clone(wrapped), maps.Clone(kc)) })
	undo()
	e.recovers(wrapped, kc, secret)
}
