package bench

import (
	"encoding/base64"

	"github.com/structseal/structseal"
)

// A Value is the type of a record's fields: text columns hold strings, binary ones bytes.
type Value interface{ string | []byte }

// A Row is the record that is measured. Its tags are structseal's; the peers don't see them.
type Row[T Value] struct {
	_       structseal.Record `seal:"customer"`
	ID      string            `seal:"id,bind"`
	Name    T                 `seal:"name"`
	Email   T                 `seal:"email"`
	Phone   T                 `seal:"phone"`
	SSN     T                 `seal:"ssn"`
	Address T                 `seal:"address"`
}

// Example returns the record that is measured.
func Example[T Value]() Row[T] {
	return Row[T]{
		ID:      "01890a5d-ac96-774b-bcce-b302099a8057",
		Name:    T("Ada Lovelace-Byron"),                               // 18 bytes
		Email:   T("ada.lovelace@example.net"),                         // 24
		Phone:   T("+4420794600100"),                                   // 14
		SSN:     T("123-45-6789"),                                      // 11
		Address: T("12 St James's Square, London SW1Y 4LB, U Kingdom"), // 48
	}
}

var labels = [...]string{"name", "email", "phone", "ssn", "address"}

func (r *Row[T]) fields() [len(labels)]*T {
	return [...]*T{&r.Name, &r.Email, &r.Phone, &r.SSN, &r.Address}
}

// Sizes are the sizes of the bytes that are measured.
var Sizes = []int{16, 64, 256, 4 << 10, 1 << 20}

// A place says which field of which row a value is: what is made by hand for peers that
// authenticate what they are given. It is text, because some take no other.
type place [64]byte

const placeForm = "customer................................................./......"

func init() {
	if len(placeForm) != len(place{}) {
		panic("bench: a place of another length")
	}
}

// of fills in the place of a field: 64 bytes, whatever the row and the label.
func (p *place) of(id, label string) []byte {
	copy(p[:], placeForm)
	copy(p[9:], id)
	copy(p[58:], label[:min(len(label), 6)])
	return p[:]
}

// each makes a record of functions that seal and open one value.
type each[T Value] struct {
	place      place
	seal, open func(v T, place []byte) (T, error)
}

func (e *each[T]) Seal(r Row[T]) (Row[T], error) { return e.do(e.seal, r) }
func (e *each[T]) Open(r Row[T]) (Row[T], error) { return e.do(e.open, r) }

func (e *each[T]) do(f func(T, []byte) (T, error), r Row[T]) (Row[T], error) {
	for i, field := range r.fields() {
		v, err := f(*field, e.place.of(r.ID, labels[i]))
		if err != nil {
			return Row[T]{}, err
		}
		*field = v
	}
	return r, nil
}

// binaryRows seals each field of a record by itself.
func binaryRows(b Bytes) Rows[[]byte] {
	return &each[[]byte]{
		seal: func(v, place []byte) ([]byte, error) { return b.Seal(nil, v, place) },
		open: func(v, place []byte) ([]byte, error) { return b.Open(nil, v, place) },
	}
}

// textRows is binaryRows for text columns, which is base64url around it.
func textRows(b Bytes) Rows[string] {
	return &each[string]{
		seal: func(v string, place []byte) (string, error) {
			ct, err := b.Seal(nil, []byte(v), place)
			return base64.RawURLEncoding.EncodeToString(ct), err
		},
		open: func(v string, place []byte) (string, error) {
			ct, err := base64.RawURLEncoding.DecodeString(v)
			if err != nil {
				return "", err
			}
			pt, err := b.Open(nil, ct, place)
			return string(pt), err
		},
	}
}
