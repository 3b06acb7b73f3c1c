package keyringtest

import (
	"context"
	"errors"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// testUnreachable: not knowing is not knowing. ErrNotFound would let a program
// create a second ring, ErrConflict would make it try for ever, and a damaged
// ring is another alarm.
func testUnreachable(e *env) {
	if len(e.unreachable) == 0 {
		e.Skip("no option Unreachable given")
	}
	for _, w := range e.unreachable {
		e.run(w.name, func(e *env) {
			ctx, cancel := context.WithTimeout(e.ctx, 20*time.Second)
			defer cancel()
			s := w.open(e.T)
			_, err := s.Load(ctx, e.name("ring"))
			e.unreached("Load", err)
			e.unreached("CompareAndSwap from 0", s.CompareAndSwap(ctx, e.name("ring"), 0, rec(1)))
			e.unreached("CompareAndSwap from 1", s.CompareAndSwap(ctx, e.name("ring"), 1, rec(2)))
			if _, _, err := keyring.Create(ctx, e.name("ring"), s, localkms.NewRandom(), nil); !errors.Is(err, keyring.ErrUnavailable) {
				e.Errorf("keyring.Create: error %v, want ErrUnavailable", err)
			}
		})
	}
}

// unreached checks what a call to a backend that is away has returned.
func (e *env) unreached(call string, err error) {
	e.Helper()
	if err == nil {
		e.Errorf("%s: no error", call)
	}
	for _, wrong := range []error{
		keyring.ErrNotFound, keyring.ErrConflict, keyring.ErrExists, keyring.ErrCorrupt, keyring.ErrFormat,
		keyring.ErrTooLarge, keyring.ErrName, context.Canceled,
	} {
		if errors.Is(err, wrong) {
			e.Errorf("%s: error %v, which is also %q", call, err, wrong)
		}
	}
}

// grace is how long a call may take to return after its context has ended.
const grace = 5 * time.Second

// leaves makes a call, which must return soon after the end of its context, and
// returns its error.
func (e *env) leaves(ctx context.Context, call string, do func(context.Context) error) (err error) {
	e.Helper()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case err = <-done:
		case <-timer.C:
			e.Fatalf("%s: no return within %v after the context's end", call, grace)
		}
	}
	return err
}

// testStalled: a call returns when its context ends, whatever the backend does.
func testStalled(e *env) {
	if len(e.stalled) == 0 {
		e.Skip("no option Stalled given")
	}
	for _, w := range e.stalled {
		e.run(w.name, func(e *env) {
			s := w.open(e.T)
			for _, how := range []struct {
				name string
				end  func() (context.Context, context.CancelFunc)
			}{
				{"deadline", func() (context.Context, context.CancelFunc) {
					return context.WithTimeout(e.ctx, 150*time.Millisecond)
				}},
				{"cancel", func() (context.Context, context.CancelFunc) {
					ctx, cancel := context.WithCancel(e.ctx)
					timer := time.AfterFunc(150*time.Millisecond, cancel)
					return ctx, func() { timer.Stop(); cancel() }
				}},
			} {
				for _, call := range []struct {
					name  string
					do    func(ctx context.Context) error
					waits bool // must have waited, or the test says nothing
				}{
					// Readers needn't wait where somebody holds a lock.
					{"Load", func(ctx context.Context) error { _, err := s.Load(ctx, e.name("ring")); return err }, false},
					{"CompareAndSwap", func(ctx context.Context) error { return s.CompareAndSwap(ctx, e.name("ring"), 0, rec(1)) }, true},
				} {
					ctx, cancel := how.end()
					err := e.leaves(ctx, call.name+", "+how.name, call.do)
					switch {
					case ctx.Err() == nil && call.waits:
						e.Errorf("%s, %s: the backend does not stall: error %v before the context's end", call.name, how.name, err)
					case ctx.Err() != nil && !ended(ctx, err):
						e.Errorf("%s, %s: error %v, want the context's or ErrUnavailable", call.name, how.name, err)
					}
					cancel()
				}
			}
		})
	}
}
