package bench

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"unsafe"
)

// The floor is the bare standard library doing what a careful engineer would: AES-256-GCM,
// random nonces, a context of 64 bytes, base64url, all into memory that is already there.
var floor = Peer{
	Name:  "floor",
	Title: "floor: crypto/cipher by hand",
	Setup: "AES-256-GCM, a nonce from crypto/rand and 64 bytes of associated data for each value, into memory that is already there.",
	Claims: Claims{
		Row: true, Field: true, Binary: 12 + 16, Text: 52 - 11,
		Bound: byHand, Commits: noCommit, Messages: uncounted,
	},
	Text:   func() (Rows[string], error) { return newFloor[string]() },
	Binary: func() (Rows[[]byte], error) { return newFloor[[]byte]() },
	Bytes:  func() (Bytes, error) { return newFloorBytes() },
}

var errShort = errors.New("bench: ciphertext is too short")

type floorBytes struct{ gcm cipher.AEAD }

func newFloorBytes() (floorBytes, error) {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return floorBytes{}, err
	}
	gcm, err := cipher.NewGCM(block)
	return floorBytes{gcm}, err
}

func (f floorBytes) Seal(dst, plaintext, place []byte) ([]byte, error) {
	dst = slices.Grow(dst, 12+len(plaintext)+16)
	nonce := dst[len(dst) : len(dst)+12]
	rand.Read(nonce)
	return f.gcm.Seal(dst[:len(dst)+12], nonce, plaintext, place), nil
}

func (f floorBytes) Open(dst, ciphertext, place []byte) ([]byte, error) {
	if len(ciphertext) < 12 {
		return nil, errShort
	}
	return f.gcm.Open(dst, ciphertext[:12], ciphertext[12:], place)
}

// floorRows holds the memory of its results.
type floorRows[T Value] struct {
	floorBytes
	place          place
	sealed, opened [len(labels)][]byte
	text, decoded  [len(labels)][]byte
}

func newFloor[T Value]() (*floorRows[T], error) {
	b, err := newFloorBytes()
	return &floorRows[T]{floorBytes: b}, err
}

func (f *floorRows[T]) Seal(r Row[T]) (Row[T], error) {
	for i, field := range r.fields() {
		ct, err := f.floorBytes.Seal(f.sealed[i][:0], view(*field), f.place.of(r.ID, labels[i]))
		if err != nil {
			return Row[T]{}, err
		}
		f.sealed[i] = ct
		switch p := any(field).(type) {
		case *string:
			f.text[i] = base64.RawURLEncoding.AppendEncode(f.text[i][:0], ct)
			*p = unsafe.String(unsafe.SliceData(f.text[i]), len(f.text[i]))
		case *[]byte:
			*p = ct
		}
	}
	return r, nil
}

func (f *floorRows[T]) Open(r Row[T]) (Row[T], error) {
	for i, field := range r.fields() {
		ct := view(*field)
		if _, ok := any(field).(*string); ok {
			var err error
			if ct, err = base64.RawURLEncoding.AppendDecode(f.decoded[i][:0], ct); err != nil {
				return Row[T]{}, err
			}
			f.decoded[i] = ct
		}
		pt, err := f.floorBytes.Open(f.opened[i][:0], ct, f.place.of(r.ID, labels[i]))
		if err != nil {
			return Row[T]{}, err
		}
		f.opened[i] = pt
		switch p := any(field).(type) {
		case *string:
			*p = unsafe.String(unsafe.SliceData(pt), len(pt))
		case *[]byte:
			*p = pt
		}
	}
	return r, nil
}

// view returns the bytes of a value without a copy. Nobody writes to them.
func view[T Value](v T) []byte {
	switch v := any(v).(type) {
	case string:
		return unsafe.Slice(unsafe.StringData(v), len(v))
	case []byte:
		return v
	}
	return nil
}
