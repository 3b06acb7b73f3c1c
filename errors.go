package structseal

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
)

// What callers branch on. Every error of the verbs wraps one of these, a
// [*TagError], an error of the caller's own marshaler, or the context's error.
var (
	// ErrTampered: a ciphertext was changed, cut, or moved from another ring,
	// record type, row or field.
	ErrTampered = crypto.ErrTampered
	// ErrNotEncrypted: plaintext where a ciphertext belongs.
	ErrNotEncrypted = crypto.ErrNotEncrypted
	// ErrEncrypted: the value already is this field's ciphertext.
	ErrEncrypted = errors.New("already encrypted")
	// ErrForeignCiphertext: the value is a ciphertext of this ring that belongs
	// to another place. Almost always a row that was loaded, had its id
	// changed, and was encrypted again without decrypting it first.
	ErrForeignCiphertext = errors.New("ciphertext of another place")
	// ErrUnknownKey: the ciphertext names a key that the ring doesn't have.
	ErrUnknownKey = crypto.ErrUnknownKey
	// ErrForgotten: the record's subject was forgotten: its fields can't be opened
	// any more, and nothing is sealed for it.
	ErrForgotten = keyring.ErrForgotten
	// ErrUnavailable: the key store or the KMS can't be reached. Retry.
	ErrUnavailable = keyring.ErrUnavailable
	// ErrNotApproved: the algorithm isn't FIPS-approved and GODEBUG=fips140=only
	// is set.
	ErrNotApproved = crypto.ErrNotApproved
	// ErrNoFields: the type has nothing to seal. Encrypting it would be a
	// silent no-op.
	ErrNoFields = errors.New("no sealed fields")
	// ErrUnbound: a bind field is empty, or a required Bind option is missing.
	// Sealing would not tie the value to its row.
	ErrUnbound = errors.New("empty bind value")
	// ErrAliased: the same pointer is reached twice in one record, or values
	// are nested deeper than 1,000 levels, as in a cycle.
	ErrAliased = errors.New("pointer reached twice")
	// ErrInvalidArgument: a nil ring, a nil pointer, a value that isn't a
	// struct, or an option that doesn't fit.
	ErrInvalidArgument = errors.New("invalid argument")
)

// A FieldError says where something failed. It never holds the value.
type FieldError struct {
	Op    string // "encrypt", "decrypt" or "re-encrypt"
	Type  string // Go type that has the field, "main.Customer"
	Field string // Go name of the field
	Label string // path of labels from the record, "customer.lines[2/3].note"
	KeyID uint32 // key that the ciphertext names, 0 if none
	Err   error
}

func (e *FieldError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "structseal: %s %s", e.Op, e.Type)
	if e.Field != "" {
		b.WriteString("." + e.Field)
	}
	if e.Label != "" {
		fmt.Fprintf(&b, " (%s)", e.Label)
	}
	if e.KeyID != 0 {
		fmt.Fprintf(&b, ": key %08x", e.KeyID)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

// A TagError is a tag that can't be used. It is found before any data moves;
// [Check] finds all of a type.
type TagError struct {
	Type   string // Go type that has the field
	Field  string // Go name of the field, "" for the type as a whole
	Tag    string // the raw struct tag
	Reason string // what is wrong and what to do
	Err    error  // a sentinel (ErrNoFields), or nil
}

func (e *TagError) Error() string {
	var b strings.Builder
	b.WriteString("structseal: " + e.Type)
	if e.Field != "" {
		b.WriteString("." + e.Field)
	}
	if e.Tag != "" {
		fmt.Fprintf(&b, " `%s`", e.Tag)
	}
	b.WriteString(": " + e.Reason)
	return b.String()
}

// Unwrap returns the sentinel, if there is one.
func (e *TagError) Unwrap() error { return e.Err }

// A RecordError says which record of a slice or sequence failed.
type RecordError struct {
	Index int // position in the input, from 0
	Err   error
}

func (e *RecordError) Error() string { return fmt.Sprintf("record %d: %v", e.Index, e.Err) }

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// remedies are appended to errors whose cause the reader can mend.
var (
	errEncryptedAgain = fmt.Errorf("%w: decrypt the record before encrypting it again", ErrEncrypted)
	errForeign        = fmt.Errorf("%w: decrypt the row under its old bind values first, or pass Literal if this text is data", ErrForeignCiphertext)
	errEmptyBind      = fmt.Errorf("%w: set it before encrypting; ids that the database makes come too late, a UUID made by the program doesn't", ErrUnbound)
	errPlaintext      = fmt.Errorf("%w: encrypt the row, or pass AllowPlaintext while migrating", ErrNotEncrypted)
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("structseal: %w: %s", ErrInvalidArgument, fmt.Sprintf(format, args...))
}

func typeName(t reflect.Type) string {
	if t == nil {
		return "nil"
	}
	return t.String()
}
