package keyringtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/structseal/structseal/keyring"
)

// ended reports whether err is what a call may return whose context has ended.
func ended(ctx context.Context, err error) bool {
	return (errors.Is(err, ctx.Err()) || errors.Is(err, keyring.ErrUnavailable)) &&
		!errors.Is(err, keyring.ErrNotFound) && !errors.Is(err, keyring.ErrConflict)
}

// testCancelled: a context that has ended before the call ends the call.
func testCancelled(e *env) {
	cancelled, cancel := context.WithCancel(e.ctx)
	cancel()
	expired, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
	defer cancel()
	name := e.name("ring")
	e.create(name, rec(1))
	for _, ctx := range []context.Context{cancelled, expired} {
		r, err := e.store.Load(ctx, name)
		if !ended(ctx, err) {
			e.Errorf("Load when %v: error %v, want that or ErrUnavailable", ctx.Err(), err)
		}
		if err != nil && (r.Revision != 0 || r.Data != nil) {
			e.Errorf("Load when %v: a record and an error", ctx.Err())
		}
		if _, err := e.store.Load(ctx, e.name("none")); !ended(ctx, err) {
			e.Errorf("Load of nothing when %v: error %v, want that or ErrUnavailable", ctx.Err(), err)
		}
		if err := e.store.CompareAndSwap(ctx, name, 1, rec(2)); !ended(ctx, err) {
			e.Errorf("CompareAndSwap when %v: error %v, want that or ErrUnavailable", ctx.Err(), err)
		}
		if err := e.store.CompareAndSwap(ctx, e.name("new"), 0, rec(1)); !ended(ctx, err) {
			e.Errorf("CompareAndSwap from 0 when %v: error %v, want that or ErrUnavailable", ctx.Err(), err)
		}
	}
	e.holds(e.store, name, rec(1))
	e.lacks(e.name("new"), "after creations that were cancelled")
	e.swap(e.store, name, 1, rec(2))
	e.holds(e.store, name, rec(2))
}

// testCancelledMidway: a call that is cancelled on its way leaves the old record
// or the new one. It may leave the new one later than it returns: nobody waits
// for the server.
func testCancelledMidway(e *env) {
	const rounds = 150
	name := e.name("ring")
	body := func(n uint64) keyring.Record {
		return keyring.Record{Revision: n, Data: text(at(n) + " " + random(1000))}
	}
	have := body(1)
	e.create(name, have)
	typical := time.Second // of a call that nobody cancels
	for range 5 {
		next := body(have.Revision + 1)
		begin := time.Now()
		e.swap(e.store, name, have.Revision, next)
		typical = min(typical, max(time.Since(begin), time.Microsecond))
		have = next
	}
	var tried []string // next records that may still arrive at have.Revision + 1
	for range rounds {
		next := body(have.Revision + 1)
		ctx, cancel := context.WithCancel(e.ctx)
		timer := time.AfterFunc(rand.N(2*typical), cancel)
		err := e.store.CompareAndSwap(ctx, name, have.Revision, next)
		timer.Stop()
		cancel()
		tried = append(tried, string(next.Data))
		got := e.load(e.store, name)
		switch {
		case err == nil:
			if got.Revision != next.Revision || string(got.Data) != string(next.Data) {
				e.Fatalf("CompareAndSwap to %d returned nil, and Load revision %d with %s", next.Revision, got.Revision, brief(got.Data))
			}
		case got.Revision == have.Revision:
			if string(got.Data) != string(have.Data) {
				e.Fatalf("after a cancelled call revision %d has changed: %s", got.Revision, brief(got.Data))
			}
			continue
		case got.Revision != next.Revision || !slices.Contains(tried, string(got.Data)):
			e.Fatalf("after a cancelled call from %d: revision %d with %s", have.Revision, got.Revision, brief(got.Data))
		}
		have, tried = got, nil
	}
	// And the store still works: nothing is locked for good.
	for {
		err := e.store.CompareAndSwap(e.ctx, name, have.Revision, rec(have.Revision+1))
		if err == nil {
			break
		}
		if !errors.Is(err, keyring.ErrConflict) {
			e.Fatalf("after cancelled calls: %v", err)
		}
		have = e.load(e.store, name) // a late arrival
	}
}
