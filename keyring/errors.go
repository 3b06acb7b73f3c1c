package keyring

import (
	"context"
	"errors"
	"fmt"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// What callers branch on. Errors of this package wrap one of these, name the
// ring, the key id and what to do, and never hold a secret.
var (
	// ErrName: not a ring name.
	ErrName = errors.New("invalid ring name")
	// ErrPurpose: no such purpose, or one that the call doesn't apply to.
	ErrPurpose = errors.New("purpose does not fit")
	// ErrSuite: a suite that doesn't fit the purpose.
	ErrSuite = errors.New("suite does not fit the purpose")
	// ErrExists: Create found a ring of that name.
	ErrExists = errors.New("ring already exists")
	// ErrNotFound: the store has no ring of that name. Stores return it.
	ErrNotFound = errors.New("ring not found")
	// ErrConflict: somebody else wrote first. Stores return it.
	ErrConflict = errors.New("ring was changed meanwhile")
	// ErrUnavailable: the store or the KMS can't be reached now. Errors of the
	// provider are wrapped too, so errors.Is finds kmsprovider.ErrThrottled.
	ErrUnavailable = errors.New("temporarily unavailable")
	// ErrStale: the store could not be asked for longer than OpenOptions.MaxStale,
	// so no key is used any more. It is also an ErrUnavailable.
	ErrStale = fmt.Errorf("%w: the ring's record is too old", ErrUnavailable)
	// ErrInsecure: the file store's directory or files may be used by others.
	ErrInsecure = errors.New("file permissions are too wide")
	// ErrFormat: a ring record of another version, or no ring record at all.
	ErrFormat = errors.New("not a ring record of a known version")
	// ErrCorrupt: a ring record that says it is of this version and isn't
	// canonical, complete and consistent.
	ErrCorrupt = errors.New("ring record is corrupt")
	// ErrTampered: a well-formed ring record whose MAC doesn't fit. It was
	// changed by somebody who doesn't hold the ring's MAC key.
	ErrTampered = errors.New("ring record is not authentic")
	// ErrRollback: the store went back to an older record than this process
	// has seen, or to another one of the same revision.
	ErrRollback = errors.New("ring record went back in time")
	// ErrNoPin: Open was called with the zero Pin.
	ErrNoPin = errors.New("no pin given")
	// ErrPin: not the text of a pin.
	ErrPin = errors.New("invalid pin")
	// ErrPinMismatch: the ring's MAC key isn't the one that the pin (or this
	// process's earlier look at the ring) says.
	ErrPinMismatch = errors.New("ring does not match its pin")
	// ErrWrongKEK: the provider's key-encryption key is none of those that the
	// ring is wrapped with.
	ErrWrongKEK = errors.New("ring is wrapped by another key-encryption key")
	// ErrUnreachable: removing a key-encryption key would leave a key that no other
	// one opens.
	ErrUnreachable = errors.New("no other key-encryption key opens the key")
	// ErrKeyCheck: what the KMS returned is not the key that the ring's record
	// describes: wrong length, all zero, or another check value. With BYOK the
	// tenant runs the KMS, so it isn't trusted to answer with the right key.
	ErrKeyCheck = errors.New("unwrapped key is not the key of the record")
	// ErrRewrap: a fresh wrap didn't unwrap to the same key. Nothing was stored.
	ErrRewrap = errors.New("fresh wrap does not open to the same key")
	// ErrUnknownKey: the ring has no key of that purpose under that id. It is
	// also a crypto.ErrUnknownKey.
	ErrUnknownKey = fmt.Errorf("ring has no such key: %w", crypto.ErrUnknownKey)
	// ErrKeyDisabled: the key exists and is disabled or being destroyed.
	ErrKeyDisabled = errors.New("key is disabled")
	// ErrKeyDestroyed: the key existed; its bytes are gone for good.
	ErrKeyDestroyed = errors.New("key is destroyed")
	// ErrForgotten: the subject was forgotten; what was sealed for it can't be
	// opened, and nothing is sealed for it unless it is revived.
	ErrForgotten = errors.New("subject is forgotten")
	// ErrLegalHold: OpenOptions.LegalHold forbids to forget the subject.
	ErrLegalHold = errors.New("subject is under legal hold")
	// ErrSubject: not a subject, or a store that keeps none.
	ErrSubject = errors.New("invalid subject")
	// ErrCertificate: a certificate that this ring didn't make, or that was
	// changed since.
	ErrCertificate = errors.New("certificate is not authentic")
	// ErrState: the change doesn't apply to a key in its state.
	ErrState = errors.New("key is in another state")
	// ErrTooEarly: a wait isn't over. A *WaitError says how long it lasts.
	ErrTooEarly = errors.New("too early")
	// ErrCensus: the census given doesn't prove that a key is unused.
	ErrCensus = errors.New("census proves nothing")
	// ErrInUse: the census found ciphertexts of the key.
	ErrInUse = errors.New("key is in use")
	// ErrActor: not an actor that a history can hold.
	ErrActor = errors.New("invalid actor")
	// ErrTooLarge: the ring would hold more than MaxKeys keys or MaxRecordSize
	// bytes.
	ErrTooLarge = errors.New("ring is too large")
	// ErrClosed: the Keyring was closed.
	ErrClosed = errors.New("keyring is closed")
)

// Every error gets its prefix once, where it leaves the package: ringError does
// that. Inside, keyError says which key.

func ringError(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("keyring: ring %.120q: %w", name, err)
}

func keyError(id keyID, err error) error {
	return fmt.Errorf("key %08x: %w", uint32(id), err)
}

// storeError classifies an error of a Store: what a store says with one of this
// package's errors stays what it is, everything else means that the store could
// not answer.
func storeError(err error) error {
	for _, known := range []error{ErrNotFound, ErrConflict, ErrCorrupt, ErrFormat, ErrInsecure, ErrTooLarge, ErrUnavailable, context.Canceled} {
		if errors.Is(err, known) {
			return fmt.Errorf("store: %w", err)
		}
	}
	return fmt.Errorf("store: %w: %w", ErrUnavailable, err)
}

// kmsError says which KMS call failed and whether it may be tried again.
func kmsError(call, kek string, err error) error {
	if kmsprovider.Retryable(err) {
		return fmt.Errorf("%s with %s: %w: %w", call, kek, ErrUnavailable, err)
	}
	return fmt.Errorf("%s with %s: %w", call, kek, err)
}

// waitError is what a caller gets whose own context ended first. Out of time
// means that the key could not be reached; a caller who left knows why.
func waitError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}
