package keyring

import (
	"context"
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/crypto"
)

// noticeStore counts the reads of a memory store, which may fail or wait.
type noticeStore struct {
	*MemoryStore
	loads, subjectLoads atomic.Int64

	mu     sync.Mutex
	before func(ctx context.Context) error // of a read
	after  func()                          // a read of subjects
}

func (s *noticeStore) on(before func(ctx context.Context) error, after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

func (s *noticeStore) hooks() (func(ctx context.Context) error, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.before, s.after
}

func (s *noticeStore) Load(ctx context.Context, name string) (Record, error) {
	s.loads.Add(1)
	if before, _ := s.hooks(); before != nil {
		if err := before(ctx); err != nil {
			return Record{}, err
		}
	}
	return s.MemoryStore.Load(ctx, name)
}

func (s *noticeStore) LoadSubjects(ctx context.Context, name string, subjects []SubjectHash) (map[SubjectHash]Record, error) {
	s.subjectLoads.Add(1)
	before, after := s.hooks()
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	rows, err := s.MemoryStore.LoadSubjects(ctx, name, subjects)
	if after != nil {
		after()
	}
	return rows, err
}

// reads returns how often a store was read since the last call.
func (s *noticeStore) reads() (record, subjects int64) {
	return s.loads.Swap(0), s.subjectLoads.Swap(0)
}

// inNoticeBubble runs a test in virtual time with a ring that listens for ever long
// TTL, and one that changes things, in another process as it were.
func inNoticeBubble(t *testing.T, f func(t *testing.T, p noticePair)) {
	t.Helper()
	p := noticePair{store: &noticeStore{MemoryStore: NewMemoryStore()}, kms: newFakeKMS()}
	_, p.pin = mustCreate(t, "app", p.store, p.kms)
	if fips140.Enabled() {
		t.Skip("no randomness in virtual time in FIPS 140 mode")
	}
	synctest.Test(t, func(t *testing.T) {
		p.writer = p.open(t, &OpenOptions{TTL: 500 * time.Hour})
		p.reader = p.open(t, &OpenOptions{TTL: 500 * time.Hour, Notifier: p.store})
		synctest.Wait()
		time.Sleep(time.Millisecond) // what is asked in the moment of a notice isn't kept
		f(t, p)
		p.writer.Close()
		p.reader.Close()
		synctest.Wait() // the bubble's end finds goroutines that were left
		p.store.MemoryStore.mu.Lock()
		defer p.store.MemoryStore.mu.Unlock()
		if n := len(p.store.listeners); n != 0 {
			t.Errorf("%d listeners after Close", n)
		}
	})
}

type noticePair struct {
	store          *noticeStore
	kms            *fakeKMS
	pin            Pin
	writer, reader *Keyring
}

func (p *noticePair) open(t *testing.T, opts *OpenOptions) *Keyring {
	t.Helper()
	return must[*Keyring](t)(Open(t.Context(), "app", p.store, p.kms, p.pin, opts))
}

// What one process changes others notice at once, and not after TTL; those without
// a notifier as ever.
func TestNoticesReachOthers(t *testing.T) {
	inNoticeBubble(t, func(t *testing.T, p noticePair) {
		ctx := t.Context()
		deaf := p.open(t, &OpenOptions{TTL: 500 * time.Hour})
		defer deaf.Close()
		start := time.Now()
		ct, other := sealFor(t, p.writer, ada), sealFor(t, p.writer, Subject{ID: "bob"})
		var keys []*crypto.Key
		for _, r := range []*Keyring{p.reader, deaf} {
			keys = append(keys, must[*crypto.Key](t)(r.Primary(ctx, Data)))
			for s, ct := range map[Subject][]byte{ada: ct, {ID: "bob"}: other} {
				if err := openFor(r, s, ct); err != nil {
					t.Fatal(err)
				}
			}
		}
		held := must[SubjectKeys](t)(p.reader.Subject(ctx, ada))
		defer held.Release()
		secret := must[*crypto.Key](t)(held.Primary())
		p.store.reads()

		old := keys[0].ID()
		id := must[uint32](t)(p.writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
		synctest.Wait()
		if k := must[*crypto.Key](t)(p.reader.Primary(ctx, Data)); k.ID() != id {
			t.Errorf("after Rotate the primary is %08x", k.ID())
		}
		if err := p.writer.Disable(ctx, old, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := keys[0].Seal(nil, nil, nil); !errors.Is(err, crypto.ErrWiped) {
			t.Errorf("the disabled key: %v", err)
		}
		if _, err := p.reader.Key(ctx, Data, old); !errors.Is(err, ErrKeyDisabled) {
			t.Errorf("the disabled key: %v", err)
		}
		p.store.reads()
		must[*Certificate](t)(p.writer.Forget(ctx, ada, nil))
		synctest.Wait()
		if _, err := secret.Seal(nil, nil, nil); !errors.Is(err, crypto.ErrWiped) {
			t.Errorf("a forgotten subject's key, in use: %v", err)
		}
		_, reads := p.store.reads()
		if err := openFor(p.reader, Subject{ID: "bob"}, other); err != nil {
			t.Error(err)
		}
		if _, n := p.store.reads(); n != 0 {
			t.Errorf("%d reads for a subject that nothing was told of", n)
		}
		if err := openFor(p.reader, ada, ct); !errors.Is(err, ErrForgotten) {
			t.Errorf("the forgotten subject: %v", err)
		}
		if reads > 4 { // three of Forget itself
			t.Errorf("%d reads", reads)
		}
		if err := p.writer.Revive(ctx, ada, &ReviveOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := trySeal(p.reader, ada); err != nil {
			t.Errorf("the revived subject: %v", err)
		}
		// A rotated subject: the next use has the new primary.
		sub := must[uint32](t)(p.writer.RotateSubject(ctx, Subject{ID: "bob"}))
		synctest.Wait()
		bob := must[SubjectKeys](t)(p.reader.Subject(ctx, Subject{ID: "bob"}))
		if k := must[*crypto.Key](t)(bob.Primary()); k.ID() != sub {
			t.Errorf("the rotated subject's primary is %08x", k.ID())
		}
		bob.Release()

		if d := time.Since(start); d >= time.Second {
			t.Errorf("it took %v", d)
		}
		if k := must[*crypto.Key](t)(deaf.Key(ctx, Data, old)); k != keys[1] {
			t.Error("the ring without a notifier lost its key: the test says nothing")
		}
		if err := openFor(deaf, ada, ct); err != nil {
			t.Errorf("the ring without a notifier: %v: the test says nothing", err)
		}
		if p.reader.Stats().Notices == 0 || deaf.Stats().Notices != 0 {
			t.Error("notices are counted wrong")
		}
	})
}

// However many notices somebody forges, the store is asked at the stated rate and
// the KMS not at all, and a true one among them is heeded within two seconds.
func TestForgedNoticesAreLimited(t *testing.T) {
	inNoticeBubble(t, func(t *testing.T, p noticePair) {
		ctx := t.Context()
		must[*crypto.Key](t)(p.reader.Primary(ctx, Data))
		const known = 1200 // two batches
		var list []Subject
		for i := range known {
			list = append(list, Subject{ID: fmt.Sprint(i)})
		}
		if err := p.reader.WarmSubjects(ctx, list, true); err != nil {
			t.Fatal(err)
		}
		hashes := must[[]SubjectHash](t)(p.reader.core().subjects.hashes(ctx, list))
		synctest.Wait()
		const seconds = 5
		forge := func(what string, n func(i int) Notice, records, subjects int64) {
			t.Helper()
			time.Sleep(time.Minute) // the burst is there again
			p.store.reads()
			p.kms.unwraps.Store(0)
			for i := range 1000 * seconds {
				p.reader.told(n(i))
				time.Sleep(time.Millisecond)
			}
			gotRecords, gotSubjects := p.store.reads()
			if gotRecords > records || gotSubjects > subjects || p.kms.unwraps.Load() != 0 {
				t.Errorf("%s: %d reads of the record (at most %d), %d of subjects (at most %d), %d KMS calls", what, gotRecords, records, gotSubjects, subjects, p.kms.unwraps.Load())
			}
			if records > 0 && gotRecords < seconds || subjects > 0 && gotSubjects < seconds {
				t.Errorf("%s: %d and %d reads only", what, gotRecords, gotSubjects)
			}
		}
		const looks = unknownBurst + seconds
		forge("the record", func(int) Notice { return Notice{} }, looks, 0)
		forge("one subject", func(int) Notice { return Notice{Subject: hashes[0]} }, 0, looks)
		forge("every subject", func(i int) Notice { return Notice{Subject: hashes[i%known]} }, 0, 2*looks)
		forge("anything", func(int) Notice { return Notice{Missed: true} }, looks, 2*looks)
		forge("unknown subjects", func(int) Notice {
			var h SubjectHash
			rand.Read(h[:])
			return Notice{Subject: h}
		}, 0, 0)
		// Nothing was lost by it.
		for _, s := range list[:10] {
			keys := must[SubjectKeys](t)(p.reader.Subject(ctx, s))
			keys.Release()
		}
		if _, n := p.store.reads(); n != 0 {
			t.Errorf("%d reads for subjects that did not change", n)
		}
		// In the middle of a flood.
		for range 100 {
			p.reader.told(Notice{Missed: true})
			time.Sleep(time.Millisecond)
		}
		must[*Certificate](t)(p.writer.Forget(ctx, list[7], nil))
		for range 2000 {
			p.reader.told(Notice{Missed: true})
			time.Sleep(time.Millisecond)
		}
		if _, err := p.reader.Subject(ctx, list[7]); !errors.Is(err, ErrForgotten) {
			t.Errorf("after two seconds in a flood: %v", err)
		}
	})
}

// A load that asked before the change and ends after the notice must not bring back
// what was forgotten.
func TestNoticeDuringLoad(t *testing.T) {
	for _, missed := range []bool{false, true} {
		inNoticeBubble(t, func(t *testing.T, p noticePair) {
			ctx := t.Context()
			ct := sealFor(t, p.writer, ada)
			goOn, asked := make(chan bool), make(chan bool)
			var first atomic.Bool
			p.store.on(nil, func() {
				if !first.Swap(true) {
					close(asked)
					<-goOn
				}
			})
			done := make(chan error)
			go func() { done <- openFor(p.reader, ada, ct) }()
			<-asked
			must[*Certificate](t)(p.writer.Forget(ctx, ada, nil))
			if missed {
				p.reader.core().subjects.doubted = nil // that one was lost
				p.reader.told(Notice{Missed: true})
			}
			synctest.Wait()
			close(goOn)
			<-done // either way: it began before
			time.Sleep(time.Millisecond)
			if err := openFor(p.reader, ada, ct); !errors.Is(err, ErrForgotten) {
				t.Errorf("missed %v: %v", missed, err)
			}
		})
	}
}

// What can't be looked at is tried again, a few times, and then left to TTL.
func TestNoticeWhileStoreIsAway(t *testing.T) {
	inNoticeBubble(t, func(t *testing.T, p noticePair) {
		ctx := t.Context()
		ct := sealFor(t, p.writer, ada)
		if err := openFor(p.reader, ada, ct); err != nil {
			t.Fatal(err)
		}
		must[*crypto.Key](t)(p.reader.Primary(ctx, Data))
		down := func(context.Context) error { return errors.New("down") }
		for _, comesBack := range []bool{true, false} {
			time.Sleep(time.Minute)
			id := must[uint32](t)(p.writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
			synctest.Wait()
			p.store.on(down, nil)
			p.store.reads()
			p.reader.told(Notice{Missed: true})
			synctest.Wait()
			if err := openFor(p.reader, ada, ct); err != nil {
				t.Errorf("while the store is away: %v", err)
			}
			if comesBack {
				p.store.on(nil, nil)
				id = must[uint32](t)(p.writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			records, _ := p.store.reads()
			if k := must[*crypto.Key](t)(p.reader.Primary(ctx, Data)); k.ID() != id {
				t.Errorf("primary %08x, want %08x", k.ID(), id)
			}
			if !comesBack && records != 1+retryBudget {
				t.Errorf("%d reads of a store that is away", records)
			}
			p.store.on(nil, nil)
		}
	})
}

// A notice doesn't make a ring forget that a store went back in time.
func TestNoticeOfRollback(t *testing.T) {
	inNoticeBubble(t, func(t *testing.T, p noticePair) {
		ctx := t.Context()
		ct := sealFor(t, p.writer, ada)
		saved := snapshotOf(p.store.MemoryStore)
		must[uint32](t)(p.writer.RotateSubject(ctx, ada))
		time.Sleep(time.Millisecond)
		if err := openFor(p.reader, ada, ct); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		restore(p.store.MemoryStore, saved)
		p.reader.told(Notice{Missed: true})
		synctest.Wait()
		if _, err := p.reader.core().subjects.reload(ctx, ada, false); !errors.Is(err, ErrRollback) {
			t.Errorf("%v", err)
		}
	})
}

// deafNotifier returns at once.
type deafNotifier struct{ calls atomic.Int64 }

func (d *deafNotifier) Listen(context.Context, string, func(Notice)) error {
	d.calls.Add(1)
	return errors.New("no route to host")
}

// A notifier that gives up is asked again at growing intervals, with one event.
func TestNotifierEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin) {
		log, d := new(eventLog), new(deafNotifier)
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &OpenOptions{Notifier: d, Logger: slog.New(log)}))
		time.Sleep(10 * time.Minute)
		if n := d.calls.Load(); n < 600/20 || n > 120 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		ring.Close()
		synctest.Wait()
		n := d.calls.Load()
		time.Sleep(time.Hour)
		if d.calls.Load() != n {
			t.Error("a closed ring listens")
		}
		log.expect(t, "asked again and again", "WARN "+EventNoticesEnded+" ring error")
		ring.told(Notice{Missed: true})
		synctest.Wait()
		if store.loads.Load() > 2 {
			t.Errorf("a closed ring looked: %d", store.loads.Load())
		}
	})
}

// Any notices at any time: nothing breaks, and what is forgotten stays so.
func TestNoticesAreHarmless(t *testing.T) {
	store, kms := NewMemoryStore(), newFakeKMS()
	_, pin := mustCreate(t, "app", store, kms)
	open := func() *Keyring {
		r := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, &OpenOptions{SubjectCache: 20, Notifier: store}))
		t.Cleanup(func() { r.Close() })
		return r
	}
	writer, reader := open(), open()
	const people = 40
	list := make([]Subject, people)
	for i := range list {
		list[i].ID = fmt.Sprint(i)
	}
	hashes := must[[]SubjectHash](t)(writer.core().subjects.hashes(t.Context(), list))
	stop := make(chan bool)
	var noise, work sync.WaitGroup
	for g := range 4 {
		noise.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					reader.told(Notice{Subject: hashes[i%people], Missed: i%7 == g})
					writer.told(Notice{})
				}
			}
		})
	}
	for g := range 4 {
		work.Go(func() {
			for i := range 300 {
				s := list[(i*7+g)%people]
				ct, err := trySeal(writer, s)
				if err == nil {
					err = openFor(reader, s, ct)
				}
				if err != nil && !errors.Is(err, ErrForgotten) && !errors.Is(err, crypto.ErrWiped) {
					t.Errorf("%s: %v", s.ID, err)
				}
				if i%50 == 49 {
					must[*Certificate](t)(writer.Forget(t.Context(), s, nil))
				}
			}
		})
	}
	work.Wait()
	close(stop)
	noise.Wait()
	reader.core().subjects.reload(t.Context(), list[0], false)
	writer.Close()
	reader.Close()
}
