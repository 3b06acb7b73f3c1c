package keyringtest

import (
	"context"
	"time"

	"github.com/structseal/structseal/keyring"
)

// soon is how long a notice may take.
const soon = 10 * time.Second

// testNotices: whoever listens is told of each change that replaces a record, when
// it can be read, and first of all that he listens. What it tells of others' changes
// says nothing about how reliable it is in an outage: that is the store's own test.
func testNotices(e *env) {
	notifier, ok := e.store.(keyring.Notifier)
	if !ok {
		e.Skip("the store is no keyring.Notifier")
	}
	name := e.name("ring")
	e.create(name, rec(1))
	subjects, _ := e.store.(keyring.SubjectStore)
	h := keyring.SubjectHash{1, 2, 3}
	if subjects != nil {
		if err := subjects.CompareAndSwapSubject(e.ctx, name, h, 0, rec(1)); err != nil {
			e.Fatal(err)
		}
	}

	// A change is told once it can be read; so the record is read when it is told.
	type told struct {
		keyring.Notice
		revision uint64
	}
	heard := make(chan told, 1000)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- notifier.Listen(ctx, name, func(n keyring.Notice) {
			t := told{Notice: n}
			switch {
			case n.Missed:
			case n.Subject == keyring.SubjectHash{}:
				if r, err := e.store.Load(e.ctx, name); err == nil {
					t.revision = r.Revision
				}
			case subjects != nil:
				if found, err := subjects.LoadSubjects(e.ctx, name, []keyring.SubjectHash{n.Subject}); err == nil {
					t.revision = found[n.Subject].Revision
				}
			}
			select {
			case heard <- t:
			default: // nobody needs that many
			}
		})
	}()
	// until waits for a notice, whatever else is told meanwhile.
	until := func(what string, is func(told) bool) {
		e.Helper()
		timer := time.NewTimer(soon)
		defer timer.Stop()
		for {
			select {
			case t := <-heard:
				if is(t) {
					return
				}
			case err := <-ended:
				e.Fatalf("Listen ended with %v before its context", err)
			case <-timer.C:
				e.Fatalf("no notice of %s within %v", what, soon)
			}
		}
	}
	until("the beginning (Missed)", func(t told) bool { return t.Missed })
	other := e.open(e.T) // another process's
	for revision := uint64(2); revision < 12; revision++ {
		e.swap(other, name, revision-1, rec(revision))
		until("a ring's change that can be read", func(t told) bool {
			return !t.Missed && t.Subject == keyring.SubjectHash{} && t.revision >= revision
		})
		if subjects == nil {
			continue
		}
		if err := other.(keyring.SubjectStore).CompareAndSwapSubject(e.ctx, name, h, revision-1, rec(revision)); err != nil {
			e.Fatal(err)
		}
		until("a subject's change that can be read", func(t told) bool { return t.Subject == h && t.revision >= revision })
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(soon):
		e.Fatalf("Listen goes on %v after the end of its context", soon)
	}
}
