package kmstest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
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

// testMangled: no answer makes a provider panic, or return bytes and an error. Which
// error it is nobody can say.
func testMangled(e *env) {
	if e.proxy == nil {
		e.Skip("no Proxy given that changes answers")
	}
	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	try := func(what string, mangle func(answer *httptest.ResponseRecorder)) {
		e.proxy.mangle.Store(&mangle)
		defer e.proxy.mangle.Store(nil)
		for name, do := range e.calls(wrapped, kc) {
			ctx, cancel := context.WithTimeout(e.ctx, answered)
			defer cancel()
			func() {
				defer func() {
					if r := recover(); r != nil {
						e.Errorf("%s panics at %s: %v", name, what, r)
					}
				}()
				if out, err := do(ctx); err != nil && len(out) > 0 {
					e.Errorf("%s at %s: %d bytes and the error %v", name, what, len(out), err)
				}
			}()
		}
	}
	statuses := []int{200, 400, 401, 403, 404, 429, 500}
	if short() {
		statuses = []int{200, 401, 500}
	}
	for _, status := range statuses {
		for _, body := range []string{"", "null", "{}", "[]", `"x"`, "0", `{"errors":null}`, `{"error":null}`, `{"data":null}`, strings.Repeat("[", 100_000), "\x00\x00\x00\x00\x00", "\xff\xfe"} {
			try(fmt.Sprintf("status %d with %.20q", status, body), func(a *httptest.ResponseRecorder) {
				a.Code = status
				a.Body.Reset()
				a.Body.WriteString(body)
			})
		}
		try(fmt.Sprintf("status %d with another's body", status), func(a *httptest.ResponseRecorder) { a.Code = status })
	}
	for _, challenge := range []string{"", "Bearer", `Bearer authorization="x", resource="https://x"`, `Basic realm="x"`} {
		try("the challenge "+challenge, func(a *httptest.ResponseRecorder) {
			a.Code = 401
			a.Header().Set("WWW-Authenticate", challenge)
		})
	}
	for range 50 {
		at, to := rand.Int(), byte(rand.Int())
		try(fmt.Sprintf("an answer with a byte that is %#x", to), func(a *httptest.ResponseRecorder) {
			if b := a.Body.Bytes(); len(b) > 0 {
				b[at%len(b)] = to
			}
		})
	}
	e.recovers(wrapped, kc, secret)
}
