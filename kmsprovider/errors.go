package kmsprovider

import (
	"context"
	"errors"
)

// What callers branch on. Drivers wrap one of these and the service's own error.
var (
	// ErrRejected: the wrapped key or its context was not accepted. It was
	// changed, belongs to another KEK, or was bound to another context.
	ErrRejected = errors.New("wrapped key or context was not accepted")
	// ErrNotFound: the KEK does not exist (any more).
	ErrNotFound = errors.New("key-encryption key not found")
	// ErrDenied: the credentials or the passphrase don't allow the call.
	ErrDenied = errors.New("access to the key-encryption key was denied")
	// ErrDisabled: the KEK exists and is switched off or scheduled for deletion.
	ErrDisabled = errors.New("key-encryption key is disabled")
	// ErrWrongAnswer: the service answered for another KEK than the one asked. It,
	// or what stands in its place, is not to be trusted: look into it.
	ErrWrongAnswer = errors.New("key management service gave a wrong answer")
	// ErrUnavailable: the service could not be reached, did not answer in time, or
	// what came back was no whole answer of it (a proxy's page, a bad checksum).
	ErrUnavailable = errors.New("key management service is unavailable")
	// ErrThrottled: the service asks to come back later.
	ErrThrottled = errors.New("key management service is throttling")
)

// Retryable reports whether the same call may succeed later without anybody
// changing anything: ErrUnavailable, ErrThrottled, and
// context.DeadlineExceeded, which says that no answer came in time and nothing
// about the key. Whether the caller's own context still has time is for the
// caller to look at.
//
// An error that also wraps a final answer (rejected, not found, denied,
// disabled, wrong) isn't retryable: a cache must not go on serving a key that the
// service refused. Neither are context.Canceled (the caller left) and errors
// that wrap nothing of this package.
func Retryable(err error) bool {
	for _, final := range []error{ErrRejected, ErrNotFound, ErrDenied, ErrDisabled, ErrWrongAnswer} {
		if errors.Is(err, final) {
			return false
		}
	}
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrThrottled) ||
		errors.Is(err, context.DeadlineExceeded)
}
