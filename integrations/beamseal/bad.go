package beamseal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

// Bad is an element that could not be done.
type Bad[E any] struct {
	// Element is as it was: what Encrypt was given is plaintext.
	Element E
	// Error says what is wrong and where (type, field, label, key id), and holds no
	// value.
	Error string
	// Forgotten: its subject was forgotten. Nothing is wrong, and nothing will help.
	Forgotten bool
}

// A Bad is encoded by a coder of its own, because the element has one: Beam's coder for
// structs would not ask for it.
type badCoder interface {
	encode() []byte
	decode(data []byte) (any, error)
}

type badForm struct {
	Element   []byte
	Error     string
	Forgotten bool
}

func (b Bad[E]) encode() []byte {
	var element bytes.Buffer
	err := beam.NewElementEncoder(reflect.TypeFor[E]()).Encode(b.Element, &element)
	if err != nil {
		refuse(fmt.Errorf("beamseal: %T: its element: %w", b, err))
	}
	form, err := json.Marshal(badForm{element.Bytes(), b.Error, b.Forgotten})
	if err != nil {
		refuse(fmt.Errorf("beamseal: %T: %w", b, err))
	}
	return form
}

func (Bad[E]) decode(data []byte) (any, error) {
	var form badForm
	if err := json.Unmarshal(data, &form); err != nil {
		return nil, fmt.Errorf("beamseal: not a %T as it was encoded", Bad[E]{})
	}
	element, err := beam.NewElementDecoder(reflect.TypeFor[E]()).Decode(bytes.NewReader(form.Element))
	if err != nil {
		return nil, fmt.Errorf("beamseal: %T: %w", Bad[E]{}, err)
	}
	return Bad[E]{element.(E), form.Error, form.Forgotten}, nil
}

// Beam finds functions of coders by their names, and all instances of a generic one
// share theirs. So these are for every E.

func encodeBad(b beam.T) []byte { return b.(badCoder).encode() }

func decodeBad(t reflect.Type, data []byte) (beam.T, error) {
	return reflect.Zero(t).Interface().(badCoder).decode(data)
}
