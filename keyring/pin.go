package keyring

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
)

// PinPrefix opens the text form of a pin. The digit is the version of pins.
const PinPrefix = "ssp1."

// A Pin names the one MAC key that may authenticate a ring. Create returns it;
// keep its text ("ssp1." and 43 characters) with the program's configuration and
// hand it to Open. It is no secret, but whoever can change it can make the
// program accept another ring: keep it where the ring's store can't be written
// from. Pins compare with ==. The zero Pin is no pin.
type Pin struct {
	check [32]byte
	trust bool // TrustOnFirstUse
}

// TrustOnFirstUse makes Open accept whatever ring the store holds, as ssh does
// with a host it meets for the first time: whoever can write the store and call
// the KMS can put a ring of his own there. [Keyring.Pin] tells the pin to use
// from then on. It is meant for development.
var TrustOnFirstUse = Pin{trust: true}

// Strict refuses trailing bits; there is no padding.
var encoding = base64.RawURLEncoding.Strict()

// ParsePin is the inverse of String for pins. Every pin has exactly one text.
//
// Errors: ErrPin.
func ParsePin(text string) (Pin, error) {
	var p Pin
	body, ok := strings.CutPrefix(text, PinPrefix)
	if !ok {
		return Pin{}, fmt.Errorf("keyring: %w: a pin starts with %q", ErrPin, PinPrefix)
	}
	// The length check also refuses CR and LF, which package base64 skips.
	if len(body) != encoding.EncodedLen(len(p.check)) {
		return Pin{}, fmt.Errorf("keyring: %w: a pin has %d characters, not %d", ErrPin, len(PinPrefix)+encoding.EncodedLen(len(p.check)), len(text))
	}
	b, err := encoding.DecodeString(body)
	if err != nil || len(b) != len(p.check) {
		return Pin{}, fmt.Errorf("keyring: %w: not base64url", ErrPin)
	}
	copy(p.check[:], b)
	if p.IsZero() {
		return Pin{}, fmt.Errorf("keyring: %w: all zero", ErrPin)
	}
	return p, nil
}

// IsZero reports whether p is no pin.
func (p Pin) IsZero() bool { return p == Pin{} }

// String returns the text form; "trust-on-first-use" and "no-pin" for the two
// values that are no pins. ParsePin refuses both.
func (p Pin) String() string {
	switch {
	case p.trust:
		return "trust-on-first-use"
	case p.IsZero():
		return "no-pin"
	}
	return PinPrefix + encoding.EncodeToString(p.check[:])
}

// MarshalText returns the text form.
//
// Errors: ErrPin for the zero Pin and TrustOnFirstUse, which must not end up in
// a configuration by accident.
func (p Pin) MarshalText() ([]byte, error) {
	if p.trust || p.IsZero() {
		return nil, fmt.Errorf("keyring: %w: %s has no text form", ErrPin, p)
	}
	return []byte(p.String()), nil
}

// UnmarshalText is ParsePin.
func (p *Pin) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePin(string(text))
	return err
}

// accepts reports whether p admits the MAC key with this check value.
func (p Pin) accepts(check [32]byte) bool {
	return p.trust || subtle.ConstantTimeCompare(p.check[:], check[:]) == 1
}
