package stores

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// P7: kill -9 of a process in each operation, at every named point (before the
// first write to a store and after each; before and after each call to it with
// STRUCTSEAL_LONG=1) and at random moments (10; 200), fewer under the race detector: for each store every ciphertext opens, or for a
// subject that is being forgotten all of its are closed, and the repeat completes.
func TestP7_KillInOperations(t *testing.T) {
	everyStore(t, func(t *testing.T, s site) {
		for _, op := range operations {
			t.Run(op.name, func(t *testing.T) { killIn(t, s, op) })
		}
	})
}

func killIn(t *testing.T, s site, op *operation) {
	kills := size(1, 10, 200)
	k := &killer{site: s, op: op}
	begin := time.Now()
	for n := range size(1, 2, 3) {
		k.round(t, fmt.Sprint("undisturbed ", n+1), "", false)
	}
	places := points(k.calls, long)
	if len(places) == 0 {
		t.Fatalf("calls %q", k.calls)
	}
	rand.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	places = places[:min(len(places), size(2, len(places), len(places)))]
	for _, p := range places {
		k.round(t, "killed "+p, p, false)
	}
	named, inside := len(places), k.inside
	if inside != named {
		t.Errorf("%d of %d processes died at their points", inside, named)
	}
	for n := range kills {
		k.round(t, fmt.Sprint("random kill ", n+1), "", true)
	}
	inside = k.inside - inside
	if long && inside == 0 {
		t.Error("no random kill hit the operation")
	}
	t.Logf("%d named points, %d random kills of which %d inside the operation (median %v, calls %s); it had done nothing %d times, part %d, all %d; %d openings of ciphertexts; %v",
		named, kills, inside, k.median().Round(10*time.Microsecond), k.calls, k.lefts[nothing], k.lefts[part], k.lefts[whole], k.read, time.Since(begin).Round(10*time.Millisecond))
}

// A killer does one operation again and again, and lets it die.
type killer struct {
	site   site
	op     *operation
	world  *world
	took   []time.Duration // when nothing killed it
	calls  string
	inside int // died in the operation
	lefts  [3]int
	read   int
}

func (k *killer) median() time.Duration {
	sorted := slices.Sorted(slices.Values(k.took))
	return sorted[len(sorted)/2]
}

// round prepares, lets a child die at a point or at a random moment, or not at
// all, checks what is left, repeats the operation and checks again.
func (k *killer) round(t *testing.T, when, point string, random bool) {
	t.Helper()
	// A ring holds 256 keys, and what happened to it makes it slow.
	if k.world == nil || k.world.rounds == 20 {
		k.world = newWorld(t, k.site, k.op, &k.read)
	}
	w := k.world
	w.rounds++
	ring := w.open(t, when)
	w.revision = ring.Revision()
	arg := k.op.prepare(t, w, ring)
	ring.Close()

	p := w.start(t, k.op.name, childArg+"="+arg, childPoint+"="+point)
	if _, ok := p.until("ready", func(string) {}); !ok {
		t.Fatalf("%s: the child did not get ready", when)
	}
	p.goOn()
	if _, ok := p.until("begun", func(string) {}); !ok {
		t.Fatalf("%s: the child did not begin", when)
	}
	begun := time.Now()
	if random {
		timer := time.AfterFunc(rand.N(k.median()), func() { p.cmd.Process.Kill() })
		defer timer.Stop()
	}
	var told []string
	line, done := p.until("done", func(line string) { told = append(told, line) })
	switch {
	case done:
		k.took = append(k.took, time.Since(begun))
		k.calls = strings.TrimPrefix(line, "done ")
	default:
		k.inside++
	}
	w.late = random && !done
	if !random && point == "" {
		p.goOn()
	}
	if err := p.cmd.Wait(); (err == nil) == (random || point != "") || err != nil && err.Error() != "signal: killed" {
		t.Fatalf("%s: the child ended with %v", when, err)
	}

	// What the child told is in use.
	told = k.note(told)
	ring = w.open(t, when)
	if err := w.readable(t, ring); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	if err := primaries(ring); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	l, err := k.op.look(t, w, ring)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if done && l != whole {
		t.Errorf("%s: the child was done, and did not do all", when)
	}
	k.lefts[l]++
	if len(told) > 0 { // a certificate
		if l != whole {
			t.Errorf("%s: %s, and it is not", when, told[0])
		}
		if err := w.certified(strings.Fields(told[0])[1:]); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}

	var again []string
	if err := k.op.run(t.Context(), ring, w.keks, arg, func(line string) { again = append(again, line) }); err != nil {
		t.Fatalf("%s: the repeat: %v", when, err)
	}
	ring.Close()
	k.note(again)
	ring = w.open(t, when)
	defer ring.Close()
	if err := w.readable(t, ring); err != nil {
		t.Errorf("%s, repeated: %v", when, err)
	}
	if err := primaries(ring); err != nil {
		t.Errorf("%s, repeated: %v", when, err)
	}
	if err := k.op.finished(t, w, ring); err != nil {
		t.Fatalf("%s, repeated: %v", when, err)
	}
}

// note adds rows that were told to the world, and returns the other lines.
func (k *killer) note(told []string) (others []string) {
	for _, line := range told {
		switch f := strings.Fields(line); f[0] {
		case "order":
			k.world.orders = append(k.world.orders, order{ID: "told", Item: f[1]})
		case "member":
			k.world.people = append(k.world.people, member{ID: f[1], Name: f[2]})
		default:
			others = append(others, line)
		}
	}
	return others
}
