package crypto

import "fmt"

// A Suite is a whole: algorithm, frame and bounds, named once and tied to a key.
type Suite uint8

const (
	// Default is XAES-256-GCM (C2SP) with a 12-byte salt and a key commitment
	// inside. Overhead 77 bytes. No message counting; two keys never open the
	// same ciphertext.
	Default Suite = iota + 1
	// Compact is AES-256-GCM with random nonces (NIST SP 800-38D). Overhead 33
	// bytes. It commits to nothing, and a key must be rotated long before 2^32
	// messages.
	Compact
	// Deterministic is AES-256-SIV (RFC 5297). Overhead 21 bytes. Equal values
	// make equal ciphertexts, which is its use and its cost. Not FIPS-approved.
	Deterministic
)

const (
	prefixSize = 5 // 0x01 and the key id, as in Tink
	saltSize   = 12
	nonceSize  = 12
	tagSize    = 16
	sivSize    = 16
	commitSize = 32
)

// MaxPlaintext is the largest plaintext in bytes: what one AES-GCM message
// holds, less the commitment (64 GiB - 64 B). It is typed because it doesn't fit
// the int of 32-bit machines.
const MaxPlaintext int64 = ((1<<32)-2)*16 - commitSize

type suiteInfo struct {
	name                        string
	keySize, overhead, headroom int
}

var suites = [...]suiteInfo{
	Default:       {"xaes-256-gcm", 32, prefixSize + saltSize + nonceSize + commitSize + tagSize, prefixSize + saltSize + nonceSize + commitSize},
	Compact:       {"aes-256-gcm", 32, prefixSize + nonceSize + tagSize, prefixSize + nonceSize},
	Deterministic: {"aes-256-siv", 64, prefixSize + sivSize, prefixSize + sivSize},
}

func (s Suite) valid() bool { return s >= Default && s <= Deterministic }

// String returns the suite's permanent name: "xaes-256-gcm", "aes-256-gcm" or
// "aes-256-siv".
func (s Suite) String() string {
	if !s.valid() {
		return fmt.Sprintf("Suite(%d)", uint8(s))
	}
	return suites[s].name
}

// KeySize returns the key's length in bytes (32, or 64 for Deterministic), 0
// for an unknown suite.
func (s Suite) KeySize() int {
	if !s.valid() {
		return 0
	}
	return suites[s].keySize
}

// Overhead returns how many bytes a ciphertext is longer than its plaintext:
// 77, 33 or 21; 0 for an unknown suite.
func (s Suite) Overhead() int {
	if !s.valid() {
		return 0
	}
	return suites[s].overhead
}

// Headroom returns how many of the overhead's bytes precede the plaintext: 61, 17
// or 21; 0 for an unknown suite. The rest is a tag behind it. A plaintext that lies
// that far behind the end of dst is sealed where it is, see [Key.Seal].
func (s Suite) Headroom() int {
	if !s.valid() {
		return 0
	}
	return suites[s].headroom
}

// ParseSuite is the inverse of String.
func ParseSuite(name string) (Suite, error) {
	for s := Default; s <= Deterministic; s++ {
		if suites[s].name == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("crypto: unknown suite %q", name)
}
