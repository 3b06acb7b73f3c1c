package keyringtest

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/structseal/structseal/keyring"
)

// testAbandoned: a process may die between Load and CompareAndSwap. Nobody waits
// for it, and if it was only slow, it lost.
func testAbandoned(e *env) {
	name := e.name("ring")
	e.create(name, rec(1))
	for n := uint64(1); n < 6; n++ {
		dead := e.open(e.T)
		seen := e.load(dead, name)
		e.swap(e.store, name, n, rec(n+1))
		e.holds(e.store, name, rec(n+1))
		err := dead.CompareAndSwap(e.ctx, name, seen.Revision, keyring.Record{Revision: seen.Revision + 1, Data: text("from the dead")})
		if !errors.Is(err, keyring.ErrConflict) {
			e.Errorf("a handle that was abandoned at revision %d wrote: error %v, want ErrConflict", seen.Revision, err)
		}
		e.holds(e.store, name, rec(n+1))
	}
}

// testHandles: a write is seen by every handle as soon as it has returned.
func testHandles(e *env) {
	name := e.name("ring")
	handles := []keyring.Store{e.store, e.open(e.T), e.open(e.T)}
	e.create(name, rec(1))
	for n := uint64(1); n <= 60; n++ {
		for _, s := range handles {
			e.holds(s, name, rec(n))
		}
		e.swap(handles[n%3], name, n, rec(n+1))
		e.holds(handles[(n+1)%3], name, rec(n+1))
	}
	// A ring that a handle has missed is no longer missed.
	late := e.name("late")
	for _, s := range handles {
		if _, err := s.Load(e.ctx, late); !errors.Is(err, keyring.ErrNotFound) {
			e.Errorf("Load before: %v", err)
		}
	}
	e.create(late, rec(1))
	for _, s := range handles {
		e.holds(s, late, rec(1))
	}
}

// testWholeRecords: while somebody writes, Load returns the old record or the
// new one, never some of both, and doesn't go back.
func testWholeRecords(e *env) {
	const last, readers = 120, 3
	body := func(n uint64) keyring.Record {
		return keyring.Record{Revision: n, Data: text(strings.Repeat(at(n)+",", 20+int(n%7)*300))}
	}
	name := e.name("ring")
	e.create(name, body(1))
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := make(chan struct{})
	defer close(stop)
	for range readers {
		s := e.open(e.T)
		wg.Go(func() {
			for seen := uint64(1); seen < last; {
				select {
				case <-stop:
					return
				default:
				}
				r, err := s.Load(e.ctx, name)
				if err != nil {
					e.Errorf("Load while others write: %v", err)
					return
				}
				if string(r.Data) != string(body(r.Revision).Data) {
					e.Errorf("Load while others write: revision %d with %s", r.Revision, brief(r.Data))
					return
				}
				if r.Revision < seen {
					e.Errorf("Load while others write: revision %d after %d", r.Revision, seen)
					return
				}
				seen = r.Revision
			}
		})
	}
	for n := uint64(1); n < last; n++ {
		if err := e.store.CompareAndSwap(e.ctx, name, n, body(n+1)); err != nil {
			e.Errorf("CompareAndSwap from %d while others read: %v", n, err)
			return
		}
	}
	// The readers end when they have seen the last one.
	wg.Wait()
}

// testContention: of all who write at once, one wins each revision, and the
// others hear ErrConflict.
func testContention(e *env) {
	const writers, each = 8, 12
	handles := []keyring.Store{e.store, e.open(e.T), e.open(e.T), e.open(e.T)}
	e.run("update", func(e *env) {
		name := e.name("ring")
		e.create(name, keyring.Record{Revision: 1, Data: text("start")})
		var mu sync.Mutex
		winners := make(map[uint64][]string)
		var wg sync.WaitGroup
		for w := range writers {
			s := handles[w%len(handles)]
			wg.Go(func() {
				for won := 0; won < each; {
					r, err := s.Load(e.ctx, name)
					if err != nil {
						e.Errorf("Load: %v", err)
						return
					}
					entry := fmt.Sprintf("%d.%d", w, won)
					next := keyring.Record{Revision: r.Revision + 1, Data: text(string(r.Data) + " " + entry)}
					switch err := s.CompareAndSwap(e.ctx, name, r.Revision, next); {
					case err == nil:
						won++
						mu.Lock()
						winners[next.Revision] = append(winners[next.Revision], entry)
						mu.Unlock()
					case !errors.Is(err, keyring.ErrConflict):
						e.Errorf("CompareAndSwap: error %v, want nil or ErrConflict", err)
						return
					}
				}
			})
		}
		wg.Wait()
		final := e.load(e.store, name)
		if want := uint64(1 + writers*each); final.Revision != want {
			e.Errorf("revision %d after %d writes, want %d", final.Revision, writers*each, want)
		}
		history := strings.Fields(string(final.Data))
		for n := uint64(2); n <= 1+writers*each; n++ {
			if len(winners[n]) != 1 {
				e.Fatalf("revision %d has %d winners: %v", n, len(winners[n]), winners[n])
			}
			if i := int(n - 1); i >= len(history) || history[i] != winners[n][0] {
				e.Fatalf("the write of revision %d is lost", n)
			}
		}
	})
	e.run("create", func(e *env) {
		for round := range 15 {
			name := e.name("new" + decimal(round))
			start := make(chan struct{})
			errs := make([]error, writers)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					<-start
					errs[w] = handles[w%len(handles)].CompareAndSwap(e.ctx, name, 0, keyring.Record{Revision: 1, Data: text(decimal(w))})
				})
			}
			close(start)
			wg.Wait()
			winner := e.winner("ring", errs)
			if r := e.load(e.store, name); string(r.Data) != decimal(winner) {
				e.Errorf("%d created the ring, and it holds the record of %s", winner, brief(r.Data))
			}
		}
	})
}

// winner returns which of those who created one thing at once has; the others must
// hear ErrConflict.
func (e *env) winner(what string, errs []error) int {
	e.Helper()
	winner := -1
	for w, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = w
		case err == nil:
			e.Errorf("both %d and %d created the %s", winner, w, what)
		case !errors.Is(err, keyring.ErrConflict):
			e.Errorf("create: error %v, want nil or ErrConflict", err)
		}
	}
	if winner < 0 {
		e.Fatalf("nobody created the %s", what)
	}
	return winner
}
