package keyringtest

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/structseal/structseal/keyring"
)

func quote(b []byte) string       { return strconv.QuoteToASCII(string(b)) }
func decimal(n int) string        { return strconv.Itoa(n) }
func text(s string) []byte        { return []byte(s) } // a fresh slice each time
func at(n uint64) string          { return "revision-" + strconv.FormatUint(n, 10) }
func rec(n uint64) keyring.Record { return keyring.Record{Revision: n, Data: text(at(n))} }

// testNotFound: a ring that nobody stored is ErrNotFound and nothing else.
func testNotFound(e *env) {
	r, err := e.store.Load(e.ctx, e.name("none"))
	if !errors.Is(err, keyring.ErrNotFound) || errors.Is(err, keyring.ErrConflict) || errors.Is(err, keyring.ErrUnavailable) {
		e.Fatalf("Load: error %v, want ErrNotFound alone", err)
	}
	if r.Revision != 0 || r.Data != nil {
		e.Errorf("Load: revision %d and %s with an error", r.Revision, brief(r.Data))
	}
}

// testCreate: old 0 makes a ring once, and never replaces one.
func testCreate(e *env) {
	name := e.name("ring")
	e.create(name, rec(1))
	e.holds(e.store, name, rec(1))
	for _, next := range []uint64{1, 2} {
		err := e.store.CompareAndSwap(e.ctx, name, 0, keyring.Record{Revision: next, Data: text("another")})
		if !errors.Is(err, keyring.ErrConflict) {
			e.Errorf("creating it again at revision %d: error %v, want ErrConflict", next, err)
		}
		e.holds(e.store, name, rec(1))
	}
}

// testConflict: only the revision that is stored can be replaced.
func testConflict(e *env) {
	name := e.name("ring")
	refused := func(name string, old uint64, next keyring.Record) {
		e.Helper()
		err := e.store.CompareAndSwap(e.ctx, name, old, next)
		if !errors.Is(err, keyring.ErrConflict) || errors.Is(err, keyring.ErrNotFound) || errors.Is(err, keyring.ErrUnavailable) {
			e.Errorf("CompareAndSwap from %d: error %v, want ErrConflict alone", old, err)
		}
	}
	for _, old := range []uint64{1, 7} {
		refused(name, old, rec(old+1))
		e.lacks(name, "after an update of nothing")
	}
	e.create(name, rec(1))
	e.swap(e.store, name, 1, rec(2))
	e.swap(e.store, name, 2, rec(3))
	e.holds(e.store, name, rec(3))
	for _, old := range []uint64{1, 2, 4, 300, math.MaxInt64 - 1} {
		next := rec(old + 1)
		next.Data = text("refused")
		refused(name, old, next)
		e.holds(e.store, name, rec(3))
	}
	e.swap(e.store, name, 3, rec(4))
	e.holds(e.store, name, rec(4))
}

// testBytes: a record comes back byte for byte, whatever is in it.
func testBytes(e *env) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	name := e.name("ring")
	e.create(name, keyring.Record{Revision: 1, Data: text("first")})
	revision := uint64(1)
	for _, data := range [][]byte{
		all,
		text("nul \x00 in the middle, at the end \x00"),
		text("\x00"),
		text("\xff\xfe not UTF-8 \xc3\x28 \xed\xa0\x80"),
		text("lines\nlines\r\nlines\r"),
		text(" \t space around \n "),
		text("'quotes' \"quotes\" `quotes` \\ %s $1 ? :name -- ; /* */"),
		text(`\x41 \\x41 \101`),       // looks like an encoding of bytes
		text("e\u0301 \u00e9 \u212b"), // not normalised
		text("1e3"), text("0001"), text("null"), text("true"),
		{},
		text("after the empty one"),
	} {
		next := keyring.Record{Revision: revision + 1, Data: data}
		e.swap(e.store, name, revision, next)
		e.holds(e.store, name, next)
		revision++
	}
	// From the start, too: inserting is another statement than updating.
	e.create(e.name("all"), keyring.Record{Revision: 1, Data: all})
	e.holds(e.store, e.name("all"), keyring.Record{Revision: 1, Data: all})
	e.create(e.name("empty"), keyring.Record{Revision: 1, Data: nil})
	e.holds(e.store, e.name("empty"), keyring.Record{Revision: 1})
}

// testLargestRecord: records up to MaxRecordSize, and smaller ones after them.
func testLargestRecord(e *env) {
	sizes := []int{1 << 10, 1<<16 - 1, 1 << 16, 1<<16 + 1, 200_000, keyring.MaxRecordSize - 1, keyring.MaxRecordSize}
	for i, size := range sizes {
		name := e.name("ring" + decimal(i))
		// Incompressible, in the letters that a record has.
		large := keyring.Record{Revision: 1, Data: text(random(size/2 + 1)[:size])}
		e.create(name, large)
		e.holds(e.store, name, large)
		e.swap(e.store, name, 1, rec(2))
		e.holds(e.store, name, rec(2))
		large.Revision = 3
		e.swap(e.store, name, 2, large)
		e.holds(e.store, name, large)
	}
}

// testRevisions: all 63 bits count. 2^53 is where float64 gives up.
func testRevisions(e *env) {
	name := e.name("ring")
	have := uint64(1)
	e.create(name, rec(have))
	for _, next := range []uint64{
		2, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1,
		1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<53 + 2,
		math.MaxInt64 - 2, math.MaxInt64 - 1, math.MaxInt64,
	} {
		// Neighbours, and what a narrower number would take for the same.
		for _, other := range []uint64{have - 1, have + 1, have ^ 1<<32, have ^ 1<<31, have & math.MaxUint32} {
			if other == have || other == 0 || other > math.MaxInt64 || next == other {
				continue
			}
			err := e.store.CompareAndSwap(e.ctx, name, other, keyring.Record{Revision: next, Data: text("refused")})
			if !errors.Is(err, keyring.ErrConflict) {
				e.Errorf("at revision %d, swap from %d: error %v, want ErrConflict", have, other, err)
			}
			e.holds(e.store, name, rec(have))
		}
		e.swap(e.store, name, have, rec(next))
		e.holds(e.store, name, rec(next))
		have = next
	}
	if err := e.store.CompareAndSwap(e.ctx, name, math.MaxInt64-1, rec(math.MaxInt64)); !errors.Is(err, keyring.ErrConflict) {
		e.Errorf("at the last revision, swap from the one before: error %v, want ErrConflict", err)
	}
	// Rings may come from elsewhere.
	for i, first := range []uint64{9, 1 << 40, math.MaxInt64} {
		name := e.name("from" + decimal(i))
		e.create(name, rec(first))
		e.holds(e.store, name, rec(first))
	}
}

// testNames: rings don't touch each other, however alike their names are.
func testNames(e *env) {
	long := strings.Repeat("x", 100-len(e.name("")))
	names := []string{
		"a", "ab", "a.b", "a-b", "a_b", "axb", "a..b", "a.-b", "a.b.", "a.b-", "b.a",
		"0", "00", "1", "1e1", "10", "1.0", "true", "null",
		"ss", "ae", "i", "a.ring", "a.lock", "a.tmp",
		long, long[1:], long[1:] + "y",
	}
	for i, n := range names {
		e.lacks(e.name(n), "before it was stored")
		e.create(e.name(n), keyring.Record{Revision: 1, Data: text("ring " + decimal(i))})
	}
	for i, n := range names {
		if i%2 == 0 {
			e.swap(e.store, e.name(n), 1, keyring.Record{Revision: 2, Data: text("changed " + decimal(i))})
		}
	}
	for i, n := range names {
		want := keyring.Record{Revision: 1, Data: text("ring " + decimal(i))}
		if i%2 == 0 {
			want = keyring.Record{Revision: 2, Data: text("changed " + decimal(i))}
		}
		e.holds(e.store, e.name(n), want)
	}
	// No ring has such a name. Whatever the store says, they aren't those rings.
	for _, n := range []string{
		"A", "AB", "A.B", "a.B", "a ", "a  ", " a", "a\x00", "a\t", "a\n", "a%", "a_%", "%", "a*",
		"\u00e4", "\u00e0", "\u00df", "\u00e6", "\u0130", "\u0131", "\uff41", "a\u00ad", "a\u200d", "a'--", long + "x",
	} {
		name := e.name(n)
		if r, err := e.store.Load(e.ctx, name); err == nil {
			e.Errorf("Load of %+q, which was never stored: %s", n, brief(r.Data))
		}
		if err := e.store.CompareAndSwap(e.ctx, name, 1, keyring.Record{Revision: 2, Data: text("refused")}); err == nil {
			e.Errorf("CompareAndSwap of %+q, which was never stored, from 1: no error", n)
		}
	}
	for _, n := range []string{strings.ToUpper(e.name("a")), e.name("")[:len(e.name(""))-1]} {
		if r, err := e.store.Load(e.ctx, n); err == nil {
			e.Errorf("Load of %+q, which was never stored: %s", n, brief(r.Data))
		}
	}
	e.holds(e.store, e.name("a"), keyring.Record{Revision: 2, Data: text("changed 0")})
}

// testArguments: a store changes nothing that it is given, and keeps none of it.
func testArguments(e *env) {
	name := e.name("ring")
	for old := range uint64(2) { // an insert and an update
		want := text("a record with some room behind it")
		room := append(bytes.Clone(want), "the room"...)
		before := bytes.Clone(room)
		given := room[:len(want)]
		e.swap(e.store, name, old, keyring.Record{Revision: old + 1, Data: given})
		if !bytes.Equal(room, before) {
			e.Errorf("CompareAndSwap changed its argument: %s", brief(room))
		}
		for i := range room {
			room[i] = 'X'
		}
		e.holds(e.store, name, keyring.Record{Revision: old + 1, Data: want})
		copy(room, before)
		if err := e.store.CompareAndSwap(e.ctx, name, old, keyring.Record{Revision: old + 1, Data: given}); err == nil {
			e.Fatalf("CompareAndSwap from %d twice: no error", old)
		}
		if !bytes.Equal(room, before) {
			e.Errorf("refused CompareAndSwap changed its argument: %s", brief(room))
		}
		e.holds(e.store, name, keyring.Record{Revision: old + 1, Data: want})
	}
}

// testResults: what Load returns is the caller's.
func testResults(e *env) {
	name := e.name("ring")
	e.create(name, rec(1))
	first, second := e.load(e.store, name), e.load(e.store, name)
	for i := range first.Data {
		first.Data[i] = 'X'
	}
	_ = append(first.Data, "XXXXXXXX"...)
	if string(second.Data) != at(1) {
		e.Errorf("two results share memory: %s", brief(second.Data))
	}
	e.holds(e.store, name, rec(1))
	// A later change doesn't reach into it either.
	e.swap(e.store, name, 1, keyring.Record{Revision: 2, Data: text("REVISION-2")})
	e.load(e.store, name)
	if string(second.Data) != at(1) {
		e.Errorf("a result changed after it was returned: %s", brief(second.Data))
	}
}
