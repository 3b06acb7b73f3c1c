package structseal

import (
	"context"
	"reflect"
)

// FieldState is what [Inspect] tells of one sealed value.
type FieldState struct {
	Label  string // path of labels, "customer.lines[2/3].note"
	Sealed bool   // has the form of a ciphertext; whether it opens only Decrypt can tell
	KeyID  uint32 // key that the ciphertext names, 0 if not sealed
}

// Inspect tells for every sealed field of v (a struct or a pointer to one) that
// isn't NULL whether it holds a ciphertext and under which key. It reads headers
// only: no keyring, no decryption. v isn't changed.
//
// Errors: *[TagError], ErrAliased, ErrInvalidArgument.
func Inspect(v any, opts ...Option) ([]FieldState, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	if err := o.unbuffered(); err != nil {
		return nil, err
	}
	value := reflect.ValueOf(v)
	if value.Kind() == reflect.Pointer && !value.IsNil() {
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct {
		return nil, invalid("%T is not a struct or a non-nil pointer to one", v)
	}
	p, err := planOf(value.Type())
	if err != nil {
		return nil, err
	}
	if o.only != nil {
		if err := o.only.validate(p, ""); err != nil {
			return nil, err
		}
	}
	fresh := reflect.New(value.Type())
	fresh.Elem().Set(value)
	j := newJob(context.Background(), nil, "inspect", o)
	defer j.release()
	if err := j.record(p, fresh.UnsafePointer(), o.only); err != nil {
		return nil, err
	}
	states := make([]FieldState, len(j.items))
	for i := range j.items {
		it := &j.items[i]
		states[i].Label = pathText(j.pathOf(it))
		states[i].KeyID, states[i].Sealed = j.header(it)
	}
	return states, nil
}
