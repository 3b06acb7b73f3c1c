package beamseal

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/coder"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx/schema"

	"github.com/structseal/structseal"
)

// ErrCoder: Beam would lose something of a type between two steps.
var ErrCoder = errors.New("type would not survive Beam's coder")

// Beam's coder for structs writes exported fields. A structseal.Sealed has none, and
// would come back empty, without an error: so it is taught here, for all structs that
// hold one. It writes ciphertext only.
func init() {
	beam.RegisterSchemaProvider(reflect.TypeFor[sealed](), sealedProvider{})
	beam.RegisterFunction(encodeBad)
	beam.RegisterFunction(decodeBad)
}

// sealed is what every structseal.Sealed implements. So may others: see isSealed.
type sealed interface {
	encoding.BinaryMarshaler
	encoding.TextMarshaler
	IsSealed() bool
}

func isSealed(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == recordType.PkgPath() && strings.HasPrefix(t.Name(), "Sealed[")
}

var (
	recordType = reflect.TypeFor[structseal.Record]()
	formType   = reflect.TypeFor[sealedForm]()
)

// sealedForm is what a Sealed is in a Beam schema.
type sealedForm struct{ Ciphertext []byte }

// sealedProvider answers nil for types that aren't its own: Beam then goes on as if
// there were none.
type sealedProvider struct{}

func (sealedProvider) FromLogicalType(t reflect.Type) (reflect.Type, error) {
	if !isSealed(t) {
		return nil, nil
	}
	return formType, nil
}

func (sealedProvider) BuildEncoder(t reflect.Type) (func(any, io.Writer) error, error) {
	if !isSealed(t) {
		return nil, nil
	}
	return func(v any, w io.Writer) error {
		ct, err := v.(sealed).MarshalBinary()
		if err != nil {
			refuse(fmt.Errorf("%w: a value that isn't sealed can't go from one step to the next; see beamseal.DecryptTo and EncryptFrom", err))
		}
		if err := coder.WriteSimpleRowHeader(1, w); err != nil {
			return err
		}
		return coder.EncodeBytes(ct, w)
	}, nil
}

// refuse fails the bundle, or the making of the pipeline. When a coder returns an error,
// Beam puts the whole element into its own, with all that is plaintext in it, and logs
// that. From a panic it takes the text alone.
func refuse(err error) { panic(err) }

func (sealedProvider) BuildDecoder(t reflect.Type) (func(io.Reader) (any, error), error) {
	if !isSealed(t) {
		return nil, nil
	}
	return func(r io.Reader) (any, error) {
		if err := coder.ReadSimpleRowHeader(1, r); err != nil {
			return nil, err
		}
		ct, err := coder.DecodeBytes(r)
		if err != nil {
			return nil, err
		}
		v := reflect.New(t)
		if err := v.Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(ct); err != nil {
			return nil, err
		}
		return v.Elem().Interface(), nil
	}, nil
}

// survives reports what Beam's coder for structs would lose of a record type, or can't
// encode. A type with a coder of its own is its author's business.
func survives(t reflect.Type) error {
	if err := encodes(t); err != nil || coder.LookupCustomCoder(t) != nil {
		return err
	}
	return walkType(t, false)
}

// encodes reports why Beam can't encode a type at all. It panics over such a type when it
// starts, and over one that holds itself it never ends, so it must not be told of them.
func encodes(t reflect.Type) error {
	if coder.LookupCustomCoder(t) != nil {
		return nil
	}
	return walkType(t, true)
}

func walkType(t reflect.Type, onlyFatal bool) error {
	w := typeWalk{open: map[reflect.Type]bool{}, onlyFatal: onlyFatal}
	if where, why := w.lost(t, t.String()); why != "" {
		return fmt.Errorf("beamseal: %s: %w: %s; change it, or give %s a coder with beam.RegisterCoder, before it is registered here", where, ErrCoder, why, t)
	}
	return nil
}

// typeWalk goes through a type and all that it holds.
type typeWalk struct {
	open      map[reflect.Type]bool // that the walk is in
	onlyFatal bool
}

func (w *typeWalk) lost(t reflect.Type, at string) (where, why string) {
	if isSealed(t) {
		return "", ""
	}
	if w.open[t] {
		return at, "it holds itself"
	}
	w.open[t] = true
	defer delete(w.open, t)
	switch t.Kind() {
	case reflect.Struct:
		return w.lostOfStruct(t, at)
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Pointer {
			return at, "it is a pointer to a pointer"
		}
		return w.lostOfElement(t.Elem(), at)
	case reflect.Slice, reflect.Array:
		return w.lostOfElement(t.Elem(), at+"[]")
	case reflect.Map:
		if where, why := w.lost(t.Key(), at+"{key}"); why != "" {
			return where, why
		}
		return w.lostOfElement(t.Elem(), at+"{}")
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer, reflect.Uintptr, reflect.Complex64, reflect.Complex128:
		return at, "it can't encode a " + t.Kind().String()
	}
	return "", ""
}

// lostOfElement is lost for what is in a container or behind a pointer: only a pointer
// may be nil there.
func (w *typeWalk) lostOfElement(t reflect.Type, at string) (where, why string) {
	if k := t.Kind(); k == reflect.Slice || k == reflect.Map {
		if where, why := w.report(at, "what is nil would come back empty"); why != "" {
			return where, why
		}
	}
	return w.lost(t, at)
}

func (w *typeWalk) lostOfStruct(t reflect.Type, at string) (where, why string) {
	for i := range t.NumField() {
		f := t.Field(i)
		switch embedded := f.Anonymous && f.Type.Kind() == reflect.Struct; {
		case f.Name == "_" || f.Type == recordType:
			continue
		case f.Anonymous && !f.IsExported() && f.Type.Kind() == reflect.Pointer:
			where, why = at+"."+f.Name, "it embeds a pointer to an unexported type"
		case f.IsExported() || embedded:
			where, why = w.lost(f.Type, at+"."+f.Name)
		default:
			where, why = w.report(at+"."+f.Name, "it is unexported")
		}
		if why != "" {
			break
		}
	}
	if why != "" && !w.onlyFatal && hasProvider(t) {
		return "", ""
	}
	return where, why
}

// report reports a loss that Beam knows nothing of.
func (w *typeWalk) report(at, why string) (string, string) {
	if w.onlyFatal {
		return "", ""
	}
	return at, why
}

// hasProvider reports whether somebody taught Beam this type, as Beam itself does with
// time.Time. It must not hold itself.
func hasProvider(t reflect.Type) bool {
	s, err := schema.FromType(reflect.StructOf([]reflect.StructField{{Name: "F", Type: t}}))
	return err == nil && s.GetFields()[0].GetType().GetLogicalType() != nil
}
