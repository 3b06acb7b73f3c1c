package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"github.com/hashicorp/go-kms-wrapping/v2/aead"
	"github.com/hashicorp/go-kms-wrapping/v2/extras/structwrapping"
	"google.golang.org/protobuf/proto"
)

const wrappingModule = "github.com/hashicorp/go-kms-wrapping/v2"

var goKMSWrapping = made(Peer{
	Name:   "go-kms-wrapping",
	Title:  "go-kms-wrapping, aead",
	Module: wrappingModule,
	Setup:  "AES-256-GCM; the BlobInfo is marshalled as protobuf.",
	Claims: Claims{
		Row: true, Field: true, Binary: 28 + 2 + 6, Text: 63 - 11,
		Bound: byHand, Commits: noCommit, Messages: uncounted,
	},
}, func() (Bytes, error) {
	w, err := newWrapper()
	return wrapperBytes{context.Background(), w}, err
})

var goKMSStructWrapping = Peer{
	Name:   "go-kms-structwrapping",
	Title:  "go-kms-wrapping, structwrapping",
	Module: wrappingModule,
	Setup:  "Tagged fields in pairs of plaintext and ciphertext, one context for a struct.",
	Claims: Claims{
		Row: true, Field: false, Binary: 28 + 2 + 6, Text: 63 - 11,
		Bound: "64 bytes that the caller makes, the same for all fields of a struct", Commits: noCommit, Messages: uncounted,
	},
	Text: func() (Rows[string], error) {
		w, err := newWrapper()
		return &structWrapper[string]{w: w}, err
	},
	Binary: func() (Rows[[]byte], error) {
		w, err := newWrapper()
		return &structWrapper[[]byte]{w: w}, err
	},
}

func newWrapper() (*aead.Wrapper, error) {
	key := make([]byte, 32)
	rand.Read(key)
	w := aead.NewWrapper()
	_, err := w.SetConfig(context.Background(), wrapping.WithKeyId("k1"), aead.WithKey(key))
	return w, err
}

type wrapperBytes struct {
	ctx context.Context
	w   *aead.Wrapper
}

func (w wrapperBytes) Seal(_, plaintext, place []byte) ([]byte, error) {
	blob, err := w.w.Encrypt(w.ctx, plaintext, wrapping.WithAad(place))
	if err != nil {
		return nil, err
	}
	return proto.Marshal(blob)
}

func (w wrapperBytes) Open(_, ciphertext, place []byte) ([]byte, error) {
	blob := new(wrapping.BlobInfo)
	if err := proto.Unmarshal(ciphertext, blob); err != nil {
		return nil, err
	}
	return w.w.Decrypt(w.ctx, blob, wrapping.WithAad(place))
}

type wrapped[T Value] struct {
	Name      T `wrapping:"pt,name"`
	NameCT    T `wrapping:"ct,name"`
	Email     T `wrapping:"pt,email"`
	EmailCT   T `wrapping:"ct,email"`
	Phone     T `wrapping:"pt,phone"`
	PhoneCT   T `wrapping:"ct,phone"`
	SSN       T `wrapping:"pt,ssn"`
	SSNCT     T `wrapping:"ct,ssn"`
	Address   T `wrapping:"pt,address"`
	AddressCT T `wrapping:"ct,address"`
}

type structWrapper[T Value] struct {
	w     *aead.Wrapper
	place place
}

func (s *structWrapper[T]) Seal(r Row[T]) (Row[T], error) {
	v := wrapped[T]{Name: r.Name, Email: r.Email, Phone: r.Phone, SSN: r.SSN, Address: r.Address}
	aad := s.place.of(r.ID, "")
	if err := structwrapping.WrapStruct(context.Background(), s.w, &v, wrapping.WithAad(aad)); err != nil {
		return Row[T]{}, err
	}
	r.Name, r.Email, r.Phone, r.SSN, r.Address = v.NameCT, v.EmailCT, v.PhoneCT, v.SSNCT, v.AddressCT
	for _, f := range r.fields() {
		// Its strings hold protobuf, which is no text.
		if p, ok := any(f).(*string); ok {
			*p = base64.RawURLEncoding.EncodeToString([]byte(*p))
		}
	}
	return r, nil
}

func (s *structWrapper[T]) Open(r Row[T]) (Row[T], error) {
	for _, f := range r.fields() {
		if p, ok := any(f).(*string); ok {
			b, err := base64.RawURLEncoding.DecodeString(*p)
			if err != nil {
				return Row[T]{}, err
			}
			*p = string(b)
		}
	}
	v := wrapped[T]{NameCT: r.Name, EmailCT: r.Email, PhoneCT: r.Phone, SSNCT: r.SSN, AddressCT: r.Address}
	aad := s.place.of(r.ID, "")
	if err := structwrapping.UnwrapStruct(context.Background(), s.w, &v, wrapping.WithAad(aad)); err != nil {
		return Row[T]{}, err
	}
	r.Name, r.Email, r.Phone, r.SSN, r.Address = v.Name, v.Email, v.Phone, v.SSN, v.Address
	return r, nil
}
