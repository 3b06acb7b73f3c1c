package stores

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
)

// P8: eight processes rotate one ring 200 times (ten rings one after the other,
// 2,000 times, with STRUCTSEAL_LONG=1; 40 times under the race detector). At no revision
// there are two primaries, no rotation is lost, and in the end all know the same.
func TestProcessesRotate(t *testing.T) {
	rings := size(1, 1, 10)
	everywhere(t, func(t *testing.T, s site) {
		s.migrated(t)
		begin := time.Now()
		total := 0
		for range rings {
			total += rotateTogether(t, s)
		}
		t.Logf("%d rotations by %d processes in %v", total, processes, time.Since(begin).Round(time.Millisecond))
	})
}

const processes = 8

// each is how often each process rotates a ring. It holds 256 keys.
var each = size(5, 25, 25)

func rotateTogether(t *testing.T, s site) int {
	r := share(t, s)
	var children []*process
	for range processes {
		children = append(children, r.start(t, workRotate, fmt.Sprintf("%s=%d", childCount, each)))
	}
	for _, p := range children {
		if _, ok := p.until("ready", func(string) {}); !ok {
			t.Fatal("a child did not get ready")
		}
	}
	var mu sync.Mutex
	revisions := make(map[uint64]uint32)
	var wg sync.WaitGroup
	for _, p := range children {
		p.goOn()
		wg.Go(func() {
			_, ok := p.until("done", func(line string) {
				id, revision, ok := parse(line)
				mu.Lock()
				defer mu.Unlock()
				if was, twice := revisions[revision]; !ok || twice {
					t.Errorf("%q: not a key, or %08x has this revision", line, was)
				}
				revisions[revision], r.told[id] = id, revision
			})
			if !ok {
				t.Error("a child ended before its time")
			}
		})
	}
	// Somebody who only reads checks every revision that he gets to see.
	watched := make(chan int)
	stop := make(chan struct{})
	watcher, err := r.ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	go func() {
		seen := 0
		for revision := uint64(0); ; {
			select {
			case <-stop:
				watched <- seen
				return
			default:
			}
			if err := watcher.Refresh(t.Context()); err != nil {
				t.Errorf("Refresh meanwhile: %v", err)
			}
			if now := watcher.Revision(); now != revision {
				revision = now
				seen++
			}
			primaries := 0
			for _, k := range watcher.Keys() {
				if k.Purpose == keyring.Data && k.State == keyring.Primary {
					primaries++
				}
			}
			if primaries != 1 {
				t.Errorf("%d primaries at revision %d", primaries, revision)
			}
		}
	}()
	wg.Wait()
	close(stop)
	seen := <-watched
	final := r.check(t, "in the end")
	for n := uint64(2); n <= uint64(1+processes*each); n++ {
		if _, ok := revisions[n]; !ok {
			t.Errorf("nobody made revision %d", n)
		}
	}
	if final.Revision() != uint64(1+processes*each) || len(r.told) != processes*each {
		t.Errorf("revision %d, %d keys told, after %d rotations", final.Revision(), len(r.told), processes*each)
	}
	want := "knows " + describe(final)
	for _, p := range children {
		p.goOn()
		line, ok := p.until("knows", func(string) {})
		if !ok || line != want {
			t.Errorf("a process %s\nthe ring is %s", line, want)
		}
		if err := p.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if seen < 2 {
		t.Errorf("the watcher saw %d revisions", seen)
	}
	return len(r.told)
}

// P7: kill -9 at random moments of a process that rotates without end: 10, 200
// with STRUCTSEAL_LONG=1, or 3 under the race detector, for each database.
func TestKillAtRandom(t *testing.T) {
	kills := size(3, 10, 200)
	everywhere(t, func(t *testing.T, s site) {
		s.migrated(t)
		var r *shared
		rotations, rings, unheard := 0, 0, 0
		for n := range kills {
			if r == nil {
				r = share(t, s)
				rings++
			}
			p := r.start(t, workRotate, childCount+"=0")
			if _, ok := p.until("ready", func(string) {}); !ok {
				t.Fatal("the child did not get ready")
			}
			before := r.check(t, "before").Revision()
			heard := uint64(0)
			hear := func(line string) {
				if id, revision, ok := parse(line); ok {
					r.told[id] = revision
					heard++
				}
			}
			p.goOn()
			first, ok := p.until("key ", func(string) {})
			if !ok {
				t.Fatal("the child did not rotate")
			}
			hear(first)
			timer := time.AfterFunc(rand.N(60*time.Millisecond), func() { p.cmd.Process.Kill() })
			p.until("done", hear)
			if err := p.cmd.Wait(); err == nil {
				t.Fatal("the child ended by itself")
			}
			timer.Stop()
			ring := r.check(t, fmt.Sprintf("kill %d", n+1))
			// One more may have been stored than the child could tell.
			switch stored := ring.Revision() - before; {
			case stored == heard+1:
				unheard++
			case stored != heard:
				t.Errorf("kill %d: %d rotations told, %d stored", n+1, heard, stored)
			}
			rotations += int(heard)
			// And nobody is locked out.
			_, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true})
			if err != nil && !errors.Is(err, keyring.ErrTooLarge) {
				t.Fatalf("rotation after kill %d: %v", n+1, err)
			}
			if len(ring.Keys()) > keyring.MaxKeys-80 {
				r = nil // nearly full
			}
		}
		t.Logf("%d kills, %d rotations told, %d stored and not told, %d rings", kills, rotations, unheard, rings)
	})
}
