package keyringtest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/structseal/structseal/keyring"
)

// testSubjectCreate: a subject that nobody stored has no record, which is no error;
// old 0 makes one once, and never replaces one.
func testSubjectCreate(e subjects) {
	name, h := e.name("ring"), e.subject("a")
	e.lacks(name, h, "before it was stored")
	if found := e.load(e.store, name); len(found) > 0 {
		e.Errorf("LoadSubjects of no subjects: %d records", len(found))
	}
	e.create(name, h, rec(1))
	e.holds(e.store, name, h, rec(1))
	for _, next := range []uint64{1, 2} {
		e.refused(name, h, 0, next)
		e.holds(e.store, name, h, rec(1))
	}
}

// testSubjectConflict: only the revision that is stored can be replaced.
func testSubjectConflict(e subjects) {
	name, h := e.name("ring"), e.subject("a")
	for _, old := range []uint64{1, 7} {
		e.refused(name, h, old, old+1)
		e.lacks(name, h, "after an update of nothing")
	}
	e.create(name, h, rec(1))
	e.swap(e.store, name, h, 1, rec(2))
	have := uint64(2)
	for _, next := range []uint64{3, 1<<32 + 3, 1 << 53, 1<<53 + 1, math.MaxInt64 - 1, math.MaxInt64} {
		for _, other := range []uint64{have - 1, have + 1, have ^ 1<<32, have & math.MaxUint32, math.MaxInt64} {
			if other == have || other == 0 || other > math.MaxInt64 || other == next {
				continue
			}
			e.refused(name, h, other, next)
			e.holds(e.store, name, h, rec(have))
		}
		e.swap(e.store, name, h, have, rec(next))
		e.holds(e.store, name, h, rec(next))
		have = next
	}
	e.refused(name, h, 0, 1)
	e.holds(e.store, name, h, rec(have))
}

// testSubjectArguments: a store changes nothing that it is given, and keeps none of
// it.
func testSubjectArguments(e subjects) {
	name, h := e.name("ring"), e.subject("a")
	for old := range uint64(2) { // an insert and an update
		want := text("a record with some room behind it")
		room := append(bytes.Clone(want), "the room"...)
		before := bytes.Clone(room)
		given := room[:len(want)]
		e.swap(e.store, name, h, old, keyring.Record{Revision: old + 1, Data: given})
		if !bytes.Equal(room, before) {
			e.Errorf("CompareAndSwapSubject changed its argument: %s", brief(room))
		}
		for i := range room {
			room[i] = 'X'
		}
		e.holds(e.store, name, h, keyring.Record{Revision: old + 1, Data: want})
		copy(room, before)
		if err := e.store.CompareAndSwapSubject(e.ctx, name, h, old, keyring.Record{Revision: old + 1, Data: given}); err == nil {
			e.Fatalf("CompareAndSwapSubject from %d twice: no error", old)
		}
		if !bytes.Equal(room, before) {
			e.Errorf("refused CompareAndSwapSubject changed its argument: %s", brief(room))
		}
	}
	// The hashes: neither sorted, nor made unique, nor written behind.
	asked := []keyring.SubjectHash{e.subject("c"), h, e.subject("b"), h, e.subject("d"), e.subject("room"), e.subject("more")}
	before := slices.Clone(asked)
	e.load(e.store, name, asked[:5]...)
	if !slices.Equal(asked, before) {
		e.Errorf("LoadSubjects changed its argument")
	}
}

// testSubjectBytes: a record comes back byte for byte, whatever is in it, up to
// MaxSubjectSize.
func testSubjectBytes(e subjects) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	large := func(n int) []byte { return bytes.Repeat(all, n/256+1)[:n] }
	name, h := e.name("ring"), e.subject("a")
	e.create(name, h, keyring.Record{Revision: 1, Data: all})
	e.holds(e.store, name, h, keyring.Record{Revision: 1, Data: all})
	revision := uint64(1)
	for _, data := range [][]byte{
		text("\x00"), text("nul \x00 in the middle, at the end \x00"),
		text("\xff\xfe not UTF-8 \xc3\x28 \xed\xa0\x80"),
		text(" \t space around \n "), text("lines\nlines\r\nlines\r"),
		text("'quotes' \"quotes\" `quotes` \\ %s $1 ? :name -- ; /* */"), text(`\x41 \\x41`),
		{}, text("after the empty one"),
		large(1<<16 - 1), large(keyring.MaxSubjectSize), text("short again"),
	} {
		next := keyring.Record{Revision: revision + 1, Data: data}
		e.swap(e.store, name, h, revision, next)
		e.holds(e.store, name, h, next)
		revision++
	}
	for i, data := range [][]byte{nil, large(keyring.MaxSubjectSize)} {
		r := keyring.Record{Revision: 1, Data: data}
		e.create(name, e.subject(decimal(i)), r)
		e.holds(e.store, name, e.subject(decimal(i)), r)
	}
	if err := e.store.CompareAndSwapSubject(e.ctx, name, h, revision, keyring.Record{Revision: revision + 1, Data: large(keyring.MaxSubjectSize + 1)}); err == nil {
		// A store may hold more; but not a part of it.
		e.holds(e.store, name, h, keyring.Record{Revision: revision + 1, Data: large(keyring.MaxSubjectSize + 1)})
	}
}

// alike are hashes that something might take for one another.
func alike() (list []keyring.SubjectHash) {
	for _, bits := range []int{1, 0xff, 0x20, 0x80} { // the zero hash is no subject's
		for _, i := range []int{0, 1, 7, 15, 16, 30, 31} {
			var h keyring.SubjectHash
			h[i] = byte(bits)
			list = append(list, h)
		}
	}
	for _, fill := range []byte{0xff, ' ', '\\', '\'', '%', '_', 'a', 'A', '0'} {
		h := keyring.SubjectHash(bytes.Repeat([]byte{fill}, 32))
		list = append(list, h)
		h[31] = 0
		list = append(list, h)
	}
	return list
}

// testSubjectsApart: subjects don't touch each other, however alike their hashes,
// nor those of another ring, nor the ring.
func testSubjectsApart(e subjects) {
	var rings []string
	for _, n := range []string{"a", "ab", "a.b", "a-b", "axb", "a.subjects", "a.lock"} {
		rings = append(rings, e.name(n))
	}
	hashes := alike()
	at := func(ring, subject, revision int) keyring.Record {
		return keyring.Record{Revision: uint64(revision), Data: text(fmt.Sprintf("subject %d of ring %d at %d", subject, ring, revision))}
	}
	for i, h := range hashes {
		e.lacks(rings[0], h, "before it was stored")
		e.create(rings[0], h, at(0, i, 1))
	}
	for n, ring := range rings[1:] {
		for i := range 3 {
			e.lacks(ring, hashes[i], "when another ring has it")
			e.create(ring, hashes[i], at(n+1, i, 1))
		}
	}
	// There is still no ring, and then they have revisions of their own.
	if _, err := e.env.store.Load(e.ctx, rings[0]); !errors.Is(err, keyring.ErrNotFound) {
		e.Fatalf("Load of a ring of which only subjects were stored: error %v, want ErrNotFound", err)
	}
	e.env.create(rings[0], rec(1))
	e.env.swap(e.env.store, rings[0], 1, rec(2))
	for i, h := range hashes {
		if i%2 == 0 {
			e.swap(e.store, rings[0], h, 1, at(0, i, 2))
		}
	}
	e.env.holds(e.env.store, rings[0], rec(2))
	for i, h := range hashes {
		e.holds(e.store, rings[0], h, at(0, i, 2-i%2))
	}
	for n, ring := range rings[1:] {
		for i := range 3 {
			e.holds(e.store, ring, hashes[i], at(n+1, i, 1))
		}
	}
	// A ring without subjects has none.
	e.env.create(e.name("bare"), rec(1))
	for _, h := range hashes[:3] {
		e.lacks(e.name("bare"), h, "of a ring without subjects")
	}
	// No ring has such a name. Whatever the store says, they aren't those rings.
	for _, n := range []string{strings.ToUpper(rings[0]), rings[0] + " ", rings[0] + "\x00", rings[0] + "/", "../" + rings[0]} {
		if found, err := e.store.LoadSubjects(e.ctx, n, hashes); err == nil && len(found) > 0 {
			e.Errorf("LoadSubjects in %+q, which was never stored: %d records", n, len(found))
		}
		if err := e.store.CompareAndSwapSubject(e.ctx, n, hashes[0], 2, keyring.Record{Revision: 3}); err == nil {
			e.Errorf("CompareAndSwapSubject in %+q, which was never stored, from 2: no error", n)
		}
	}
}

// testSubjectBatch: a thousand at once, with some that there are not and some twice.
func testSubjectBatch(e subjects) {
	name := e.name("ring")
	const there = 300
	var asked []keyring.SubjectHash
	for i := range 1000 {
		switch {
		case i%3 == 0 && i/3 < there:
			h := e.subject(decimal(i))
			e.create(name, h, keyring.Record{Revision: uint64(i + 1), Data: text(decimal(i))})
			asked = append(asked, h)
		case i%3 == 1 && i > 10:
			asked = append(asked, e.subject(decimal(i/3/2*3))) // asked for before, or later
		default:
			asked = append(asked, e.subject("missing "+decimal(i)))
		}
	}
	for _, n := range []int{1, 2, 3, 99, 100, 101, 512, 999, 1000} {
		want := make(map[keyring.SubjectHash]int)
		for i := range there {
			if h := e.subject(decimal(3 * i)); slices.Contains(asked[:n], h) {
				want[h] = 3 * i
			}
		}
		found := e.load(e.store, name, asked[:n]...)
		if len(found) != len(want) {
			e.Errorf("LoadSubjects of %d hashes: %d records, want %d", n, len(found), len(want))
		}
		for h, i := range want {
			if _, ok := found[h]; !ok {
				e.Fatalf("LoadSubjects of %d hashes: subject %d is missing", n, i)
			}
			e.same(found[h], keyring.Record{Revision: uint64(i + 1), Data: text(decimal(i))})
		}
	}
	same := slices.Repeat([]keyring.SubjectHash{e.subject("0")}, 1000)
	if found := e.load(e.store, name, same...); len(found) != 1 {
		e.Errorf("LoadSubjects of one hash, 1000 times: %d records", len(found))
	}
	if found := e.load(e.store, name, e.subject("none"), e.subject("none")); len(found) != 0 {
		e.Errorf("LoadSubjects of a missing one twice: %d records", len(found))
	}
	// As large as they may be: more than a megabyte together.
	var large []keyring.SubjectHash
	data := bytes.Repeat(text("x"), keyring.MaxSubjectSize)
	for i := range 40 {
		large = append(large, e.subject("large "+decimal(i)))
		e.create(name, large[i], keyring.Record{Revision: 1, Data: data})
	}
	found := e.load(e.store, name, large...)
	for _, h := range large {
		if !bytes.Equal(found[h].Data, data) {
			e.Fatalf("LoadSubjects of %d of the largest: %d bytes of one", len(large), len(found[h].Data))
		}
	}
}

// testSubjectResults: what LoadSubjects returns is the caller's.
func testSubjectResults(e subjects) {
	name, a, b := e.name("ring"), e.subject("a"), e.subject("b")
	e.create(name, a, rec(1))
	e.create(name, b, rec(1))
	first, second := e.load(e.store, name, a, b, a), e.load(e.store, name, a, b)
	for i := range first[a].Data {
		first[a].Data[i] = 'X'
	}
	_ = append(first[a].Data, "XXXXXXXX"...)
	first[e.subject("c")] = rec(1)
	e.same(first[b], rec(1))
	e.same(second[a], rec(1))
	e.holds(e.store, name, a, rec(1))
	e.lacks(name, e.subject("c"), "put into a result")
	e.swap(e.store, name, a, 1, keyring.Record{Revision: 2, Data: text("REVISION-2")})
	e.load(e.store, name, a)
	e.same(second[a], rec(1))
	list, err := e.store.ListSubjects(e.ctx, name, keyring.SubjectHash{}, 10)
	if err != nil {
		e.Fatal(err)
	}
	clear(list)
	if again := e.list(e.store, name, 10); !slices.Equal(sorted(again), sorted([]keyring.SubjectHash{a, b})) {
		e.Errorf("two results of ListSubjects share memory")
	}
}

// testSubjectHandles: a write is seen by every handle as soon as it has returned.
func testSubjectHandles(e subjects) {
	name, h := e.name("ring"), e.subject("a")
	handles := []keyring.SubjectStore{e.store, e.handle(), e.handle()}
	for _, s := range handles {
		if found := e.load(s, name, h); len(found) > 0 {
			e.Fatalf("LoadSubjects before: %d records", len(found))
		}
	}
	e.create(name, h, rec(1))
	for n := uint64(1); n <= 30; n++ {
		for _, s := range handles {
			e.holds(s, name, h, rec(n))
		}
		e.swap(handles[n%3], name, h, n, rec(n+1))
		e.holds(handles[(n+1)%3], name, h, rec(n+1))
		e.create(name, e.subject(decimal(int(n))), rec(1))
		if list := e.list(handles[(n+2)%3], name, 1000); len(list) != int(n)+1 {
			e.Fatalf("ListSubjects: %d of %d", len(list), n+1)
		}
	}
}
