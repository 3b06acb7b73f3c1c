package keyringtest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

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
