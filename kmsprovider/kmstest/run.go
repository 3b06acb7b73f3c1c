package kmstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

type config struct {
	open, other  func(t *testing.T) kmsprovider.Provider
	faults       map[Mode]func(t *testing.T) func()
	lacks        map[Mode]string
	serviceError func(error) bool
	secrets      [][]byte
	proxy        *Proxy          // nil: none that counts
	broken       map[string]bool // promises, and what stands on them
}

// Run tests a provider. Each call of open returns a provider for one and the same
// KEK, with connections of its own where it has some; what one wraps all must
// unwrap. (A provider without connections returns itself every time.) other returns
// one for another KEK of the same service. Both fail the test when they can't; they
// may call t.Cleanup.
//
// About 4,000 calls are made (with -short or -race: 2,000), with contexts whose ring
// begins with "kmstest-". Nothing is left in the service. Nothing else should log
// meanwhile: while Secrets runs, package log and the default slog.Logger write to the
// suite.
func Run(t *testing.T, open, other func(t *testing.T) kmsprovider.Provider, opts ...Option) {
	t.Helper()
	c := config{open: open, other: other, faults: make(map[Mode]func(*testing.T) func()), lacks: make(map[Mode]string), broken: make(map[string]bool)}
	for _, o := range opts {
		o(&c)
	}
	for _, p := range promises() {
		ok := t.Run(p.name, func(t *testing.T) {
			for _, need := range p.needs {
				if c.broken[need] {
					c.broken[p.name] = true
					t.Skipf("stands on %s, which does not hold", need)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			p.test(&env{T: t, config: &c, ctx: ctx, kms: open(t)})
		})
		if !ok {
			c.broken[p.name] = true
		}
	}
	if skipped := c.skippedModes(); skipped != "" {
		t.Logf("modes that were not tested: %s", skipped)
	}
}

// patience bounds a subtest: a provider that hangs fails instead.
const patience = 2 * time.Minute

// A promise is something that the interface says, and its test.
type promise struct {
	name  string
	test  func(*env)
	needs []string // promises without which this test says nothing
}

// promises are in the order in which they are tested: needs come first.
func promises() []promise {
	all := []promise{
		{"ID", testID, nil},
		{"RoundTrip", testRoundTrip, nil},
		{"Arguments", testArguments, []string{"RoundTrip"}},
		{"Results", testResults, []string{"Arguments"}},
		{"Hidden", testHidden, []string{"RoundTrip"}},
		{"Flipped", testFlipped, []string{"RoundTrip"}},
		{"Cut", testCut, []string{"RoundTrip"}},
		{"Context", testContext, []string{"RoundTrip"}},
		{"OtherKey", testOtherKey, []string{"RoundTrip"}},
		{"ServiceError", testServiceError, []string{"Flipped"}},
		{"Concurrent", testConcurrent, []string{"Results"}},
		{"Ended", testEnded, []string{"RoundTrip"}},
		{"Left", testLeft, []string{"Concurrent", "Ended"}},
		{"NothingKept", testNothingKept, []string{"RoundTrip"}},
	}
	for _, r := range refusals {
		all = append(all, promise{string(r.mode), func(e *env) { testRefusal(e, r.mode, r.want, r.own) }, []string{"NothingKept"}})
	}
	all = append(all,
		promise{"OneAttempt", testOneAttempt, []string{"NothingKept"}},
		promise{"Connections", testConnections, []string{"NothingKept"}},
		promise{"Mangled", testMangled, []string{"NothingKept"}})
	for i, m := range endless {
		needs := []string{"NothingKept"}
		for _, before := range endless[:i] {
			needs = append(needs, string(before))
		}
		all = append(all, promise{string(m), func(e *env) { testEndless(e, m) }, needs})
	}
	for _, m := range lies {
		all = append(all, promise{string(m), func(e *env) { testLie(e, m) }, []string{"ID", "NothingKept", "Arguments", "Results"}})
	}
	return append(all, promise{"Secrets", testSecrets, []string{"RoundTrip"}})
}

// env is what a subtest works with.
type env struct {
	*testing.T
	*config
	ctx context.Context
	kms kmsprovider.Provider
}

// short reports whether the large tests shall be small.
func short() bool { return testing.Short() || raceDetector }

// key returns a fresh key of n bytes.
func key(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// ring returns a context like those that a keyring makes, of a ring of its own.
func ring() kmsprovider.Context {
	return kmsprovider.Context{
		"structseal-ring":    "kmstest-" + hex.EncodeToString(key(5)),
		"structseal-key":     "0a1b2c3d",
		"structseal-purpose": "data",
		"structseal-suite":   "xaes-256-gcm",
	}
}

// wrap, unwraps and rejects give copies: only testArguments asks what becomes of
// arguments.
func (e *env) wrap(kms kmsprovider.Provider, secret []byte, kc kmsprovider.Context) []byte {
	e.Helper()
	wrapped, err := kms.Wrap(e.ctx, bytes.Clone(secret), maps.Clone(kc))
	if err != nil {
		e.Fatalf("Wrap of %d bytes: %v", len(secret), err)
	}
	if len(wrapped) == 0 {
		e.Fatalf("Wrap of %d bytes returned none", len(secret))
	}
	return wrapped
}

// unwraps checks that wrapped opens to secret.
func (e *env) unwraps(kms kmsprovider.Provider, wrapped []byte, kc kmsprovider.Context, secret []byte) {
	e.Helper()
	got, err := kms.Unwrap(e.ctx, bytes.Clone(wrapped), maps.Clone(kc))
	if err != nil {
		e.Fatalf("Unwrap of a key of %d bytes: %v", len(secret), err)
	}
	if !bytes.Equal(got, secret) {
		e.Fatalf("Unwrap of a key of %d bytes returned %d other ones", len(secret), len(got))
	}
}

// rejects checks that wrapped doesn't open, for ever.
func (e *env) rejects(kms kmsprovider.Provider, what string, wrapped []byte, kc kmsprovider.Context) {
	e.Helper()
	secret, err := kms.Unwrap(e.ctx, bytes.Clone(wrapped), maps.Clone(kc))
	e.fails("Unwrap of "+what, secret, err, kmsprovider.ErrRejected)
}

// fails checks how a call has failed.
func (e *env) fails(call string, out []byte, err, want error) {
	e.Helper()
	if err == nil {
		e.Errorf("%s: no error, want %q", call, want)
		return
	}
	if len(out) > 0 {
		e.Errorf("%s: %d bytes and an error", call, len(out))
	}
	if !errors.Is(err, want) {
		e.Errorf("%s: error %v, want %q", call, err, want)
	}
	for _, class := range classes {
		if class != want && errors.Is(err, class) {
			e.Errorf("%s: error %v, which is also %q", call, err, class)
		}
	}
	if want := kmsprovider.Retryable(want); kmsprovider.Retryable(err) != want {
		e.Errorf("%s: Retryable(%v) = %v", call, err, !want)
	}
}

var classes = []error{
	kmsprovider.ErrRejected, kmsprovider.ErrNotFound, kmsprovider.ErrDenied, kmsprovider.ErrDisabled,
	kmsprovider.ErrWrongAnswer, kmsprovider.ErrUnavailable, kmsprovider.ErrThrottled,
}
