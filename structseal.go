package structseal

import (
	"context"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/structseal/structseal/keyring"
)

const (
	opEncrypt   = "encrypt"
	opDecrypt   = "decrypt"
	opReencrypt = "re-encrypt"
)

// Encrypt returns a copy of v in which every sealed field holds its ciphertext,
// under the ring's primary key and bound to ring, record, row and field. T is a
// struct with a [Record] marker, or a pointer to one. v isn't changed: pointers,
// slices and maps on the way to sealed fields are replaced in the copy, the rest
// is shared with v. Empty strings and zero values are sealed like any other; nil
// pointers, nil slices, nil maps and invalid sql.Null values stay as they are.
//
// It is safe for concurrent use, as long as nobody writes to v meanwhile.
//
// Errors: a *[TagError] (joined, if several) before anything else; a
// *[FieldError] that wraps ErrEncrypted, ErrForeignCiphertext, ErrUnbound,
// ErrAliased, ErrUnavailable, ErrNotApproved or the keyring's errors;
// ErrInvalidArgument; the context's error. With an error comes T's zero value.
func Encrypt[T any](ctx context.Context, ring *keyring.Keyring, v T, opts ...Option) (T, error) {
	return one(ctx, ring, opEncrypt, v, opts)
}

// Decrypt returns a copy of v in which every sealed field holds its value again.
// Everything said of [Encrypt] holds, the other way round. Fields may be under
// any enabled key of the ring; exactly the key that a ciphertext names is tried.
//
// Errors: as Encrypt, and a *[FieldError] that wraps ErrTampered,
// ErrNotEncrypted or ErrUnknownKey.
func Decrypt[T any](ctx context.Context, ring *keyring.Keyring, v T, opts ...Option) (T, error) {
	return one(ctx, ring, opDecrypt, v, opts)
}

// EncryptInPlace is [Encrypt] for hooks of ORMs, which hand over a pointer: v is
// a non-nil pointer to a struct, which is overwritten once everything has
// succeeded. What its pointers, slices and maps refer to is replaced, not
// changed.
func EncryptInPlace(ctx context.Context, ring *keyring.Keyring, v any, opts ...Option) error {
	return inPlace(ctx, ring, opEncrypt, v, opts)
}

// DecryptInPlace is [Decrypt] in the manner of [EncryptInPlace].
func DecryptInPlace(ctx context.Context, ring *keyring.Keyring, v any, opts ...Option) error {
	return inPlace(ctx, ring, opDecrypt, v, opts)
}

// Check reports every tag of T, and of the types it reaches, that can't be used:
// *[TagError]s, joined. The verbs do the same before they move any data; Check
// is for a test or an init that wants to know earlier.
func Check[T any]() error {
	t := reflect.TypeFor[T]()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return invalid("%s is not a struct or a pointer to one", t)
	}
	_, err := planOf(t)
	return err
}

func one[T any](ctx context.Context, ring *keyring.Keyring, op string, v T, opts []Option) (T, error) {
	var zero T
	o, err := newOptions(opts)
	if err != nil {
		return zero, err
	}
	defer o.release()
	t := reflect.TypeFor[T]()
	if p := flatPlan(t); p != nil {
		out := v
		if err := runFlat(ctx, ring, op, p, unsafe.Pointer(&out), o); err != nil {
			return zero, err
		}
		return out, nil
	}
	out := v
	if err := run(ctx, ring, op, t, unsafe.Pointer(&out), o); err != nil {
		return zero, err
	}
	return out, nil
}

func inPlace(ctx context.Context, ring *keyring.Keyring, op string, v any, opts []Option) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct {
		return invalid("in place wants a non-nil pointer to a struct, not %T", v)
	}
	o, err := newOptions(opts)
	if err != nil {
		return err
	}
	defer o.release()
	fresh := reflect.New(p.Type().Elem())
	fresh.Elem().Set(p.Elem())
	if err := run(ctx, ring, op, p.Type().Elem(), fresh.UnsafePointer(), o); err != nil {
		return err
	}
	p.Elem().Set(fresh.Elem())
	return nil
}

// run does a verb on the copy at v, whose type is t: a struct, a pointer to one,
// or an interface that holds either.
func run(ctx context.Context, ring *keyring.Keyring, op string, t reflect.Type, v unsafe.Pointer, o *options) error {
	switch t.Kind() {
	case reflect.Struct:
		return runStruct(ctx, ring, op, t, v, o)
	case reflect.Pointer:
		if t.Elem().Kind() != reflect.Struct {
			break
		}
		p := *(*unsafe.Pointer)(v)
		if p == nil {
			return invalid("a nil %s", t)
		}
		fresh := reflect.New(t.Elem())
		fresh.Elem().Set(reflect.NewAt(t.Elem(), p).Elem())
		if err := runStruct(ctx, ring, op, t.Elem(), fresh.UnsafePointer(), o); err != nil {
			return err
		}
		*(*unsafe.Pointer)(v) = fresh.UnsafePointer()
		return nil
	case reflect.Interface:
		i := reflect.NewAt(t, v).Elem()
		if i.IsNil() {
			return invalid("a nil %s", t)
		}
		fresh := reflect.New(i.Elem().Type())
		fresh.Elem().Set(i.Elem())
		if err := run(ctx, ring, op, fresh.Type().Elem(), fresh.UnsafePointer(), o); err != nil {
			return err
		}
		i.Set(fresh.Elem())
		return nil
	}
	return invalid("%s is not a struct or a pointer to one", t)
}

// runStruct does a verb on the struct at v, a copy that is dropped on error.
func runStruct(ctx context.Context, ring *keyring.Keyring, op string, t reflect.Type, v unsafe.Pointer, o *options) error {
	p, err := planOf(t)
	if err != nil {
		return err
	}
	if p.flat && op != opReencrypt {
		return runFlat(ctx, ring, op, p, v, o)
	}
	if err := ready(ctx, ring, op, p, o); err != nil {
		return err
	}
	j := newJob(ctx, ring, op, o)
	defer j.release()
	if err := j.record(p, v, o.only); err != nil {
		return err
	}
	switch op {
	case opEncrypt:
		err = j.seal(nil)
	case opDecrypt:
		err = j.open(nil)
	case opReencrypt:
		err = j.reencrypt()
	}
	if err == nil {
		j.finish()
		j.deliver()
	}
	return err
}

// ready reports what keeps a verb from beginning.
func ready(ctx context.Context, ring *keyring.Keyring, op string, p *plan, o *options) error {
	if ring == nil {
		return invalid("a nil keyring")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("structseal: %s %s: %w", op, p.typ, err)
	}
	if o.only != nil {
		return o.only.validate(p, "")
	}
	return nil
}
