package beamseal

import (
	"context"
	"reflect"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/coder"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/reflectx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

// Register tells Beam of what Encrypt, Decrypt and Reencrypt of T need. Call it in an
// init function, after the coder of T if that has one of its own.
func Register[T any]() {
	registerVerb[T, T](&encryptFn[T, T]{})
	registerVerb[T, T](&decryptFn[T, T]{})
	registerVerb[T, T](&reencryptFn[T]{})
}

// RegisterEncryptFrom tells Beam of a function that [EncryptFrom] is given. Call it in an
// init function.
func RegisterEncryptFrom[U, T any](from func(U) (T, error)) {
	registerVerb[U, T](&encryptFn[U, T]{})
	registerFunction(from)
}

// RegisterDecryptTo tells Beam of a function that [DecryptTo] is given. Call it in an
// init function.
func RegisterDecryptTo[T, U any](to func(T) (U, error)) {
	registerVerb[T, U](&decryptFn[T, U]{})
	registerFunction(to)
}

func registerVerb[In, Out any](f processor[In, Out]) {
	t := reflect.TypeOf(f).Elem()
	if registered(t) {
		return
	}
	in, out, badIn := reflect.TypeFor[In](), reflect.TypeFor[Out](), reflect.TypeFor[Bad[In]]()
	if encodes(in) != nil || encodes(out) != nil {
		return // the verbs say so
	}
	// Its coder first: Beam makes no schema of a type that has one.
	coder.RegisterCoder(badIn, encodeBad, decodeBad)
	for _, t := range []reflect.Type{in, out, badIn} {
		if t.Kind() == reflect.Struct {
			beam.RegisterType(t)
		}
	}
	register.Emitter1[Out]()
	register.Emitter1[Bad[In]]()
	// What package register has for DoFns takes ten times as long to compile.
	beam.RegisterType(t)
	reflectx.RegisterStructWrapper(t, func(f any) map[string]reflectx.Func {
		return map[string]reflectx.Func{
			"ProcessElement": process[In, Out](f.(processor[In, Out]).ProcessElement),
			"Setup":          reflectx.MakeFunc(f.(processor[In, Out]).Setup),
		}
	})
}

func registered(t reflect.Type) bool {
	key, ok := runtime.TypeKey(t)
	if ok {
		_, ok = runtime.LookupType(key)
	}
	return ok
}

// processor is a DoFn of this package.
type processor[In, Out any] interface {
	Setup(ctx context.Context) error
	ProcessElement(ctx context.Context, in In, out func(Out), bad func(Bad[In])) error
}

// process calls a verb without reflection.
type process[In, Out any] func(ctx context.Context, in In, out func(Out), bad func(Bad[In])) error

func (p process[In, Out]) Name() string { return reflectx.FunctionName(p) }

func (p process[In, Out]) Type() reflect.Type {
	return reflect.TypeFor[func(ctx context.Context, in In, out func(Out), bad func(Bad[In])) error]()
}

func (p process[In, Out]) Call(args []any) []any {
	return []any{p.Call4x1(args[0], args[1], args[2], args[3])}
}

func (p process[In, Out]) Call4x1(ctx, in, out, bad any) any {
	return p(ctx.(context.Context), in.(In), out.(func(Out)), bad.(func(Bad[In])))
}

func registerFunction[A, B any](f func(A) (B, error)) {
	if f == nil {
		return
	}
	register.Function1x2(f)
	functions.Store(reflectx.FunctionName(f), true)
}

// functions has the names of the functions that are registered. Another one might be found
// by its name all the same, but not on every worker.
var functions sync.Map
