package keyring

import (
	"fmt"

	"github.com/structseal/structseal/crypto"
)

// A Purpose says what a key is for. A key serves one purpose for life. Its text
// form is permanent.
type Purpose uint8

const (
	// Data keys encrypt fields. Text "data".
	Data Purpose = iota + 1
	// Deterministic keys encrypt fields whose equality must show. Text
	// "deterministic".
	Deterministic
	// SubjectWrap keys wrap the keys of subjects. Text "subject-wrap".
	SubjectWrap
	// HashSubjects is the one key under which subjects are hashed, for life; see
	// [SubjectHash]. Text "subject-hash".
	HashSubjects
	// Index keys are the root of the blind-index keys; see
	// [Keyring.BlindIndexKey]. Text "index".
	Index
	// MAC keys authenticate the ring's record and never leave this package.
	// Text "mac".
	MAC
)

// suiteHMAC is the suite of keys that no crypto.Suite describes.
const suiteHMAC = "hmac-sha256"

var purposes = [...]struct {
	name   string
	suites []string // that fit; the first one is the default
}{
	Data:          {"data", []string{crypto.Default.String(), crypto.Compact.String()}},
	Deterministic: {"deterministic", []string{crypto.Deterministic.String()}},
	SubjectWrap:   {"subject-wrap", []string{crypto.Default.String()}},
	HashSubjects:  {"subject-hash", []string{suiteHMAC}},
	Index:         {"index", []string{suiteHMAC}},
	MAC:           {"mac", []string{suiteHMAC}},
}

func (p Purpose) valid() bool { return p >= Data && p <= MAC }

// hasKeys reports whether keys of p are handed out as *crypto.Key.
func (p Purpose) hasKeys() bool { return p >= Data && p <= SubjectWrap }

func (p Purpose) fits(suite string) bool {
	if !p.valid() {
		return false
	}
	for _, s := range purposes[p].suites {
		if s == suite {
			return true
		}
	}
	return false
}

// String returns the text form, or "Purpose(n)" for an unknown one.
func (p Purpose) String() string {
	if !p.valid() {
		return fmt.Sprintf("Purpose(%d)", uint8(p))
	}
	return purposes[p].name
}

// ParsePurpose is the inverse of String.
//
// Errors: ErrPurpose.
func ParsePurpose(s string) (Purpose, error) {
	for p := Data; p <= MAC; p++ {
		if purposes[p].name == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("keyring: %w: %q is none of data, deterministic, subject-wrap, subject-hash, index, mac", ErrPurpose, s)
}

// MarshalText returns the text form.
//
// Errors: ErrPurpose for an unknown purpose.
func (p Purpose) MarshalText() ([]byte, error) {
	if !p.valid() {
		return nil, fmt.Errorf("keyring: %w: %s", ErrPurpose, p)
	}
	return []byte(p.String()), nil
}

// UnmarshalText is ParsePurpose.
func (p *Purpose) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePurpose(string(text))
	return err
}

// keySize returns the length of a key of the suite in bytes.
func keySize(suite string) int {
	if s, err := crypto.ParseSuite(suite); err == nil {
		return s.KeySize()
	}
	return 32 // suiteHMAC
}

// checkLabel returns the purpose that crypto.Check takes: keys that a
// crypto.Key can hold are checked under their suite's name, as crypto.Key does.
func checkLabel(p Purpose, suite string) string {
	if p.hasKeys() {
		return suite
	}
	return p.String()
}
