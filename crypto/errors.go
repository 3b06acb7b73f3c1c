package crypto

import (
	"errors"
	"fmt"
)

// What callers branch on. Errors of this package wrap one of these and never
// hold a key or a plaintext.
var (
	// ErrTampered: the bytes were changed, or were sealed for another place or
	// with another key under the same id.
	ErrTampered = errors.New("ciphertext was changed or belongs elsewhere")
	// ErrTruncated: the bytes are too short to be a ciphertext of their suite.
	// It is also an ErrTampered.
	ErrTruncated = fmt.Errorf("%w: truncated", ErrTampered)
	// ErrMalformed: text that starts like our text form and isn't canonical.
	// It is also an ErrTampered.
	ErrMalformed = fmt.Errorf("%w: malformed text form", ErrTampered)
	// ErrNotEncrypted: the bytes don't start like a ciphertext.
	ErrNotEncrypted = errors.New("not encrypted")
	// ErrUnknownKey: the ciphertext names another key.
	ErrUnknownKey = errors.New("unknown key")
	// ErrNotApproved: the algorithm isn't approved and FIPS 140 mode is enforced
	// (GODEBUG=fips140=only).
	ErrNotApproved = errors.New("not allowed while FIPS 140 mode is enforced")
	// ErrWiped: the key was wiped.
	ErrWiped = errors.New("key was wiped")
	// ErrInvalidKey: wrong size, zero id, or all-zero key bytes.
	ErrInvalidKey = errors.New("invalid key")
	// ErrExhausted: the key has sealed as many messages as it may. Rotate.
	ErrExhausted = errors.New("key has sealed as many messages as it may")
	// ErrTooLarge: the plaintext is above [MaxPlaintext].
	ErrTooLarge = errors.New("plaintext is too large")
	// ErrContext: a context with duplicate or too long parts, or bytes that
	// aren't a context.
	ErrContext = errors.New("invalid context")
)
