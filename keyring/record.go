package keyring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	recordFormatPrefix = "structseal-ring/"
	recordFormat       = recordFormatPrefix + "1"

	// MaxKeys is how many keys a ring holds at most, in whatever state.
	MaxKeys = 256
	// MaxRecordSize bounds a ring's record in bytes. DynamoDB's 400 KB item
	// must hold it with its name and revision.
	MaxRecordSize = 400_000 - 1024
)

// body is the authenticated part of a ring's record: everything but the MAC.
type body struct {
	Format   string      `json:"format"`
	Name     string      `json:"name"`
	Revision uint64      `json:"revision"`
	Clock    uint64      `json:"clock"` // milliseconds; see clock.go
	KEKs     []string    `json:"keks"`  // that shall wrap every key
	Keys     []keyRecord `json:"keys"`
	History  history     `json:"history"`
}

// record is a ring as it is stored. docs/format.md has its text.
type record struct {
	body
	MAC checkValue `json:"mac"`
}

type keyRecord struct {
	ID       keyID      `json:"id"`
	Purpose  Purpose    `json:"purpose"`
	Suite    string     `json:"suite"`
	State    State      `json:"state"`
	Created  stamp      `json:"created"`
	Changed  stamp      `json:"changed"`
	Revision uint64     `json:"revision"` // that set State
	Since    uint64     `json:"since"`    // Clock then
	Retired  uint64     `json:"retired"`  // Clock when it ceased to be pending or primary; 0 before
	Messages uint64     `json:"messages"` // reserved so far; compact suite only
	Check    checkValue `json:"check"`
	Wraps    []wrap     `json:"wraps"`
}

// wrap is a key, encrypted by one KEK.
type wrap struct {
	KEK  string `json:"kek"`
	Blob blob   `json:"blob"`
}

// encode returns the one text of v.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // as other languages write it
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// parseRecord reads a stored ring. It accepts exactly the bytes that encode
// makes: the parsed record encodes to them again. Nothing is authentic yet.
//
// Errors: ErrFormat, ErrCorrupt, ErrTooLarge.
func parseRecord(data []byte) (*record, error) {
	if len(data) > MaxRecordSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	var version struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("%w: not JSON", ErrFormat)
	}
	if version.Format != recordFormat {
		if strings.HasPrefix(version.Format, recordFormatPrefix) && len(version.Format) < 40 {
			return nil, fmt.Errorf("%w: it is %q, this program reads %q; use the program's version that wrote it or a newer one", ErrFormat, version.Format, recordFormat)
		}
		return nil, fmt.Errorf("%w: it does not say format %q", ErrFormat, recordFormat)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%w: a member has the wrong form", ErrCorrupt)
	}
	// This refuses unknown, missing, duplicate and reordered members, other
	// spellings of names, numbers and strings, and anything behind the end.
	again, err := encode(&r)
	if err != nil || !bytes.Equal(again, data) {
		return nil, fmt.Errorf("%w: not in canonical form", ErrCorrupt)
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	return &r, nil
}

// primary returns the primary of a purpose; validate made sure there is one.
func (b *body) primary(p Purpose) *keyRecord {
	for i := range b.Keys {
		if k := &b.Keys[i]; k.Purpose == p && k.State == Primary {
			return k
		}
	}
	return nil
}

func (b *body) find(id uint32) *keyRecord {
	for i := range b.Keys {
		if k := &b.Keys[i]; uint32(k.ID) == id {
			return k
		}
	}
	return nil
}

// keyID is written as 8 lower-case hexadecimal digits.
type keyID uint32

func (id keyID) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x", uint32(id)), nil }

func (id *keyID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 32)
	if err != nil {
		return fmt.Errorf("%w: a key id is not 8 hexadecimal digits", ErrCorrupt)
	}
	*id = keyID(n)
	return nil
}

// stamp is written as RFC 3339 in UTC with whole seconds.
type stamp struct{ time.Time }

func (s stamp) MarshalText() ([]byte, error) { return s.AppendFormat(nil, time.RFC3339), nil }

func (s *stamp) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return fmt.Errorf("%w: a time is not RFC 3339", ErrCorrupt)
	}
	s.Time = t.UTC()
	return nil
}

// checkValue is 32 bytes, written in unpadded base64url.
type checkValue [32]byte

func (c checkValue) MarshalText() ([]byte, error) { return encoding.AppendEncode(nil, c[:]), nil }

func (c *checkValue) UnmarshalText(text []byte) error {
	b, err := encoding.AppendDecode(nil, text)
	if err != nil || len(b) != len(c) {
		return fmt.Errorf("%w: a check value or mac is not 32 bytes", ErrCorrupt)
	}
	*c = checkValue(b)
	return nil
}

// blob is a wrapped key, written in unpadded base64url.
type blob []byte

func (b blob) MarshalText() ([]byte, error) { return encoding.AppendEncode(nil, b), nil }

func (b *blob) UnmarshalText(text []byte) (err error) {
	if *b, err = encoding.AppendDecode(nil, text); err != nil {
		return fmt.Errorf("%w: a wrapped key is not base64url", ErrCorrupt)
	}
	return nil
}
