package keyringtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/structseal/structseal/keyring"
)

// subjects is the env of a test of keyring.SubjectStore.
type subjects struct {
	*env
	store keyring.SubjectStore
}

// ofSubjects makes a promise's test of one that needs a keyring.SubjectStore.
func ofSubjects(test func(subjects)) func(*env) {
	return func(e *env) {
		s, ok := e.store.(keyring.SubjectStore)
		if !ok {
			e.Skipf("%T keeps no subjects: it is no keyring.SubjectStore", e.store)
		}
		test(subjects{e, s})
	}
}

// handle opens another one.
func (e subjects) handle() keyring.SubjectStore {
	e.Helper()
	s := e.config.open(e.T)
	sub, ok := s.(keyring.SubjectStore)
	if !ok {
		e.Fatalf("open returned a keyring.SubjectStore first, and then a %T, which is none", s)
	}
	return sub
}

// in is the same with the *testing.T of a subtest.
func (e subjects) in(sub *env) subjects { return subjects{sub, e.store} }

// subject returns a hash that stands for a word in this subtest.
func (e *env) subject(word string) keyring.SubjectHash { return sha256.Sum256([]byte(e.prefix + word)) }

func (e subjects) create(name string, h keyring.SubjectHash, r keyring.Record) {
	e.Helper()
	e.swap(e.store, name, h, 0, r)
}

func (e subjects) swap(s keyring.SubjectStore, name string, h keyring.SubjectHash, old uint64, r keyring.Record) {
	e.Helper()
	if err := s.CompareAndSwapSubject(e.ctx, name, h, old, r); err != nil {
		e.Fatalf("CompareAndSwapSubject of %x from %d to %d: %v", h, old, r.Revision, err)
	}
}

// refused tries a swap that must be a conflict.
func (e subjects) refused(name string, h keyring.SubjectHash, old, next uint64) {
	e.Helper()
	err := e.store.CompareAndSwapSubject(e.ctx, name, h, old, keyring.Record{Revision: next, Data: text("refused")})
	if !errors.Is(err, keyring.ErrConflict) || errors.Is(err, keyring.ErrNotFound) || errors.Is(err, keyring.ErrUnavailable) {
		e.Errorf("CompareAndSwapSubject from %d: error %v, want ErrConflict alone", old, err)
	}
}

func (e subjects) load(s keyring.SubjectStore, name string, h ...keyring.SubjectHash) map[keyring.SubjectHash]keyring.Record {
	e.Helper()
	found, err := s.LoadSubjects(e.ctx, name, h)
	if err != nil {
		e.Fatalf("LoadSubjects: %v", err)
	}
	return found
}

// holds checks what s has of one subject.
func (e subjects) holds(s keyring.SubjectStore, name string, h keyring.SubjectHash, want keyring.Record) {
	e.Helper()
	found := e.load(s, name, h)
	got, ok := found[h]
	if !ok || len(found) != 1 {
		e.Fatalf("LoadSubjects of %x, at revision %d: %d records, there %v", h, want.Revision, len(found), ok)
	}
	e.same(got, want)
}

func (e subjects) same(got, want keyring.Record) {
	e.Helper()
	if got.Revision != want.Revision || string(got.Data) != string(want.Data) {
		e.Fatalf("LoadSubjects: revision %d with %s, want revision %d with %s", got.Revision, brief(got.Data), want.Revision, brief(want.Data))
	}
}

// lacks checks that s has nothing of one subject.
func (e subjects) lacks(name string, h keyring.SubjectHash, when string) {
	e.Helper()
	if found := e.load(e.store, name, h); len(found) > 0 {
		e.Fatalf("LoadSubjects of %x %s: %d records, want none", h, when, len(found))
	}
}

// list reads pages of some size until one isn't full.
func (e subjects) list(s keyring.SubjectStore, name string, limit int) (all []keyring.SubjectHash) {
	e.Helper()
	var after keyring.SubjectHash
	seen := make(map[keyring.SubjectHash]bool)
	for {
		page, err := s.ListSubjects(e.ctx, name, after, limit)
		if err != nil {
			e.Fatalf("ListSubjects: %v", err)
		}
		if len(page) > limit {
			e.Fatalf("ListSubjects: %d of at most %d", len(page), limit)
		}
		for _, h := range page {
			if seen[h] {
				e.Fatalf("ListSubjects: %x comes twice", h)
			}
			seen[h] = true
			after = h
		}
		all = append(all, page...)
		if len(page) < limit {
			return all
		}
	}
}

func sorted(list []keyring.SubjectHash) []keyring.SubjectHash {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b keyring.SubjectHash) int { return bytes.Compare(a[:], b[:]) })
	return list
}

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

// testSubjectContention: of all who write at once, one wins each revision, and the
// others hear ErrConflict.
func testSubjectContention(e subjects) {
	const writers, each = 8, 8
	handles := []keyring.SubjectStore{e.store, e.handle(), e.handle(), e.handle()}
	e.run("update", func(sub *env) {
		e := e.in(sub)
		name, h := e.name("ring"), e.subject("a")
		e.create(name, h, keyring.Record{Revision: 1, Data: text("start")})
		var wg sync.WaitGroup
		for w := range writers {
			s := handles[w%len(handles)]
			wg.Go(func() {
				for won := 0; won < each; {
					found, err := s.LoadSubjects(e.ctx, name, []keyring.SubjectHash{h})
					if err != nil {
						e.Errorf("LoadSubjects: %v", err)
						return
					}
					r := found[h]
					next := keyring.Record{Revision: r.Revision + 1, Data: fmt.Appendf(nil, "%s %d.%d", r.Data, w, won)}
					switch err := s.CompareAndSwapSubject(e.ctx, name, h, r.Revision, next); {
					case err == nil:
						won++
					case !errors.Is(err, keyring.ErrConflict):
						e.Errorf("CompareAndSwapSubject: error %v, want nil or ErrConflict", err)
						return
					}
				}
			})
		}
		wg.Wait()
		final := e.load(e.store, name, h)[h]
		if want := uint64(1 + writers*each); final.Revision != want {
			e.Errorf("revision %d after %d writes, want %d", final.Revision, writers*each, want)
		}
		// Everybody's writes are there, in his order.
		next := make([]int, writers)
		for _, entry := range strings.Fields(string(final.Data))[1:] {
			var w, n int
			if _, err := fmt.Sscanf(entry, "%d.%d", &w, &n); err != nil || next[w] != n {
				e.Fatalf("a write is lost: %s after %d of %d", entry, next[w], w)
			}
			next[w]++
		}
		for w, n := range next {
			if n != each {
				e.Errorf("%d of %d writes of %d are lost", each-n, each, w)
			}
		}
	})
	e.run("create", func(sub *env) {
		e := e.in(sub)
		for round := range 15 {
			name, h := e.name("new"), e.subject(decimal(round))
			start := make(chan struct{})
			errs := make([]error, writers)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					<-start
					errs[w] = handles[w%len(handles)].CompareAndSwapSubject(e.ctx, name, h, 0, keyring.Record{Revision: 1, Data: text(decimal(w))})
				})
			}
			close(start)
			wg.Wait()
			winner := e.winner("subject", errs)
			e.holds(e.store, name, h, keyring.Record{Revision: 1, Data: text(decimal(winner))})
		}
	})
}

// testSubjectList: all of a ring's subjects, each once, in one order, in pages of any
// size.
func testSubjectList(e subjects) {
	name := e.name("ring")
	if list := e.list(e.store, name, 10); len(list) > 0 {
		e.Fatalf("ListSubjects of nothing: %d", len(list))
	}
	all := alike()
	for i := range 60 {
		all = append(all, e.subject(decimal(i)))
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, h := range all {
		e.create(name, h, rec(1))
	}
	e.create(name+"x", e.subject("another ring's"), rec(1))
	e.create(name[:len(name)-1], e.subject("another ring's"), rec(1))
	e.env.create(name, rec(1))           // no subject
	order := e.list(e.store, name, 1000) // the store's own
	if !slices.Equal(sorted(order), sorted(all)) {
		e.Fatalf("ListSubjects: %d subjects, want %d", len(order), len(all))
	}
	all = order
	for _, limit := range []int{1, 7, len(all) - 1, len(all), len(all) + 1, 1000} {
		if list := e.list(e.store, name, limit); !slices.Equal(list, all) {
			e.Fatalf("ListSubjects in pages of %d: %d subjects, want %d", limit, len(list), len(all))
		}
	}
	check := func(after keyring.SubjectHash, limit int, want []keyring.SubjectHash) {
		e.Helper()
		list, err := e.store.ListSubjects(e.ctx, name, after, limit)
		if err != nil || !slices.Equal(list, want) {
			e.Errorf("ListSubjects behind %x: %d subjects, %v; want %d", after, len(list), err, len(want))
		}
	}
	// Behind one that there is, or isn't.
	for i, h := range all {
		check(h, 2, all[i+1:min(i+3, len(all))])
	}
	// Its place is the one that it gets when it is there.
	for _, after := range []keyring.SubjectHash{e.subject("not there"), e.subject("nor there"), {31: 2}} {
		if slices.Contains(all, after) {
			continue
		}
		behind, err := e.store.ListSubjects(e.ctx, name, after, 1000)
		if err != nil {
			e.Fatalf("ListSubjects behind %x: %v", after, err)
		}
		e.create(name, after, rec(1))
		want := slices.Insert(slices.Clone(all), len(all)-min(len(behind), len(all)), after)
		if all = e.list(e.store, name, 7); !slices.Equal(all, want) {
			e.Fatalf("ListSubjects behind %x: %d subjects; when that was there, it stood elsewhere or the order was another", after, len(behind))
		}
		check(after, 1000, behind)
	}
	// A change is no second subject.
	e.swap(e.store, name, all[3], 1, rec(2))
	e.refused(name, all[4], 0, 1)
	if list := e.list(e.store, name, 10); !slices.Equal(list, all) {
		e.Errorf("ListSubjects after a change: %d subjects, want %d", len(list), len(all))
	}
}

// testSubjectMany: ten thousand subjects of one ring (with -short or -race: 600).
func testSubjectMany(e subjects) {
	n := 10_000
	if short() {
		n = 600
	}
	name := e.name("ring")
	all := make([]keyring.SubjectHash, n)
	for i := range all {
		all[i] = e.subject("many " + decimal(i))
	}
	const writers = 8
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				if err := e.store.CompareAndSwapSubject(e.ctx, name, all[i], 0, keyring.Record{Revision: 1, Data: text(decimal(i))}); err != nil {
					e.Errorf("subject %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if e.Failed() {
		return
	}
	if list := e.list(e.store, name, 1000); !slices.Equal(sorted(list), sorted(all)) {
		e.Errorf("ListSubjects: %d subjects, want %d", len(list), n)
	}
	for from := 0; from < n; from += 1000 {
		part := all[from:min(from+1000, n)]
		found := e.load(e.store, name, part...)
		for i, h := range part {
			if r, ok := found[h]; !ok || r.Revision != 1 || string(r.Data) != decimal(from+i) {
				e.Fatalf("subject %d: there %v, revision %d with %s", from+i, ok, r.Revision, brief(r.Data))
			}
		}
	}
}

// calls are the three calls about a subject.
func calls(s keyring.SubjectStore, name string, h keyring.SubjectHash, old uint64) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"LoadSubjects": func(ctx context.Context) error {
			found, err := s.LoadSubjects(ctx, name, []keyring.SubjectHash{h})
			if err != nil && len(found) > 0 {
				return fmt.Errorf("records, and an error: %v", err)
			}
			return err
		},
		"ListSubjects": func(ctx context.Context) error {
			_, err := s.ListSubjects(ctx, name, keyring.SubjectHash{}, 10)
			return err
		},
		"CompareAndSwapSubject": func(ctx context.Context) error {
			return s.CompareAndSwapSubject(ctx, name, h, old, rec(old+1))
		},
	}
}

// testSubjectCancelled: a context that has ended before the call ends the call.
func testSubjectCancelled(e subjects) {
	cancelled, cancel := context.WithCancel(e.ctx)
	cancel()
	expired, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
	defer cancel()
	name, h := e.name("ring"), e.subject("a")
	e.create(name, h, rec(1))
	for _, ctx := range []context.Context{cancelled, expired} {
		for call, do := range calls(e.store, name, h, 1) {
			if err := do(ctx); !ended(ctx, err) {
				e.Errorf("%s when %v: error %v, want that or ErrUnavailable", call, ctx.Err(), err)
			}
		}
		if err := calls(e.store, name, e.subject("new"), 0)["CompareAndSwapSubject"](ctx); !ended(ctx, err) {
			e.Errorf("creating when %v: error %v, want that or ErrUnavailable", ctx.Err(), err)
		}
	}
	e.holds(e.store, name, h, rec(1))
	e.lacks(name, e.subject("new"), "after a cancelled call")
	e.swap(e.store, name, h, 1, rec(2))
}

// testSubjectUnreachable: not knowing is not knowing. No record would let a program
// make a second key for a subject, or take one for forgotten.
func testSubjectUnreachable(e subjects) {
	if len(e.unreachable) == 0 {
		e.Skip("no option Unreachable given")
	}
	for _, w := range e.unreachable {
		e.run(w.name, func(sub *env) {
			s, ok := w.open(sub.T).(keyring.SubjectStore)
			if !ok {
				sub.Skip("what the option Unreachable opens is no keyring.SubjectStore")
			}
			ctx, cancel := context.WithTimeout(sub.ctx, 20*time.Second)
			defer cancel()
			for old := range uint64(2) {
				for call, do := range calls(s, sub.name("ring"), e.subject("a"), old) {
					sub.unreached(call, do(ctx))
				}
			}
		})
	}
}

// testSubjectStalled: a call returns when its context ends, whatever the backend
// does.
func testSubjectStalled(e subjects) {
	if len(e.stalled) == 0 {
		e.Skip("no option Stalled given")
	}
	for _, w := range e.stalled {
		e.run(w.name, func(sub *env) {
			s, ok := w.open(sub.T).(keyring.SubjectStore)
			if !ok {
				sub.Skip("what the option Stalled opens is no keyring.SubjectStore")
			}
			for call, do := range calls(s, sub.name("ring"), e.subject("a"), 0) {
				ctx, cancel := context.WithTimeout(sub.ctx, 150*time.Millisecond)
				err := sub.leaves(ctx, call, do)
				switch {
				case call != "CompareAndSwapSubject" && err == nil: // readers needn't wait
				case ctx.Err() == nil:
					sub.Errorf("%s: the backend does not stall: error %v before the context's end", call, err)
				case !ended(ctx, err):
					sub.Errorf("%s: error %v, want the context's or ErrUnavailable", call, err)
				}
				cancel()
			}
		})
	}
}
