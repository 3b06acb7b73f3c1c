package structseal

import (
	"bytes"
	"database/sql/driver"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"time"

	"github.com/structseal/structseal/crypto"
)

// Sealed holds a T that is sealed by the verbs, for every type that can't hold
// its own ciphertext: integers, times, structs, json.RawMessage.
//
//	Born structseal.Sealed[time.Time] `seal:"born"`
//
// It holds either a value (after [Of] or Decrypt) or a ciphertext (after Encrypt
// or Scan) and is immutable; assigning copies it. The zero Sealed holds T's zero
// value. For a column that may be NULL use *Sealed[T].
//
// To the world outside it is its ciphertext: as a driver.Valuer, json.Marshaler
// and text or binary marshaler it refuses a value that isn't sealed
// (ErrNotEncrypted), so plaintext can't slip into a database or a response
// because Encrypt was forgotten. fmt, slog and printers that look into fields
// see no value either.
//
// Inside, values are text that other languages read: decimal integers, RFC 3339
// times with their offset (monotonic clock and zone name are dropped), MarshalText
// where a type has it, else JSON. [Check] refuses a T that would lose data:
// structs with unexported or `json:"-"` fields, interfaces, channels, functions.
//
// A Sealed is safe for concurrent reads. Compare with Equal, not == or
// reflect.DeepEqual.
type Sealed[T any] struct {
	// cell is a closure because printers that walk unexported fields can't look
	// into one; they follow pointers.
	cell func() *cell[T]
	ct   []byte // binary form; nil unless sealed
}

// cell is what an unsealed Sealed holds: a value, or text that was read from a
// column and is no ciphertext. The latter opens only with AllowPlaintext.
type cell[T any] struct {
	value T
	raw   []byte
}

// Of returns an unsealed Sealed that holds v. It doesn't copy what v points to.
func Of[T any](v T) Sealed[T] {
	c := &cell[T]{value: v}
	return Sealed[T]{cell: func() *cell[T] { return c }}
}

// Get returns the value.
//
// Errors: ErrEncrypted when it is sealed (decrypt the record first);
// ErrNotEncrypted when it was read from a column and is no ciphertext.
func (s Sealed[T]) Get() (T, error) {
	var zero T
	switch {
	case s.ct != nil:
		return zero, fmt.Errorf("structseal: %s: %w: decrypt the record first", s.name(), ErrEncrypted)
	case s.cell == nil:
		return zero, nil
	}
	c := s.cell()
	if c.raw != nil {
		return zero, fmt.Errorf("structseal: %s: %w", s.name(), ErrNotEncrypted)
	}
	return c.value, nil
}

// IsSealed reports whether it holds a ciphertext.
func (s Sealed[T]) IsSealed() bool { return s.ct != nil }

// IsZero reports whether it holds neither a ciphertext nor a value other than
// T's zero value (omitzero uses it).
func (s Sealed[T]) IsZero() bool {
	if s.ct != nil || s.cell == nil {
		return s.ct == nil
	}
	c := s.cell()
	v := reflect.ValueOf(&c.value).Elem()
	return c.raw == nil && v.IsZero()
}

// Equal reports whether both hold equal values (by T's Equal method, if it has
// one, else reflect.DeepEqual) or the same ciphertext. go-cmp uses it.
func (s Sealed[T]) Equal(o Sealed[T]) bool {
	if s.ct != nil || o.ct != nil {
		return s.ct != nil && o.ct != nil && bytes.Equal(s.ct, o.ct)
	}
	a, errA := s.Get()
	b, errB := o.Get()
	if errA != nil || errB != nil {
		return errA != nil && errB != nil && bytes.Equal(s.cell().raw, o.cell().raw)
	}
	if e, ok := any(a).(interface{ Equal(T) bool }); ok {
		return e.Equal(b)
	}
	if t := reflect.TypeFor[T](); t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return bytes.Equal(reflect.ValueOf(a).Bytes(), reflect.ValueOf(b).Bytes())
	}
	return reflect.DeepEqual(a, b)
}

func (s Sealed[T]) name() string { return fmt.Sprintf("Sealed[%s]", reflect.TypeFor[T]()) }

// String tells the type and whether it is sealed, never the value.
func (s Sealed[T]) String() string {
	if s.ct != nil {
		return s.name() + "(sealed)"
	}
	return s.name() + "(redacted)"
}

// GoString is String.
func (s Sealed[T]) GoString() string { return s.String() }

// Format writes String for every verb.
func (s Sealed[T]) Format(f fmt.State, verb rune) { fmt.Fprint(f, s.String()) }

// LogValue logs String.
func (s Sealed[T]) LogValue() slog.Value { return slog.StringValue(s.String()) }

// text is the only way out: the text form of the ciphertext.
func (s Sealed[T]) text() ([]byte, error) {
	if s.ct == nil {
		return nil, fmt.Errorf("structseal: %s: %w: encrypt the record before storing it", s.name(), ErrNotEncrypted)
	}
	return crypto.AppendText(nil, s.ct), nil
}

// Value implements driver.Valuer: the text form of the ciphertext.
//
// Errors: ErrNotEncrypted.
func (s Sealed[T]) Value() (driver.Value, error) {
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	return string(text), nil
}

// Scan implements sql.Scanner for the text and the binary form, in a text or a
// binary column. Plaintext is kept aside, unreadable, for Decrypt with
// AllowPlaintext.
//
// Errors: ErrTampered for text that starts like a ciphertext and isn't canonical;
// an error that names *Sealed for NULL.
func (s *Sealed[T]) Scan(src any) error {
	switch v := src.(type) {
	case string:
		return s.read([]byte(v))
	case []byte:
		return s.read(bytes.Clone(v))
	case time.Time:
		return s.read([]byte(v.Format(time.RFC3339Nano)))
	case int64:
		return s.read(strconv.AppendInt(nil, v, 10))
	case float64:
		return s.read(strconv.AppendFloat(nil, v, 'g', -1, 64))
	case bool:
		return s.read(strconv.AppendBool(nil, v))
	case nil:
		return fmt.Errorf("structseal: %s: can't hold NULL: use *%s", s.name(), s.name())
	}
	return fmt.Errorf("structseal: %s: can't scan a %T", s.name(), src)
}

// read takes over b, a ciphertext in either form or plaintext.
func (s *Sealed[T]) read(b []byte) error {
	if len(b) > 0 && b[0] == 1 {
		*s = Sealed[T]{ct: b}
		return nil
	}
	ct, err := crypto.ParseText(nil, string(b))
	switch {
	case err == nil && len(ct) > 0:
		*s = Sealed[T]{ct: ct}
		return nil
	case errors.Is(err, crypto.ErrTampered) || err == nil:
		return fmt.Errorf("structseal: %s: %w", s.name(), crypto.ErrMalformed)
	}
	if b == nil {
		b = []byte{}
	}
	c := &cell[T]{raw: b}
	*s = Sealed[T]{cell: func() *cell[T] { return c }}
	return nil
}

// readSealed is read for formats that hold nothing but ciphertexts of ours.
func (s *Sealed[T]) readSealed(b []byte) error {
	var in Sealed[T]
	if err := in.read(b); err != nil {
		return err
	}
	if in.ct == nil {
		return fmt.Errorf("structseal: %s: %w", s.name(), ErrNotEncrypted)
	}
	*s = in
	return nil
}

// MarshalText returns the text form of the ciphertext.
//
// Errors: ErrNotEncrypted.
func (s Sealed[T]) MarshalText() ([]byte, error) { return s.text() }

// UnmarshalText reads a ciphertext.
//
// Errors: ErrNotEncrypted, ErrTampered (not canonical).
func (s *Sealed[T]) UnmarshalText(text []byte) error { return s.readSealed(bytes.Clone(text)) }

// MarshalBinary returns the binary form of the ciphertext; gob uses it.
//
// Errors: ErrNotEncrypted.
func (s Sealed[T]) MarshalBinary() ([]byte, error) {
	if _, err := s.text(); err != nil {
		return nil, err
	}
	return bytes.Clone(s.ct), nil
}

// UnmarshalBinary reads a ciphertext.
//
// Errors: ErrNotEncrypted, ErrTampered (not canonical).
func (s *Sealed[T]) UnmarshalBinary(data []byte) error { return s.readSealed(bytes.Clone(data)) }

// MarshalJSON returns the text form of the ciphertext as a JSON string.
//
// Errors: ErrNotEncrypted.
func (s Sealed[T]) MarshalJSON() ([]byte, error) {
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(text))
}

// UnmarshalJSON reads a ciphertext; null changes nothing.
//
// Errors: ErrNotEncrypted, ErrTampered (not canonical).
func (s *Sealed[T]) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		// json's error would hold the offending value.
		return fmt.Errorf("structseal: %s: %w", s.name(), ErrNotEncrypted)
	}
	return s.readSealed([]byte(text))
}

// GormDataType tells GORM which column type to use.
func (Sealed[T]) GormDataType() string { return "text" }

const bsonString = 0x02

// MarshalBSONValue implements the MongoDB driver's (v2) ValueMarshaler: a BSON
// string with the text form of the ciphertext.
//
// Errors: ErrNotEncrypted.
func (s Sealed[T]) MarshalBSONValue() (typ byte, data []byte, err error) {
	text, err := s.text()
	if err != nil {
		return 0, nil, err
	}
	data = binary.LittleEndian.AppendUint32(nil, uint32(len(text)+1))
	return bsonString, append(append(data, text...), 0), nil
}

// UnmarshalBSONValue implements the MongoDB driver's (v2) ValueUnmarshaler.
//
// Errors: ErrNotEncrypted, ErrTampered (not canonical).
func (s *Sealed[T]) UnmarshalBSONValue(typ byte, data []byte) error {
	if typ != bsonString || len(data) < 5 || uint64(binary.LittleEndian.Uint32(data)) != uint64(len(data)-4) {
		return fmt.Errorf("structseal: %s: %w", s.name(), ErrNotEncrypted)
	}
	return s.readSealed(bytes.Clone(data[4 : len(data)-1]))
}

// sealedCell is how the tag engine works on a Sealed of any T.
type sealedCell interface {
	// codec tells how T becomes text, or why it can't.
	codec() (*codec, error)
	// ciphertext returns the binary form, nil if not sealed.
	ciphertext() []byte
	// setCiphertext replaces the content.
	setCiphertext(ct []byte)
	// appendPlain appends the text of the value.
	appendPlain(dst []byte) ([]byte, error)
	// setPlain decodes the text of a value; it doesn't keep text.
	setPlain(text []byte) error
	// plaintext returns what was read from a column and is no ciphertext.
	plaintext() ([]byte, bool)
}

var sealedCellType = reflect.TypeFor[sealedCell]()

func (s *Sealed[T]) codec() (*codec, error) { return codecOf(reflect.TypeFor[T]()) }

func (s *Sealed[T]) ciphertext() []byte { return s.ct }

func (s *Sealed[T]) setCiphertext(ct []byte) { *s = Sealed[T]{ct: ct} }

func (s *Sealed[T]) appendPlain(dst []byte) ([]byte, error) {
	c, err := s.codec()
	if err != nil {
		return nil, err
	}
	v, err := s.Get()
	if err != nil {
		return nil, err
	}
	return c.append(dst, reflect.ValueOf(&v).Elem())
}

func (s *Sealed[T]) setPlain(text []byte) error {
	c, err := s.codec()
	if err != nil {
		return err
	}
	var v T
	if err := c.parse(text, reflect.ValueOf(&v).Elem()); err != nil {
		return err
	}
	*s = Of(v)
	return nil
}

func (s *Sealed[T]) plaintext() ([]byte, bool) {
	if s.ct != nil || s.cell == nil {
		return nil, false
	}
	raw := s.cell().raw
	return raw, raw != nil
}
