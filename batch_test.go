package structseal_test

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
)

type page struct {
	_    structseal.Record `seal:"page"`
	ID   int               `seal:"id,bind"`
	Text string            `seal:"text"`
	List []string          `seal:"list"`
}

func pages(n int) []page {
	vs := make([]page, n)
	for i := range vs {
		vs[i] = page{ID: i + 1, Text: fmt.Sprint("text ", i), List: []string{"a", fmt.Sprint(i)}}
	}
	return vs
}

// input yields copies of vs through one variable, as Rows.Scan does, and counts
// how many were read.
func input[T any](vs []T, read *int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var row T
		for _, v := range vs {
			row = v
			*read++
			if !yield(row, nil) {
				return
			}
		}
	}
}

// source is input for those who don't count.
func source[T any](vs []T) iter.Seq2[T, error] { return input(vs, new(int)) }

func TestBatchAll(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	for _, n := range []int{0, 1, 15, 16, 17, 33, 10_000} {
		vs := pages(n)
		rows := must(structseal.EncryptAll(ctx, ring, vs))(t)
		if d := difference(vs, pages(n)); d != "" {
			t.Fatalf("%d: the input was changed: %s", n, d)
		}
		for i := range rows {
			if rows[i].ID != i+1 || !strings.HasPrefix(rows[i].Text, "s1.") {
				t.Fatalf("%d: record %d: %+v", n, i, rows[i])
			}
		}
		back := must(structseal.DecryptAll(ctx, ring, rows))(t)
		if d := difference(back, vs); d != "" {
			t.Fatalf("%d: %s", n, d)
		}
	}
	if out, err := structseal.EncryptAll[page](ctx, ring, nil); out != nil || err != nil {
		t.Errorf("nil: %v, %v", out, err)
	}
	pointers := []*page{{ID: 1, Text: "a"}, {ID: 2, Text: "b"}}
	rows := must(structseal.EncryptAll(ctx, ring, pointers))(t)
	if rows[0] == pointers[0] || pointers[1].Text != "b" {
		t.Error("pointers are shared, or what they point to was changed")
	}
	if back := must(structseal.DecryptAll(ctx, ring, rows))(t); back[1].Text != "b" {
		t.Errorf("%+v", back[1])
	}
	mixed := must(structseal.EncryptAll(ctx, ring, []any{page{ID: 1, Text: "a"}, &moveNoted{ID: "x", A: "b"}}))(t)
	if !strings.HasPrefix(mixed[1].(*moveNoted).A, "s1.") {
		t.Errorf("%+v", mixed[1])
	}
	_, err := structseal.EncryptAll(ctx, ring, []*page{{ID: 1}, nil})
	wantErr(t, "a nil pointer", err, structseal.ErrInvalidArgument)
}

type moveNoted struct {
	_  structseal.Record `seal:"noted"`
	ID string            `seal:"id,bind"`
	A  string            `seal:"a"`
}

// TestBatchErrors: the first bad record is the one that is told, whichever core
// met its error first; OnError decides.
func TestBatchErrors(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	for range 20 {
		vs := pages(400)
		for _, bad := range []int{399, 390, 137, 138} {
			vs[bad].ID = 0
		}
		out, err := structseal.EncryptAll(ctx, ring, vs)
		var re *structseal.RecordError
		if out != nil || !errors.As(err, &re) || re.Index != 137 || !errors.Is(err, structseal.ErrUnbound) {
			t.Fatalf("%d records, %v", len(out), err)
		}
		var asked []int
		out, err = structseal.EncryptAll(ctx, ring, vs, structseal.OnError(func(i int, err error) error {
			wantErr(t, "OnError", err, structseal.ErrUnbound)
			asked = append(asked, i)
			return nil
		}))
		if err != nil || fmt.Sprint(asked) != "[137 138 390 399]" || len(out) != 400 {
			t.Fatalf("asked for %v: %v", asked, err)
		}
		if difference(out[138], page{}) != "" || out[139].ID != 140 || !strings.HasPrefix(out[398].Text, "s1.") {
			t.Fatal("a bad record isn't zero, or a good one is missing")
		}
		stop := errors.New("stop")
		asked = nil
		out, err = structseal.EncryptAll(ctx, ring, vs, structseal.OnError(func(i int, err error) error {
			if asked = append(asked, i); i == 138 {
				return stop
			}
			return nil
		}))
		if out != nil || err != stop || len(asked) != 2 {
			t.Fatalf("stopped: %v, %v", asked, err)
		}
	}
}

func TestBatchSeq(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	const n = 10_000
	vs := pages(n)
	read, i := 0, 0
	ahead := 0
	for row, err := range structseal.DecryptSeq(ctx, ring, structseal.EncryptSeq(ctx, ring, input(vs, &read))) {
		if err != nil || difference(row, vs[i]) != "" {
			t.Fatalf("record %d: %+v, %v", i, row, err)
		}
		if i++; i == 1 && read != 1 {
			t.Errorf("the first result comes after %d records were read", read)
		}
		ahead = max(ahead, read-i)
	}
	if i != n || read != n {
		t.Errorf("%d records of %d read", i, read)
	}
	if ahead > 2*512 { // of both sequences
		t.Errorf("%d records were read ahead", ahead)
	}
	if d := difference(vs, pages(n)); d != "" {
		t.Errorf("the input was changed: %s", d)
	}

	// One sequence alone keeps to its window, and uses it: how much of it is a matter
	// of who is faster.
	read, i, ahead = 0, 0, 0
	for row, err := range structseal.EncryptSeq(ctx, ring, input(vs, &read)) {
		if err != nil || row.ID != i+1 {
			t.Fatalf("record %d: %+v, %v", i, row, err)
		}
		ahead = max(ahead, read-i)
		i++
	}
	if i != n || ahead > 512 || ahead < 2*16 {
		t.Errorf("%d records, %d were read ahead", i, ahead)
	}

	// A consumer that leaves stops the input.
	read, i = 0, 0
	seq := structseal.EncryptSeq(ctx, ring, input(vs, &read))
	for range seq {
		if i++; i == 100 {
			break
		}
	}
	if read > 100+512 {
		t.Errorf("%d records were read", read)
	}
	// And it may be used again.
	for row, err := range seq {
		if row.ID != 1 || err != nil {
			t.Errorf("again: %+v, %v", row, err)
		}
		break
	}
	// Pointers are not read ahead: the input may reuse what they point to.
	read, i = 0, 0
	reused := func(yield func(*page, error) bool) {
		var row page
		for _, v := range vs[:50] {
			row = v
			if read++; !yield(&row, nil) {
				return
			}
		}
	}
	for row, err := range structseal.EncryptSeq(ctx, ring, reused) {
		if err != nil || row.ID != i+1 || read != i+1 || !strings.HasPrefix(row.Text, "s1.") {
			t.Fatalf("pointer %d: %+v, %v (%d read)", i, row, err, read)
		}
		i++
	}
	for _, err := range structseal.EncryptSeq[page](ctx, ring, nil) {
		wantErr(t, "a nil sequence", err, structseal.ErrInvalidArgument)
	}
	for _, err := range structseal.EncryptSeq(ctx, ring, func(yield func(struct{ A string }, error) bool) {
		t.Error("data moved before the tags were checked")
	}) {
		wantErr(t, "no tags", err, structseal.ErrNoFields)
	}
}

func TestBatchSeqErrors(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	broken := errors.New("connection lost")
	vs := pages(100)
	vs[40].ID = 0
	source := func(yield func(page, error) bool) {
		for i, v := range vs {
			var err error
			if i == 60 {
				err = broken
			}
			if !yield(v, err) {
				return
			}
		}
	}
	collect := func(seq iter.Seq2[page, error]) (ids []int, errs []error) {
		for row, err := range seq {
			if err != nil {
				if difference(row, page{}) != "" {
					t.Errorf("a record with an error: %+v", row)
				}
				errs = append(errs, err)
				continue
			}
			ids = append(ids, row.ID)
		}
		return ids, errs
	}
	var re *structseal.RecordError
	ids, errs := collect(structseal.EncryptSeq(ctx, ring, source))
	if len(ids) != 40 || len(errs) != 1 || !errors.As(errs[0], &re) || re.Index != 40 || !errors.Is(errs[0], structseal.ErrUnbound) {
		t.Errorf("%d records, %v", len(ids), errs)
	}
	var asked []int
	skip := structseal.OnError(func(i int, err error) error { asked = append(asked, i); return nil })
	ids, errs = collect(structseal.EncryptSeq(ctx, ring, source, skip))
	if len(ids) != 98 || len(errs) != 0 || fmt.Sprint(asked) != "[40 60]" || ids[40] != 42 || ids[59] != 62 {
		t.Errorf("left out: %d records, %v, asked for %v", len(ids), errs, asked)
	}
	stop := structseal.OnError(func(i int, err error) error {
		if i == 60 {
			return fmt.Errorf("no: %w", err)
		}
		return nil
	})
	ids, errs = collect(structseal.EncryptSeq(ctx, ring, source, stop))
	if len(ids) != 59 || len(errs) != 1 || !errors.Is(errs[0], broken) {
		t.Errorf("stopped: %d records, %v", len(ids), errs)
	}
}

// bomb is a value whose marshaler does what it was told.
type bomb struct{ does func() }

func (b bomb) MarshalText() ([]byte, error) {
	if b.does != nil {
		b.does()
	}
	return []byte("x"), nil
}
func (b *bomb) UnmarshalText([]byte) error { return nil }

func bombs(n int) []sealedOne[bomb] {
	vs := make([]sealedOne[bomb], n)
	for i := range vs {
		vs[i] = sealedOne[bomb]{ID: i + 1, V: structseal.Of(bomb{})}
	}
	return vs
}

// panicOf returns what f panics with.
func panicOf(f func()) (r any) {
	defer func() { r = recover() }()
	f()
	return nil
}

// TestBatchPanics: a panic of the caller's marshaler comes out in the caller's
// goroutine.
func TestBatchPanics(t *testing.T) {
	ring := fixedRing(t, "r")
	vs := bombs(200)
	vs[100].V = structseal.Of(bomb{func() { panic("bomb") }})
	if r := panicOf(func() { structseal.EncryptAll(t.Context(), ring, vs) }); r != "bomb" {
		t.Errorf("EncryptAll panics with %v", r)
	}
	n := 0
	if r := panicOf(func() {
		for range structseal.EncryptSeq(t.Context(), ring, source(vs)) {
			n++
		}
	}); r != "bomb" || n > 100 || n < 100-16 {
		t.Errorf("EncryptSeq panics with %v after %d records", r, n)
	}
	// Those of the input and of the loop's body pass through.
	if r := panicOf(func() {
		for range structseal.EncryptSeq(t.Context(), ring, func(yield func(page, error) bool) {
			source(pages(100))(yield)
			panic("input")
		}) {
		}
	}); r != "input" {
		t.Errorf("EncryptSeq panics with %v", r)
	}
	n = 0
	if r := panicOf(func() {
		for range structseal.EncryptSeq(t.Context(), ring, source(pages(1_000))) {
			if n++; n == 200 {
				panic("body")
			}
		}
	}); r != "body" {
		t.Errorf("EncryptSeq panics with %v", r)
	}
	// What was in the middle of a record isn't in the way of the next.
	if _, err := structseal.EncryptAll(t.Context(), ring, pages(100)); err != nil {
		t.Error(err)
	}
}

// TestBatchGoexit: a marshaler that ends the goroutine it happens to run in (a
// t.FailNow, say) must not leave records that pass for sealed.
func TestBatchGoexit(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one core: no goroutine to end but the caller's")
	}
	ring := fixedRing(t, "r")
	exits := func() []sealedOne[bomb] {
		gone := make(chan struct{})
		var once sync.Once
		vs := bombs(200)
		for i := range vs[100:] {
			vs[100+i].V = structseal.Of(bomb{func() {
				if strings.Contains(string(debug.Stack()), "created by sync.(*WaitGroup).Go") {
					once.Do(func() { close(gone) })
					runtime.Goexit()
				}
				<-gone // so that another goroutine gets some of them
			}})
		}
		return vs
	}
	if r := panicOf(func() { structseal.EncryptAll(t.Context(), ring, exits()) }); r == nil || !strings.Contains(fmt.Sprint(r), "Goexit") {
		t.Errorf("EncryptAll panics with %v", r)
	}
	if r := panicOf(func() {
		for row := range structseal.EncryptSeq(t.Context(), ring, source(exits())) {
			if !row.V.IsSealed() {
				t.Error("a record that isn't sealed passes for it")
			}
		}
	}); r == nil || !strings.Contains(fmt.Sprint(r), "Goexit") {
		t.Errorf("EncryptSeq panics with %v", r)
	}
}

// TestBatchGoroutines: nothing runs on when a verb has returned, whatever ended
// it. In a bubble a goroutine that is left is a deadlock.
func TestBatchGoroutines(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("the FIPS module gathers entropy by looking at the clock, which stands still in a bubble: it panics")
	}
	vs := pages(500)
	vs[300].ID = 0
	synctest.Test(t, func(t *testing.T) {
		ring := fixedRing(t, "r")
		if _, err := structseal.EncryptAll(t.Context(), ring, vs); err == nil {
			t.Error("no error")
		}
		for _, last := range []int{1, 2, 40, 77, 250} {
			n := 0
			for range structseal.EncryptSeq(t.Context(), ring, source(vs)) {
				if n++; n == last {
					break
				}
			}
		}
		for _, err := range structseal.EncryptSeq(t.Context(), ring, source(vs)) {
			if err != nil {
				wantErr(t, "the bad one", err, structseal.ErrUnbound)
			}
		}
		panicOf(func() {
			for row := range structseal.EncryptSeq(t.Context(), ring, source(vs)) {
				if row.ID == 250 {
					panic("body")
				}
			}
		})
		next, stop := iter.Pull2(structseal.EncryptSeq(t.Context(), ring, source(vs)))
		next()
		stop()
	})
}

// TestBatchSeqMeanwhile: what was read ahead is worked on while the loop's body runs,
// and a loop that is left waits for what is under way.
func TestBatchSeqMeanwhile(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("see TestBatchGoroutines")
	}
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one core: nobody to work meanwhile")
	}
	const n = 2_000
	synctest.Test(t, func(t *testing.T) { // who waits for ever is a deadlock at once
		ring := fixedRing(t, "r")
		vs := bombs(n)
		worked := make([]chan struct{}, n)
		for i := range vs {
			worked[i] = make(chan struct{})
			vs[i].V = structseal.Of(bomb{func() { close(worked[i]) }})
		}
		read, i, waited := 0, 0, 0
		for range structseal.EncryptSeq(t.Context(), ring, input(vs, &read)) {
			if i++; read >= i+2*16 {
				<-worked[read-1]
				waited++
			}
		}
		if i != n || waited == 0 {
			t.Errorf("%d records, %d times something was read ahead", i, waited)
		}

		var open, left atomic.Bool
		var late atomic.Int64
		gate := make(chan struct{})
		vs = bombs(n)
		for i := range vs[300:] {
			vs[300+i].V = structseal.Of(bomb{func() {
				if strings.Contains(string(debug.Stack()), "created by sync.(*WaitGroup).Go") {
					<-gate
				}
				if left.Load() {
					late.Add(1)
				}
			}})
		}
		i = 0
		for range structseal.EncryptSeq(t.Context(), ring, source(vs)) {
			if i++; i == 300-16 {
				left.Store(true)
				break
			}
			if i > 200 {
				synctest.Wait() // till the others are as far as they get
			}
			if i == 300-17 {
				time.AfterFunc(time.Second, func() { open.Store(true); close(gate) })
			}
		}
		if !open.Load() {
			t.Error("the loop has ended before its goroutines")
		}
		if n := late.Load(); n > int64(16*(runtime.GOMAXPROCS(0)-1)) {
			t.Errorf("%d records were worked on when the loop was left", n)
		}
	})
}

// TestBatchSeqMemory: a long sequence keeps what was read ahead and no more.
func TestBatchSeqMemory(t *testing.T) {
	type noted struct {
		_    structseal.Record `seal:"noted"`
		ID   int               `seal:"id,bind"`
		Text string            `seal:"text"`
		Note *[64]byte
	}
	ring := fixedRing(t, "r")
	const n = 5_000
	var live atomic.Int64
	in := func(yield func(noted, error) bool) {
		for i := range n {
			v := noted{ID: i + 1, Text: "text", Note: new([64]byte)}
			live.Add(1)
			runtime.AddCleanup(v.Note, func(int) { live.Add(-1) }, 0)
			if !yield(v, nil) {
				return
			}
		}
	}
	// Cleanups come some time after the collection.
	atMost := func(n int64) bool {
		for range 1_000 {
			if live.Load() <= n {
				return true
			}
			runtime.GC()
		}
		return false
	}
	i := 0
	for row, err := range structseal.EncryptSeq(t.Context(), ring, in) {
		if err != nil || row.ID != i+1 {
			t.Fatalf("%+v, %v", row, err)
		}
		if i++; i%1_000 == 500 && !atMost(512+1) {
			t.Fatalf("%d of %d records are kept", live.Load(), i)
		}
		if i == n && !atMost(16+1) { // the chunk that it is in
			t.Fatalf("%d records are kept at the end", live.Load())
		}
	}
	if i != n {
		t.Errorf("%d records", i)
	}
}

// TestBatchCancel: cancelling in the middle ends a batch with the context's error.
func TestBatchCancel(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for row, err := range structseal.EncryptSeq(ctx, ring, source(pages(5_000))) {
		if n++; n == 1_000 {
			cancel()
		}
		if last = err; err == nil && !strings.HasPrefix(row.Text, "s1.") {
			t.Fatal("not sealed")
		}
	}
	var re *structseal.RecordError
	wantErr(t, "cancelled", last, context.Canceled)
	if !errors.As(last, &re) || re.Index != n-1 || n < 1_000 || n > 1_000+512 {
		t.Errorf("ended after %d records: %v", n, last)
	}
	_, err := structseal.EncryptAll(ctx, ring, pages(100))
	wantErr(t, "cancelled before", err, context.Canceled)
}

// TestConcurrent uses one ring, one value and the pooled state from many
// goroutines; run with -race.
func TestConcurrent(t *testing.T) {
	ring := fixedRing(t, "r")
	v := newWide()
	row := must(structseal.Encrypt(t.Context(), ring, v))(t)
	bad := row
	bad.Last = row.Text
	t.Run("group", func(t *testing.T) {
		for g := range 8 {
			t.Run(fmt.Sprint(g), func(t *testing.T) {
				t.Parallel()
				for range 40 {
					out := must(structseal.Encrypt(t.Context(), ring, v))(t)
					if _, err := structseal.Decrypt(t.Context(), ring, bad); err == nil {
						t.Fatal("no error")
					}
					if _, err := structseal.Encrypt(t.Context(), ring, row); err == nil {
						t.Fatal("no error")
					}
					for _, in := range []wide{out, row} {
						if d := difference(must(structseal.Decrypt(t.Context(), ring, in))(t), v); d != "" {
							t.Fatal(d)
						}
					}
					if g == 0 {
						must(ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}))(t)
					}
				}
			})
		}
	})
	if d := difference(v, newWide()); d != "" {
		t.Error(d)
	}
}
