package structseal

import (
	"context"
	"iter"
	"math"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/structseal/structseal/keyring"
)

const (
	// batchChunk records are one worker's unit of work.
	batchChunk = 16
	// seqWindow is how many records a sequence reads ahead at most. The window
	// starts at one and doubles, so that the first result comes at once.
	seqWindow = 512
)

// EncryptAll is [Encrypt] for a slice, on all cores. The result has the order of
// vs; vs isn't changed. A nil slice gives nil.
//
// Errors: the first bad record's, as a *[RecordError] with its index, and no
// records; see [OnError] for going on.
func EncryptAll[T any](ctx context.Context, ring *keyring.Keyring, vs []T, opts ...Option) ([]T, error) {
	return all(ctx, ring, opEncrypt, vs, opts)
}

// DecryptAll is [Decrypt] in the manner of [EncryptAll].
func DecryptAll[T any](ctx context.Context, ring *keyring.Keyring, vs []T, opts ...Option) ([]T, error) {
	return all(ctx, ring, opDecrypt, vs, opts)
}

// EncryptSeq is [Encrypt] for a sequence, on all cores, in order. It reads at
// most 512 records ahead (one at first), so memory is bounded and the first
// result comes before the last input is read. Records are copied when they are
// read, so the input may reuse its variable; when T is a pointer or an interface
// nothing is read ahead, for the same reason. Slices and maps inside a record
// must not be reused by the input.
//
// A bad record, or an error of the input, is yielded as a *[RecordError] with
// T's zero value and ends the sequence; see [OnError] for going on.
func EncryptSeq[T any](ctx context.Context, ring *keyring.Keyring, seq iter.Seq2[T, error], opts ...Option) iter.Seq2[T, error] {
	return sequence(ctx, ring, opEncrypt, seq, opts)
}

// DecryptSeq is [Decrypt] in the manner of [EncryptSeq].
func DecryptSeq[T any](ctx context.Context, ring *keyring.Keyring, seq iter.Seq2[T, error], opts ...Option) iter.Seq2[T, error] {
	return sequence(ctx, ring, opDecrypt, seq, opts)
}

func all[T any](ctx context.Context, ring *keyring.Keyring, op string, vs []T, opts []Option) ([]T, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	if err := o.unbuffered(); err != nil {
		return nil, err
	}
	if err := Check[T](); err != nil && reflect.TypeFor[T]().Kind() != reflect.Interface {
		return nil, err
	}
	if vs == nil {
		return nil, nil
	}
	out := make([]T, len(vs))
	copy(out, vs)
	total := o.plaintexts
	if total != nil { // counts for a call that succeeds
		private := *o
		private.plaintexts = new(atomic.Int64)
		o = &private
	}
	errs := batch(ctx, ring, op, out, o)
	for i, err := range errs {
		if err == nil {
			continue
		}
		err = &RecordError{i, err}
		if o.onError != nil {
			err = o.onError(i, err)
		}
		if err != nil {
			return nil, err
		}
		var zero T
		out[i] = zero
	}
	if total != nil {
		total.Add(o.plaintexts.Load())
	}
	return out, nil
}

// batch does a verb on every record of a slice of copies; see batchOnce. Records
// of subjects go in smaller numbers, each with its subjects loaded at once.
func batch[T any](ctx context.Context, ring *keyring.Keyring, op string, out []T, o *options) []error {
	if !mayHaveSubject(reflect.TypeFor[T]()) {
		return batchOnce(ctx, ring, op, out, o)
	}
	var errs []error
	for from := 0; from < len(out); from += subjectBatch {
		part := out[from:min(from+subjectBatch, len(out))]
		warmSubjects(ctx, ring, op, part)
		failed := batchOnce(ctx, ring, op, part, o)
		if failed == nil {
			continue
		}
		if errs == nil {
			errs = make([]error, len(out))
		}
		copy(errs[from:], failed)
		if o.onError == nil {
			break
		}
	}
	return errs
}

// batchOnce does a verb on every record of a slice of copies and returns nil or an
// error for each. Without OnError the records after the first bad one may be
// left undone.
func batchOnce[T any](ctx context.Context, ring *keyring.Keyring, op string, out []T, o *options) []error {
	t := reflect.TypeFor[T]()
	var (
		mu       sync.Mutex
		errs     []error
		next     atomic.Int64
		firstBad atomic.Int64
		panicked any
	)
	firstBad.Store(math.MaxInt64)
	work := func() {
		finished := false
		defer func() {
			// A marshaler of the caller's panicked: the panic belongs in the
			// caller's goroutine, where it can be recovered. Or it ended this
			// goroutine, which must not pass for success.
			if r := recover(); !finished {
				mu.Lock()
				defer mu.Unlock()
				if panicked = r; r == nil {
					panicked = "structseal: a marshaler called runtime.Goexit"
				}
				firstBad.Store(-1)
			}
		}()
		for {
			start := int(next.Add(batchChunk)) - batchChunk
			for i := start; i < min(start+batchChunk, len(out)); i++ {
				if int64(i) > firstBad.Load() {
					finished = true
					return
				}
				err := run(ctx, ring, op, t, unsafe.Pointer(&out[i]), o)
				if err == nil {
					continue
				}
				mu.Lock()
				if errs == nil {
					errs = make([]error, len(out))
				}
				errs[i] = err
				if o.onError == nil && int64(i) < firstBad.Load() {
					firstBad.Store(int64(i))
				}
				mu.Unlock()
			}
			if start >= len(out) {
				finished = true
				return
			}
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (len(out)+batchChunk-1)/batchChunk) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if panicked != nil {
		panic(panicked)
	}
	return errs
}

func sequence[T any](ctx context.Context, ring *keyring.Keyring, op string, seq iter.Seq2[T, error], opts []Option) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		o, err := newOptions(opts)
		if err == nil {
			err = o.unbuffered()
		}
		if err == nil && reflect.TypeFor[T]().Kind() != reflect.Interface {
			err = Check[T]()
		}
		if err == nil && seq == nil {
			err = invalid("a nil sequence")
		}
		if err != nil {
			yield(zero, err)
			return
		}
		limit := seqWindow
		if k := reflect.TypeFor[T]().Kind(); k == reflect.Pointer || k == reflect.Interface {
			limit = 1
		}
		s := reader[T]{ctx: ctx, ring: ring, op: op, o: o, yield: yield}
		window := 1
		for v, err := range seq {
			if s.add(v, err); err != nil || len(s.window) == window {
				if !s.flush() {
					return
				}
				window = min(2*window, limit)
			}
		}
		s.flush()
	}
}

// reader is a sequence under way: what was read ahead, and where it began.
type reader[T any] struct {
	ctx    context.Context
	ring   *keyring.Keyring
	op     string
	o      *options
	yield  func(T, error) bool
	first  int // index of window[0]
	window []T
	failed error // of the input, after the window
}

func (s *reader[T]) add(v T, err error) {
	if err != nil {
		s.failed = err
		return
	}
	s.window = append(s.window, v)
}

// flush yields the window and tells whether to go on.
func (s *reader[T]) flush() bool {
	var errs []error
	if len(s.window) > 0 {
		errs = batch(s.ctx, s.ring, s.op, s.window, s.o)
	}
	for i, v := range s.window {
		if errs != nil && errs[i] != nil {
			if !s.bad(s.first+i, errs[i]) {
				return false
			}
			continue
		}
		if !s.yield(v, nil) {
			return false
		}
	}
	s.first += len(s.window)
	clear(s.window)
	s.window = s.window[:0]
	if err := s.failed; err != nil {
		s.failed = nil
		s.first++
		return s.bad(s.first-1, err)
	}
	return true
}

// bad handles a bad record and tells whether to go on.
func (s *reader[T]) bad(i int, err error) bool {
	err = &RecordError{i, err}
	if s.o.onError != nil {
		if err = s.o.onError(i, err); err == nil {
			return true
		}
	}
	var zero T
	s.yield(zero, err)
	return false
}
