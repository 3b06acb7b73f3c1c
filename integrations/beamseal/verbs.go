package beamseal

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/structseal/structseal"
)

// Encrypt encrypts a collection of T, plaintext, into out. What can't be encrypted goes
// to bad, a collection of [Bad] of T, as it was: plaintext. T has no structseal.Sealed:
// one that isn't sealed can't get into a collection; see [EncryptFrom].
//
// Needs [Register] of T. Errors, before anything runs: [ErrRing], [ErrCoder],
// [ErrPipeline]; those of structseal.Check; structseal.ErrInvalidArgument for opts.
func Encrypt[T any](s beam.Scope, ring string, col beam.PCollection, opts *Options) (out, bad beam.PCollection, err error) {
	if err := noSealed[T]("Encrypt", "EncryptFrom"); err != nil {
		return out, bad, err
	}
	return parDo[T, T](s, "Encrypt", col, &encryptFn[T, T]{verb: newVerb(ring, opts)}, "Register")
}

// EncryptFrom makes a T of each element with from, and encrypts that. It is [Encrypt] for
// records with a structseal.Sealed, and wherever plaintext has a type of its own. bad is
// a collection of [Bad] of U. from is a function that has a name, and safe for concurrent
// use; an element that it returns an error for is bad.
//
// Needs [RegisterEncryptFrom] of the function. Errors: as Encrypt.
func EncryptFrom[U, T any](s beam.Scope, ring string, col beam.PCollection, from func(U) (T, error), opts *Options) (out, bad beam.PCollection, err error) {
	if from == nil {
		return out, bad, wrong[T]("EncryptFrom of a nil function")
	}
	f := &encryptFn[U, T]{verb: newVerb(ring, opts), From: converting(from)}
	return parDo[U, T](s, "EncryptFrom", col, f, "RegisterEncryptFrom")
}

// Decrypt decrypts a collection of T into out: plaintext, which Beam writes to disk as it
// does with all collections where it has to. What doesn't decrypt goes to bad, a
// collection of [Bad] of T, as it was: ciphertext; so does what belongs to a subject that
// was forgotten. T has no structseal.Sealed; see [DecryptTo].
//
// Needs [Register] of T. Errors: as [Encrypt].
func Decrypt[T any](s beam.Scope, ring string, col beam.PCollection, opts *Options) (out, bad beam.PCollection, err error) {
	if err := noSealed[T]("Decrypt", "DecryptTo"); err != nil {
		return out, bad, err
	}
	return parDo[T, T](s, "Decrypt", col, &decryptFn[T, T]{verb: newVerb(ring, opts)}, "Register")
}

// DecryptTo decrypts a collection of T and makes a U of each element with to, in the same
// step, so that U may be what the next steps need of it and no more. It is [Decrypt] for
// records with a structseal.Sealed. to is a function that has a name, and safe for
// concurrent use; an element that it returns an error for is bad.
//
// Needs [RegisterDecryptTo] of the function. Errors: as [Encrypt].
func DecryptTo[T, U any](s beam.Scope, ring string, col beam.PCollection, to func(T) (U, error), opts *Options) (out, bad beam.PCollection, err error) {
	if to == nil {
		return out, bad, wrong[T]("DecryptTo of a nil function")
	}
	f := &decryptFn[T, U]{verb: newVerb(ring, opts), To: converting(to)}
	return parDo[T, U](s, "DecryptTo", col, f, "RegisterDecryptTo")
}

// Reencrypt brings a collection of T, sealed, under the keys that Encrypt would use now,
// as structseal.Reencrypt does: a value that names such a key already is passed on
// without decrypting it, and so is one of a subject that was forgotten. out has every
// element but those in bad, a collection of [Bad] of T. Ciphertext comes in and goes out;
// plaintext stays in the step. Each worker reads the ring's record when it starts, so
// that it knows the keys of that moment.
//
// Needs [Register] of T. Errors: as [Encrypt].
func Reencrypt[T any](s beam.Scope, ring string, col beam.PCollection, opts *Options) (out, bad beam.PCollection, err error) {
	return parDo[T, T](s, "Reencrypt", col, &reencryptFn[T]{verb: newVerb(ring, opts)}, "Register")
}

// ErrPipeline: a verb that was given a collection of something else, or types that aren't
// registered.
var ErrPipeline = errors.New("pipeline does not fit")

// doFn is a DoFn of this package: it knows the record type it works on.
type doFn interface {
	check() error
}

// parDo adds a step from In to Out.
func parDo[In, Out any](s beam.Scope, name string, col beam.PCollection, f doFn, register string) (out, bad beam.PCollection, err error) {
	if err := f.check(); err != nil {
		return out, bad, err
	}
	if err := errors.Join(encodes(reflect.TypeFor[In]()), encodes(reflect.TypeFor[Out]())); err != nil {
		return out, bad, err
	}
	if !registered(reflect.TypeOf(f).Elem()) {
		return out, bad, fmt.Errorf("beamseal: %w: %s and %s: call beamseal.%s for them in an init function", ErrPipeline, reflect.TypeFor[In](), reflect.TypeFor[Out](), register)
	}
	if !s.IsValid() || !col.IsValid() {
		return out, bad, fmt.Errorf("beamseal: %w: a zero scope or collection", ErrPipeline)
	}
	if got := col.Type().Type(); got != reflect.TypeFor[In]() {
		return out, bad, fmt.Errorf("beamseal: %w: a collection of %s, not of %s", ErrPipeline, col.Type(), reflect.TypeFor[In]())
	}
	cols, err := beam.TryParDo(s.Scope("beamseal."+name), f, col)
	if err != nil {
		return out, bad, fmt.Errorf("beamseal: %w: %w", ErrPipeline, err)
	}
	return cols[0], cols[1], nil
}

// check looks at all that would otherwise fail at the first element, or lose something.
func check[T any](v *verb) error {
	if _, err := findRing(v.Ring); err != nil {
		return err
	}
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return wrong[T]("it is no struct")
	}
	if err := structseal.Check[T](); err != nil {
		return fmt.Errorf("beamseal: %w", err)
	}
	var zero T
	if _, err := structseal.Inspect(zero, v.Options.options()...); err != nil {
		return fmt.Errorf("beamseal: %w", err)
	}
	record, err := structseal.Describe[T]()
	if err != nil {
		return fmt.Errorf("beamseal: %w", err)
	}
	for _, label := range record.Require {
		if v.Options.Bind[label] == "" {
			return fmt.Errorf("beamseal: %s: %w: its marker requires Options.Bind[%q]", t, structseal.ErrUnbound, label)
		}
	}
	for _, b := range record.Binds {
		if _, ok := v.Options.Bind[b.Label]; ok {
			return wrong[T](fmt.Sprintf("Options.Bind[%q] has the label of a bind field", b.Label))
		}
	}
	return survives(t)
}

func noSealed[T any](verb, other string) error {
	if holdsSealed(reflect.TypeFor[T](), map[reflect.Type]bool{}) {
		return wrong[T](fmt.Sprintf("it has a structseal.Sealed, which is in no collection while it isn't sealed: use %s instead of %s", other, verb))
	}
	return nil
}

func holdsSealed(t reflect.Type, seen map[reflect.Type]bool) bool {
	if isSealed(t) {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsSealed(t.Field(i).Type, seen) {
				return true
			}
		}
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return holdsSealed(t.Elem(), seen)
	}
	return false
}

func wrong[T any](what string) error {
	return fmt.Errorf("beamseal: %s: %w: %s", reflect.TypeFor[T](), structseal.ErrInvalidArgument, what)
}

type encryptFn[U, T any] struct {
	verb
	From conversion[U, T]
}

func (f *encryptFn[U, T]) check() error { return errors.Join(check[T](&f.verb), f.From.check()) }

// Setup is called by Beam.
func (f *encryptFn[U, T]) Setup(ctx context.Context) error {
	f.From.open()
	return f.open(ctx)
}

// ProcessElement is called by Beam.
func (f *encryptFn[U, T]) ProcessElement(ctx context.Context, in U, out func(T), bad func(Bad[U])) error {
	plain, err := f.From.do("encrypt", in)
	if err != nil {
		return failed(ctx, in, err, bad)
	}
	row, err := structseal.Encrypt(ctx, f.ring, plain, f.opts...)
	if err != nil {
		return failed(ctx, in, err, bad)
	}
	out(row)
	encrypted.Inc(ctx, 1)
	return nil
}

type decryptFn[T, U any] struct {
	verb
	To conversion[T, U]
}

func (f *decryptFn[T, U]) check() error { return errors.Join(check[T](&f.verb), f.To.check()) }

// Setup is called by Beam.
func (f *decryptFn[T, U]) Setup(ctx context.Context) error {
	f.To.open()
	return f.open(ctx)
}

// ProcessElement is called by Beam.
func (f *decryptFn[T, U]) ProcessElement(ctx context.Context, in T, out func(U), bad func(Bad[T])) error {
	plain, err := structseal.Decrypt(ctx, f.ring, in, f.opts...)
	if err != nil {
		return failed(ctx, in, err, bad)
	}
	u, err := f.To.do("decrypt", plain)
	if err != nil {
		return failed(ctx, in, err, bad)
	}
	out(u)
	decrypted.Inc(ctx, 1)
	return nil
}

type reencryptFn[T any] struct {
	verb
}

func (f *reencryptFn[T]) check() error { return check[T](&f.verb) }

// Setup is called by Beam.
func (f *reencryptFn[T]) Setup(ctx context.Context) error {
	if err := f.open(ctx); err != nil {
		return err
	}
	// A ring that has been open for a while may not have heard of the rotation that the
	// job was started for, and would find everything current.
	if err := f.ring.Refresh(ctx); err != nil {
		return fmt.Errorf("beamseal: ring %q: %w", f.Ring, err)
	}
	return nil
}

// ProcessElement is called by Beam.
func (f *reencryptFn[T]) ProcessElement(ctx context.Context, in T, out func(T), bad func(Bad[T])) error {
	row, found, err := structseal.Reencrypt(ctx, f.ring, in, f.opts...)
	if err != nil {
		return failed(ctx, in, err, bad)
	}
	out(row)
	switch {
	case found.Changed > 0:
		reencrypted.Inc(ctx, 1)
	case found.Forgotten > 0:
		forgotten.Inc(ctx, 1)
	default:
		current.Inc(ctx, 1)
	}
	return nil
}
