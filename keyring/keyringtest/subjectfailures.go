package keyringtest

import (
	"context"
	"fmt"
	"time"

	"github.com/structseal/structseal/keyring"
)

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
