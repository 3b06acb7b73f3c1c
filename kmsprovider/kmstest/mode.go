package kmstest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/structseal/structseal/kmsprovider"
)

// A Mode is a state that a service, or the way to it, can be in. Its value is the
// name of the subtest.
type Mode string

// What the service answers to every call for the KEK. Providers return the error
// that is named.
const (
	NotFound        Mode = "NotFound"        // the KEK was deleted: ErrNotFound
	Denied          Mode = "Denied"          // no permission: ErrDenied
	Disabled        Mode = "Disabled"        // the KEK is disabled: ErrDisabled
	PendingDeletion Mode = "PendingDeletion" // ... or scheduled for deletion: ErrDisabled
	Unavailable     Mode = "Unavailable"     // an internal error of the service: ErrUnavailable
	Throttled       Mode = "Throttled"       // too many calls: ErrThrottled
)

// What an outage or a thing in between does, whatever the service is. Providers
// return ErrUnavailable, without having read more than about a megabyte.
const (
	HungUp          Mode = "HungUp"          // the connection is closed without an answer
	BadGateway      Mode = "BadGateway"      // status 502, a page in HTML
	Blocked         Mode = "Blocked"         // status 403, a page in HTML: a proxy that lets nobody through
	HTMLAnswer      Mode = "HTMLAnswer"      // status 200, a page in HTML: a captive portal, a login page
	TruncatedAnswer Mode = "TruncatedAnswer" // the first half of the right answer
	HugeAnswer      Mode = "HugeAnswer"      // the first half, and then the same letter without end
	BadCertificate  Mode = "BadCertificate"  // a certificate of an unknown authority
	WrongHost       Mode = "WrongHost"       // a certificate of a trusted one, for another host
	WrongChecksum   Mode = "WrongChecksum"   // an answer that doesn't fit its own checksum
)

// The service does not end its answer. Calls return soon after their context.
const (
	Silent     Mode = "Silent"     // it accepts calls and never answers
	SlowAnswer Mode = "SlowAnswer" // it drips an answer that doesn't end
)

// The service lies. WrongKeyID is for the provider to notice: it answers with the
// right bytes and says that another KEK did it; ErrWrongAnswer. The others answer
// Unwrap with wrong bytes, as a service run by somebody else may; a provider can't
// know, and a keyring notices it, if the provider passes on what it got or fails.
const (
	WrongKeyID Mode = "WrongKeyID" // of the right bytes
	OtherBytes Mode = "OtherBytes" // right length, another tenant's key
	ZeroBytes  Mode = "ZeroBytes"  // right length, all of them zero
	Length0    Mode = "Length0"    // no bytes
	Length16   Mode = "Length16"   // the first 16 of the right bytes
	Length31   Mode = "Length31"   // all but the last one
	Length33   Mode = "Length33"   // one more than the right ones
)

// refusals are the modes in which every call fails, and how.
var refusals = []struct {
	mode Mode
	want error
	// own: the service's own error must be reachable.
	own bool
}{
	{Unavailable, kmsprovider.ErrUnavailable, true},
	{NotFound, kmsprovider.ErrNotFound, true},
	{Denied, kmsprovider.ErrDenied, true},
	{Disabled, kmsprovider.ErrDisabled, true},
	{PendingDeletion, kmsprovider.ErrDisabled, true},
	{Throttled, kmsprovider.ErrThrottled, true},
	{HungUp, kmsprovider.ErrUnavailable, false},
	{BadGateway, kmsprovider.ErrUnavailable, false},
	{Blocked, kmsprovider.ErrUnavailable, false},
	{HTMLAnswer, kmsprovider.ErrUnavailable, false},
	{TruncatedAnswer, kmsprovider.ErrUnavailable, false},
	{HugeAnswer, kmsprovider.ErrUnavailable, false},
	{BadCertificate, kmsprovider.ErrUnavailable, false},
	{WrongHost, kmsprovider.ErrUnavailable, false},
	{WrongChecksum, kmsprovider.ErrUnavailable, false},
	{WrongKeyID, kmsprovider.ErrWrongAnswer, false},
}

var endless = []Mode{Silent, SlowAnswer}

var lies = []Mode{OtherBytes, ZeroBytes, Length0, Length16, Length31, Length33}

// Modes returns all modes, in the order in which they are tested.
func Modes() []Mode {
	var all []Mode
	for _, r := range refusals {
		all = append(all, r.mode)
	}
	return append(append(all, endless...), lies...)
}

// Lie returns what the service answers in mode in place of secret: the server's
// side of OtherBytes, ZeroBytes and the lengths. In other modes it is secret.
func (m Mode) Lie(secret []byte) []byte {
	switch out := slices.Clone(secret); m {
	case OtherBytes:
		for i := range out {
			out[i] ^= 0x5a
		}
		return out
	case ZeroBytes:
		clear(out)
		return out
	case Length0:
		return nil
	case Length16:
		return out[:min(16, len(out))]
	case Length31:
		return out[:max(len(out)-1, 0)]
	case Length33:
		return append(out, 1)
	default:
		return out
	}
}

// An Option adds to what [Run] tests. The functions of this package that return
// one are all there are.
type Option func(*config)

// Fault tells how the service is put into a mode, for every provider that is or
// will be opened. undo brings back what was before; both are called by the test
// alone, while no call is under way.
func Fault(mode Mode, set func(t *testing.T) (undo func())) Option {
	return func(c *config) { c.faults[mode] = set }
}

// Faults is Fault for several modes of a service that a function puts into each, and
// that it makes sound again when it is given "".
func Faults(set func(Mode), modes ...Mode) []Option {
	var out []Option
	for _, m := range modes {
		out = append(out, Fault(m, func(*testing.T) func() {
			set(m)
			return func() { set("") }
		}))
	}
	return out
}

// Lacks names modes that the service can't be put into, and why. Their subtests are
// skipped. A Fault that is given for one of them counts more.
func Lacks(reason string, modes ...Mode) Option {
	return func(c *config) {
		for _, m := range modes {
			c.lacks[m] = reason
		}
	}
}

// ServiceError tests that the error of the service or its SDK can be reached by
// errors.Is and errors.As where the service has answered with one: is looks for it.
func ServiceError(is func(err error) bool) Option {
	return func(c *config) { c.serviceError = is }
}

// Secrets adds what must not be printed: the credentials that the providers have.
// The suite hunts for the keys that it wraps by itself.
func Secrets(secrets ...string) Option {
	return func(c *config) {
		for _, s := range secrets {
			c.secrets = append(c.secrets, []byte(s))
		}
	}
}

// enter puts the service into mode, or skips the subtest.
func (e *env) enter(mode Mode) (undo func()) {
	e.Helper()
	if set := e.faults[mode]; set != nil {
		undo := sync.OnceFunc(set(e.T))
		e.Cleanup(undo)
		return undo
	}
	if reason, ok := e.lacks[mode]; ok {
		e.Skipf("%s: %s", mode, reason)
	}
	e.Fatalf("nothing is said about %s: give Fault(%s, ...), or Lacks(reason, %s) if the service can't be put into it", mode, mode, mode)
	return nil
}

// skippedModes lists what Lacks has skipped.
func (c *config) skippedModes() string {
	var out []string
	for _, m := range Modes() {
		if c.faults[m] == nil && c.lacks[m] != "" {
			out = append(out, fmt.Sprintf("%s (%s)", m, c.lacks[m]))
		}
	}
	return strings.Join(out, ", ")
}
