//go:build cgo

package kms

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

var long = os.Getenv("STRUCTSEAL_LONG") == "1"

// P7: a ring moves from each KMS to each other, and to a second key of the same one,
// while kill -9 meets the process that moves it: at a random moment and at a named
// point. After each kill every row opens, with both key-encryption keys and with one of
// them alone; in the end, when the old key is destroyed, with the new one alone. Each
// KMS is left once and reached once; with STRUCTSEAL_LONG=1 all 64 pairs are tried, in
// both ways of moving, with more kills.
func TestRewrapMatrix(t *testing.T) {
	approvedOnly(t)
	all, begin := services(t), time.Now()
	n, shift, total := len(all), rand.IntN(8), new(tally)
	for i, from := range all {
		for j, to := range all {
			if !long && (i+shift)%n != j {
				continue
			}
			t.Run(from.driver+" to "+to.driver, func(t *testing.T) {
				for _, renew := range []bool{false, true} {
					if long || renew == (i%2 == 0) {
						move(t, from, to, renew, total)
					}
				}
			})
		}
	}
	t.Logf("%d pairs, %d moves, %d kills of which %d at random moments; %d openings of rows, %d rows unreadable; %v",
		total.pairs(), total.moves, total.kills, total.random, total.read, total.unreadable, time.Since(begin).Round(time.Second))
	if total.missed > total.moves/4 {
		t.Errorf("%d kills came too late", total.missed)
	}
}

// approvedOnly skips a test that can't be run in FIPS-only mode.
func approvedOnly(t *testing.T) {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("OpenBao and Tink choose their own nonces, and rings here have deterministic keys")
	}
}

// A tally is what TestRewrapMatrix has done.
type tally struct {
	moves, kills, random, missed, read, unreadable int
	seen                                           map[[2]string]bool
}

func (a *tally) pairs() int { return len(a.seen) }

// move moves a ring.
func move(t *testing.T, from, to service, renew bool, total *tally) {
	old, next := from.make(t), to.make(t)
	kms, closeAll, err := openAll([]place{old, next})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	dir := filepath.Join(t.TempDir(), "ring")
	store, err := keyring.NewFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, store, kms[0])
	e := errand{Dir: dir, Pin: w.pin.String(), From: old, To: next, Renew: renew}
	look := func(when string) {
		t.Helper()
		// One of the two opens everything by itself, at any moment.
		if err := w.readableWith(t, kms...); err != nil {
			total.unreadable++
			t.Errorf("%s: %v", when, err)
		}
		if before, after := w.readableWith(t, kms[0]), w.readableWith(t, kms[1]); before != nil && after != nil {
			total.unreadable++
			t.Errorf("%s: neither key-encryption key opens all: %v; %v", when, before, after)
		}
	}
	keys := w.keys(t, kms[0])
	for _, k := range kills(keys, renew) {
		e.Point = k.point
		if _, done := e.send(t, k.events); done && k.events > 0 {
			total.missed++ // this process was too slow; there is nothing left to be killed in
			break
		} else if done {
			t.Errorf("%s: the child was not killed", k)
			continue
		}
		total.kills++
		e.Last = strings.HasPrefix(k.point, "remove ")
		if k.events > 0 {
			total.random++
		}
		look(k.String())
	}
	e.Point = ""
	if _, done := e.send(t, 0); !done {
		t.Fatal("the last child was not done")
	}
	if err := w.moved(t, kms[1]); err != nil {
		t.Errorf("when all is done: %v", err)
	}
	if err := w.readableWith(t, kms[0]); !errors.Is(err, keyring.ErrWrongKEK) {
		t.Errorf("the old key-encryption key when all is done: %v", err)
	}

	from.destroy(t, old)
	if err := w.moved(t, kms[1]); err != nil {
		total.unreadable++
		t.Errorf("the old key is destroyed: %v", err)
	}
	ring, err := w.open(t, nil, kms[1])
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Errorf("the old key is destroyed: Rotate: %v", err)
	}
	w.write(t, ring)
	if err := w.moved(t, kms[1]); err != nil {
		t.Errorf("the old key is destroyed, after a rotation: %v", err)
	}
	total.moves++
	total.read += w.read
	if total.seen == nil {
		total.seen = make(map[[2]string]bool)
	}
	total.seen[[2]string{from.driver, to.driver}] = true
}

// keys returns how many the ring has.
func (w *world) keys(t *testing.T, kms ...kmsprovider.Provider) int {
	t.Helper()
	ring, err := w.open(t, nil, kms...)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	return len(ring.Keys())
}

// A kill is where a child dies: at a point that it knows, or when it has told of so many
// events.
type kill struct {
	point  string
	events int
}

func (k kill) String() string {
	if k.point != "" {
		return "killed at " + k.point
	}
	return fmt.Sprint("killed after ", k.events, " events")
}

// kills chooses where children die, one after the other, each in what those before have
// left to do. AddKEK makes three calls of KMSs and one write for each key, and tells of
// eight events; what removes makes a call and a write for each key, and one write
// before. That is RemoveKEK with renew, and Rewrap without.
func kills(keys int, renew bool) []kill {
	named := func(phase string, within int) kill {
		kind := []string{"unwrap", "write"}[rand.IntN(2)]
		if phase == "add" && rand.IntN(2) == 0 {
			kind = "wrap"
		}
		side := []string{"before", "after"}[rand.IntN(2)]
		return kill{point: fmt.Sprint(phase, " ", kind, " ", 1+rand.IntN(within), " ", side)}
	}
	random := func(within int) kill { return kill{events: 1 + rand.IntN(within)} }
	switch {
	case !long && renew:
		return []kill{random(5 * keys), named("remove", keys)}
	case !long:
		return []kill{random(5 * keys), named("rewrap", keys)}
	case renew:
		return []kill{random(2 * keys), random(2 * keys), named("add", keys/4), random(2 * keys), named("rewrap", keys), named("remove", keys/3), named("remove", keys/4)}
	}
	return []kill{random(2 * keys), random(2 * keys), named("add", keys/4), named("rewrap", keys/3), named("rewrap", keys/4)}
}
