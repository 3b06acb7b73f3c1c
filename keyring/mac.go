package keyring

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// macDomain separates ring MACs from whatever else the MAC key may come to
// authenticate.
const macDomain = "structseal/v1/ring"

// hidden holds secret bytes behind a closure: printers that walk unexported
// fields by reflection follow pointers and slices into the bytes, but can't look
// into a function.
type hidden func() []byte

func hide(secret []byte) hidden { return func() []byte { return secret } }

// authenticate returns the MAC of b: HMAC-SHA256, under a key derived from the
// ring's MAC key with HKDF-SHA256 and the info "structseal/v1/ring", over the
// record's text without its "mac" member. That text is canonical and holds the
// name, the revision and every key, so nothing can be edited, swapped, dropped or
// reordered.
func (b *body) authenticate(macKey hidden) (sum checkValue, err error) {
	text, err := encode(b)
	if err != nil {
		return sum, err
	}
	key, err := hkdf.Key(sha256.New, macKey(), nil, macDomain, sha256.Size)
	if err != nil {
		return sum, err
	}
	defer clear(key)
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	mac.Sum(sum[:0])
	return sum, nil
}

// verify checks the record's MAC in constant time.
func (r *record) verify(macKey hidden) error {
	want, err := r.authenticate(macKey)
	if err != nil {
		return err
	}
	if !hmac.Equal(want[:], r.MAC[:]) {
		return fmt.Errorf("%w: somebody without its MAC key changed it; restore it from a backup", ErrTampered)
	}
	return nil
}

// sign validates b, authenticates it and returns its stored text.
func (b *body) sign(macKey hidden) (*record, []byte, error) {
	r := &record{body: *b}
	if err := r.validate(); err != nil {
		return nil, nil, err
	}
	var err error
	if r.MAC, err = b.authenticate(macKey); err != nil {
		return nil, nil, err
	}
	data, err := encode(r)
	if err != nil {
		return nil, nil, err
	}
	if len(data) > MaxRecordSize {
		return nil, nil, fmt.Errorf("%w: its record would have %d bytes of at most %d; destroy keys that nothing uses", ErrTooLarge, len(data), MaxRecordSize)
	}
	return r, data, nil
}
