package structseal

import (
	"context"
	"iter"
	"reflect"
	"runtime"
	"slices"
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
// seq and the loop's body run in the caller's goroutine. Records that were read
// ahead are worked on meanwhile, in goroutines that have ended when the loop has;
// what leaves the loop early waits for at most 16 records each. A panic of a
// marshaler comes out in the caller's goroutine, when its records' turn has come.
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
	total := o.plaintexts
	if total != nil { // counts for a call that succeeds
		private := *o
		private.plaintexts = new(atomic.Int64)
		o = &private
	}
	out := make([]T, len(vs))
	b := batch[T]{ctx, ring, op, reflect.TypeFor[T](), o}
	size := max(1, len(vs))
	if mayHaveSubject(b.typ) {
		size = subjectBatch
	}
	for from := 0; from < len(vs); from += size {
		to := min(from+size, len(vs))
		if err := b.slice(from, vs[from:to], out[from:to]); err != nil {
			return nil, err
		}
	}
	if total != nil {
		total.Add(o.plaintexts.Load())
	}
	return out, nil
}

// batch is a verb on many records.
type batch[T any] struct {
	ctx  context.Context
	ring *keyring.Keyring
	op   string
	typ  reflect.Type // T
	o    *options
}

// slice does the verb on copies of vs, which go to out. The first has the index first.
func (b *batch[T]) slice(first int, vs, out []T) error {
	if mayHaveSubject(b.typ) {
		warmSubjects(b.ctx, b.ring, b.op, vs)
	}
	chunks := make([]chunk[T], (len(vs)+batchChunk-1)/batchChunk)
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(chunks) {
				return
			}
			from, to := i*batchChunk, min((i+1)*batchChunk, len(vs))
			// Not all at once: one core would copy while the others wait.
			copy(out[from:to], vs[from:to])
			chunks[i].records = out[from:to]
			if !chunks[i].run(b) {
				next.Store(int64(len(chunks))) // all that comes before was begun
			}
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(chunks)) - 1 {
		wg.Go(work)
	}
	func() {
		defer wg.Wait() // also if a marshaler ends this goroutine
		work()
	}()
	for i := range chunks {
		c := &chunks[i]
		c.rethrow()
		for at, err := range c.errs {
			if err == nil {
				continue
			}
			if err := b.bad(first+i*batchChunk+at, err); err != nil {
				return err
			}
			var zero T
			c.records[at] = zero
		}
	}
	return nil
}

// bad tells what a bad record ends the work with, or nil to go on.
func (b *batch[T]) bad(index int, err error) error {
	err = &RecordError{index, err}
	if b.o.onError != nil {
		err = b.o.onError(index, err)
	}
	return err
}

// chunk is what one goroutine works on at a time: up to batchChunk records.
type chunk[T any] struct {
	records  []T
	errs     []error // of the records, or nil
	panicked any
	done     chan struct{} // gets one when run has ended; nil in a slice
}

// run does the verb on the records, up to the first bad one unless there is OnError.
// It tells whether to go on with others.
func (c *chunk[T]) run(b *batch[T]) (ok bool) {
	returned := false
	defer func() {
		// A marshaler of the caller's panicked: the panic belongs in the caller's
		// goroutine, where it can be recovered. Or it ended this goroutine, which
		// must not pass for success.
		if c.panicked = recover(); c.panicked == nil && !returned {
			c.panicked = "structseal: a marshaler called runtime.Goexit"
		}
		if c.done != nil {
			c.done <- struct{}{}
		}
	}()
	j, p := b.flats(c.records)
	if j != nil {
		defer j.release()
	}
	for i := range c.records {
		var err error
		if v := unsafe.Pointer(&c.records[i]); j == nil {
			err = run(b.ctx, b.ring, b.op, b.typ, v, b.o)
		} else if err = ready(b.ctx, b.ring, b.op, p, b.o); err == nil {
			err = j.flatRecord(p, v)
			j.wipe()
		}
		if err == nil {
			continue
		}
		if c.errs == nil {
			c.errs = make([]error, len(c.records))
		}
		if c.errs[i] = err; b.o.onError == nil {
			break
		}
	}
	returned = true
	return c.errs == nil || b.o.onError != nil
}

// flats returns a job for flat records, one after the other, and their plan; none if
// they aren't flat.
func (b *batch[T]) flats(records []T) (*job, *plan) {
	p := flatPlan(b.typ)
	if p == nil {
		return nil, nil
	}
	j := newJob(b.ctx, b.ring, b.op, b.o)
	if b.op == opEncrypt {
		for i := range records {
			j.announced += p.present(unsafe.Pointer(&records[i]))
		}
	}
	return j, p
}

// rethrow panics in the caller's goroutine.
func (c *chunk[T]) rethrow() {
	if c.panicked != nil {
		panic(c.panicked)
	}
}

func sequence[T any](ctx context.Context, ring *keyring.Keyring, op string, seq iter.Seq2[T, error], opts []Option) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		t := reflect.TypeFor[T]()
		o, err := newOptions(opts)
		if err == nil {
			err = o.unbuffered()
		}
		if err == nil && t.Kind() != reflect.Interface {
			err = Check[T]()
		}
		if err == nil && seq == nil {
			err = invalid("a nil sequence")
		}
		if err != nil {
			yield(zero, err)
			return
		}
		s := stream[T]{batch: batch[T]{ctx, ring, op, t, o}, yield: yield, window: 1, limit: seqWindow, group: batchChunk}
		switch {
		case t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface:
			s.limit = 1
		case mayHaveSubject(t):
			// One group after the other: loading the next one's subjects could push
			// those out of the ring's cache that are still to be used.
			s.subjects, s.group, s.limit = true, subjectBatch, subjectBatch
		}
		s.queue = make(chan *chunk[T], seqWindow/batchChunk) // also of a group of subjects
		defer s.stop()
		for v, err := range seq {
			ok := false
			if err == nil {
				ok = s.add(v)
			} else {
				ok = s.flush() && s.failed(err)
			}
			if !ok {
				return
			}
		}
		s.flush()
	}
}

// stream is a sequence under way. The caller's goroutine reads and yields; while the
// window is full and its first chunk isn't done, it works on chunks as the workers do.
type stream[T any] struct {
	batch[T]
	yield    func(T, error) bool
	index    int  // of the record to yield next
	window   int  // records to read ahead now
	limit    int  // records to read ahead at most
	group    int  // records to begin with at once
	subjects bool // to be loaded for a group

	filling []*chunk[T] // the group that is being read
	filled  int         // records in it
	begun   []*chunk[T] // in order, not yet yielded
	ahead   int         // records in them
	free    []*chunk[T]
	known   []T // of a group, together

	queue   chan *chunk[T] // that nobody works on yet; has room for all
	workers int
	wg      sync.WaitGroup
}

// add takes a record and tells whether to go on.
func (s *stream[T]) add(v T) bool {
	if s.filled%batchChunk == 0 {
		s.filling = append(s.filling, s.chunk())
	}
	c := s.filling[len(s.filling)-1]
	c.records = append(c.records, v)
	s.filled++
	group := min(s.group, s.window)
	if s.filled < group {
		return true
	}
	s.begin()
	ok := s.advance(s.window - group)
	s.window = min(2*s.window, s.limit)
	return ok
}

func (s *stream[T]) chunk() *chunk[T] {
	if n := len(s.free); n > 0 {
		c := s.free[n-1]
		s.free = s.free[:n-1]
		return c
	}
	return &chunk[T]{records: make([]T, 0, min(batchChunk, s.limit)), done: make(chan struct{}, 1)}
}

// begin has the workers begin with what was read. There are as many as chunks can be
// worked on at once, this goroutine included.
func (s *stream[T]) begin() {
	if s.subjects {
		for _, c := range s.filling {
			s.known = append(s.known, c.records...)
		}
		warmSubjects(s.ctx, s.ring, s.op, s.known)
		clear(s.known)
		s.known = s.known[:0]
	}
	for _, c := range s.filling {
		s.queue <- c
		s.begun = append(s.begun, c)
		if s.workers+1 < min(runtime.GOMAXPROCS(0), len(s.begun)) {
			s.workers++
			s.wg.Go(func() {
				for c := range s.queue {
					c.run(&s.batch)
				}
			})
		}
	}
	s.ahead += s.filled
	s.filling, s.filled = s.filling[:0], 0
}

// advance yields chunks until no more than limit records are ahead, and those that
// are done anyway. It tells whether to go on.
func (s *stream[T]) advance(limit int) bool {
	for len(s.begun) > 0 {
		c := s.begun[0]
		if s.ahead > limit {
			s.wait(c)
		} else {
			select {
			case <-c.done:
			default:
				return true
			}
		}
		s.begun = slices.Delete(s.begun, 0, 1)
		s.ahead -= len(c.records)
		if !s.deliver(c) {
			return false
		}
	}
	return true
}

// wait works until a chunk is done.
func (s *stream[T]) wait(c *chunk[T]) {
	for {
		select {
		case <-c.done:
			return
		case other := <-s.queue:
			other.run(&s.batch)
		}
	}
}

// deliver yields the records of a chunk and tells whether to go on.
func (s *stream[T]) deliver(c *chunk[T]) bool {
	c.rethrow()
	for i, v := range c.records {
		if c.errs != nil && c.errs[i] != nil {
			if !s.failed(c.errs[i]) {
				return false
			}
			continue
		}
		if s.index++; !s.yield(v, nil) {
			return false
		}
	}
	clear(c.records)
	c.records, c.errs = c.records[:0], nil
	s.free = append(s.free, c)
	return true
}

// failed handles a bad record, or an error in its place, and tells whether to go on.
func (s *stream[T]) failed(err error) bool {
	if err = s.bad(s.index, err); err != nil {
		var zero T
		s.yield(zero, err)
		return false
	}
	s.index++
	return true
}

// flush yields what was read.
func (s *stream[T]) flush() bool {
	s.begin()
	return s.advance(0)
}

// stop ends the workers; what they haven't begun is dropped.
func (s *stream[T]) stop() {
	close(s.queue)
	for range s.queue {
	}
	s.wg.Wait()
}
