package keyring

import (
	"fmt"
	"time"
)

// A State is where a key is in its life. Its text form is permanent.
//
//	pending -> primary -> enabled -> disabled -> destroying -> destroyed
type State uint8

const (
	// Pending keys are published and resolve, and nothing is written with them
	// yet. Text "pending".
	Pending State = iota + 1
	// Primary is the one key of its purpose that new ciphertexts use. Text
	// "primary".
	Primary
	// Enabled keys open what was written with them. Text "enabled".
	Enabled
	// Disabled keys resolve to ErrKeyDisabled and can be enabled again. Text
	// "disabled".
	Disabled
	// Destroying keys are disabled and will lose their wraps. Text "destroying".
	Destroying
	// Destroyed keys have no wraps; their ids are never used again. Text
	// "destroyed".
	Destroyed
)

var states = [...]string{
	Pending:    "pending",
	Primary:    "primary",
	Enabled:    "enabled",
	Disabled:   "disabled",
	Destroying: "destroying",
	Destroyed:  "destroyed",
}

func (s State) valid() bool { return s >= Pending && s <= Destroyed }

// usable reports whether keys in s resolve. Pending ones do: a process that has
// not yet seen a promotion must open what others write with the new primary.
func (s State) usable() bool { return s >= Pending && s <= Enabled }

// String returns the text form, or "State(n)" for an unknown one.
func (s State) String() string {
	if !s.valid() {
		return fmt.Sprintf("State(%d)", uint8(s))
	}
	return states[s]
}

// MarshalText returns the text form.
//
// Errors: ErrCorrupt for an unknown state.
func (s State) MarshalText() ([]byte, error) {
	if !s.valid() {
		return nil, fmt.Errorf("keyring: %w: unknown state", ErrCorrupt)
	}
	return []byte(s.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
//
// Errors: ErrCorrupt for an unknown state.
func (s *State) UnmarshalText(text []byte) error {
	for c := Pending; c <= Destroyed; c++ {
		if states[c] == string(text) {
			*s = c
			return nil
		}
	}
	return fmt.Errorf("keyring: %w: unknown state %q", ErrCorrupt, text)
}

// KeyInfo describes a key of the ring. It holds no secret.
type KeyInfo struct {
	ID      uint32 // Tink key id: what ciphertexts name
	Purpose Purpose
	Suite   string // crypto.Suite's name, or "hmac-sha256" for index and mac
	State   State
	Created time.Time // UTC, whole seconds
	Changed time.Time // when State was last set; UTC, whole seconds

	// Messages is how many messages the key may have sealed at most, by all
	// processes together: what they have reserved. Compact suite only.
	Messages uint64

	KEKs []string // IDs of the key-encryption keys that wrap it
}
