package stores

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// An operation is what a process dies in. run is done by the child, and repeated
// by the parent; what it tells must be true whatever happens afterwards. prepare
// begins a round and returns the argument of run. look judges what is left after
// a kill, and finished what must be so after the repeat.
type operation struct {
	name     string
	both     bool // the ring is open with both key-encryption keys
	run      func(ctx context.Context, ring *keyring.Keyring, keks []*localkms.Provider, arg string, tell func(string)) error
	prepare  func(t *testing.T, w *world, ring *keyring.Keyring) (arg string)
	look     func(t *testing.T, w *world, ring *keyring.Keyring) (left, error)
	finished func(t *testing.T, w *world, ring *keyring.Keyring) error
}

// left is how much of an operation a killed process has done.
type left int

const (
	nothing left = iota
	part
	whole
)

var operations = []*operation{rotating, rewrapping, addingKEK, forgetting, rewrappingSubjects}

func (o *operation) open(ctx context.Context, r *shared) (*keyring.Keyring, error) {
	opts := &keyring.OpenOptions{Tombstones: r.stores.outside}
	if o.both {
		opts.Also = append(opts.Also, r.keks[1])
	}
	return keyring.Open(ctx, r.name, r.stores.ring, r.keks[0], r.pin, opts)
}

// operate says "begun" and runs an operation, says "done" with the calls that it
// made to the stores, and waits for another line.
func operate(ctx context.Context, r *shared, stdin *bufio.Reader, name string) error {
	i := slices.IndexFunc(operations, func(o *operation) bool { return o.name == name })
	if i < 0 {
		return fmt.Errorf("no operation %q", name)
	}
	wire := &tripwire{point: os.Getenv(childPoint)}
	r.stores.ring, r.stores.outside = wired{r.stores.ring, wire}, wired{r.stores.outside, wire}
	ring, err := operations[i].open(ctx, r)
	if err != nil {
		return err
	}
	// The first random byte of a process in FIPS mode takes longer than all that
	// follows: deaths would meet nothing else.
	rand.Read(make([]byte, 1))
	fmt.Println("ready")
	if _, err := stdin.ReadString('\n'); err != nil {
		return err
	}
	wire.set = true
	fmt.Println("begun")
	if err := operations[i].run(ctx, ring, r.keks, os.Getenv(childArg), func(line string) { fmt.Println(line) }); err != nil {
		return err
	}
	fmt.Println("done", string(wire.calls))
	_, err = stdin.ReadString('\n')
	return err
}

// rotating publishes a key, promotes it and seals with it.
var rotating = &operation{
	name: "rotate",
	run: func(ctx context.Context, ring *keyring.Keyring, _ []*localkms.Provider, _ string, tell func(string)) error {
		id, err := ring.Rotate(ctx, keyring.Data, nil)
		if err != nil {
			return err
		}
		if err := ring.Promote(ctx, id, &keyring.PromoteOptions{Now: true}); err != nil {
			return err
		}
		row, err := structseal.Encrypt(ctx, ring, newOrder("told"))
		if err == nil {
			tell("order " + row.Item)
		}
		return err
	},
	prepare: func(t *testing.T, w *world, ring *keyring.Keyring) string {
		w.primary, w.keys = primary(ring, keyring.Data), len(ring.Keys())
		return ""
	},
	look: func(t *testing.T, w *world, ring *keyring.Keyring) (left, error) {
		l := left(ring.Revision() - w.revision) // published, promoted
		added := ring.Keys()[w.keys:]
		switch {
		case l > whole:
			return l, fmt.Errorf("%d changes", l)
		case l == nothing && len(added) != 0, l > nothing && len(added) != 1:
			return l, fmt.Errorf("%d keys after %d changes", len(added), l)
		case l == part && added[0].State != keyring.Pending, l == whole && added[0].State != keyring.Primary:
			return l, fmt.Errorf("%s after %d changes", added[0].State, l)
		case (l == whole) != (primary(ring, keyring.Data) != w.primary):
			return l, fmt.Errorf("after %d changes key %08x is the primary", l, primary(ring, keyring.Data))
		}
		if l == whole { // the repeat is another one
			w.keys, w.primary = len(ring.Keys()), added[0].ID
		}
		return l, nil
	},
	finished: func(t *testing.T, w *world, ring *keyring.Keyring) error {
		keys := ring.Keys()
		if w.late && len(keys) == w.keys+2 && keys[w.keys].State == keyring.Enabled {
			w.keys++ // the dead child's promotion came after the look; the repeat is another one
		}
		if len(keys) != w.keys+1 || primary(ring, keyring.Data) != keys[w.keys].ID {
			return fmt.Errorf("%d keys, %d before; primary %08x", len(keys), w.keys, primary(ring, keyring.Data))
		}
		return recorded(ring)
	},
}

// recorded finds every revision in the history of a ring that was only rotated.
func recorded(ring *keyring.Keyring) error {
	changes := ring.History().Changes
	at := changes[0].Revision
	for _, c := range changes {
		if c.Revision != at && c.Revision != at+1 {
			return fmt.Errorf("the history has revision %d after %d", c.Revision, at)
		}
		at = c.Revision
	}
	if at != ring.Revision() {
		return fmt.Errorf("the history ends with revision %d of %d", at, ring.Revision())
	}
	return nil
}

func primary(ring *keyring.Keyring, p keyring.Purpose) uint32 {
	for _, k := range ring.Keys() {
		if k.Purpose == p && k.State == keyring.Primary {
			return k.ID
		}
	}
	return 0
}

// rewrapping moves the ring from one key-encryption key to the other, and back.
var rewrapping = &operation{
	name: "rewrap",
	both: true,
	run: func(ctx context.Context, ring *keyring.Keyring, _ []*localkms.Provider, arg string, _ func(string)) error {
		_, err := ring.Rewrap(ctx, keyring.RewrapTarget{KEKs: []string{arg}})
		return err
	},
	prepare: func(t *testing.T, w *world, ring *keyring.Keyring) string {
		w.target = w.keks[0]
		if wraps(ring.Keys()[0], w.target) {
			w.target = w.keks[1]
		}
		return w.target.ID()
	},
	// At any time one of the two opens everything by itself.
	look: func(t *testing.T, w *world, ring *keyring.Keyring) (left, error) {
		old := w.keks[0]
		if old == w.target {
			old = w.keks[1]
		}
		before, after := w.readableUnder(t, old), w.readableUnder(t, w.target)
		if before != nil && after != nil {
			return part, errors.Join(before, after)
		}
		return w.rewrapped(t, ring, w.target.ID())
	},
	finished: func(t *testing.T, w *world, ring *keyring.Keyring) error {
		if err := w.readableUnder(t, w.target); err != nil {
			return err
		}
		for _, k := range ring.Keys() {
			if len(k.KEKs) != 1 {
				return fmt.Errorf("key %08x is wrapped by %v", k.ID, k.KEKs)
			}
		}
		for _, kms := range w.keks {
			if _, err := w.under(t, kms); kms != w.target && !errors.Is(err, keyring.ErrWrongKEK) {
				return fmt.Errorf("under the old key: %v", err)
			}
		}
		return nil
	},
}

// rewrapped says how much is left to do.
func (w *world) rewrapped(t *testing.T, ring *keyring.Keyring, keks ...string) (left, error) {
	plan, err := ring.PlanRewrap(t.Context(), keyring.RewrapTarget{KEKs: keks})
	switch {
	case err != nil:
		return part, err
	case len(plan.Keys) == 0:
		return whole, nil
	case ring.Revision() == w.revision:
		return nothing, nil
	}
	return part, nil
}

// addingKEK adds the second key-encryption key.
var addingKEK = &operation{
	name: "add-KEK",
	run: func(ctx context.Context, ring *keyring.Keyring, keks []*localkms.Provider, _ string, _ func(string)) error {
		return ring.AddKEK(ctx, keks[1], nil)
	},
	prepare: func(t *testing.T, w *world, ring *keyring.Keyring) string {
		if wraps(ring.Keys()[0], w.keks[1]) {
			if err := ring.RemoveKEK(t.Context(), w.keks[1].ID(), nil); err != nil {
				t.Fatal(err)
			}
			w.revision = ring.Revision()
		}
		return ""
	},
	look: func(t *testing.T, w *world, ring *keyring.Keyring) (left, error) {
		if err := w.readableUnder(t, w.keks[0]); err != nil {
			return part, err
		}
		n := 0
		for _, k := range ring.Keys() {
			if wraps(k, w.keks[1]) {
				n++
			}
		}
		switch {
		case n == len(ring.Keys()):
			return whole, nil
		case ring.Revision() == w.revision:
			return nothing, nil
		}
		return part, nil
	},
	finished: func(t *testing.T, w *world, ring *keyring.Keyring) error {
		return errors.Join(w.readableUnder(t, w.keks[0]), w.readableUnder(t, w.keks[1]))
	},
}

// forgetting forgets a subject with two keys, a new one in each round.
var forgetting = &operation{
	name: "forget",
	run: func(ctx context.Context, ring *keyring.Keyring, _ []*localkms.Provider, arg string, tell func(string)) error {
		c, err := ring.Forget(ctx, subjectOf(arg), nil)
		if err == nil {
			tell("forgotten " + strings.Join(c.Keys, " "))
		}
		return err
	},
	prepare: func(t *testing.T, w *world, ring *keyring.Keyring) string {
		id := fmt.Sprint("doomed", w.rounds)
		w.doomed = w.newSubject(t, ring, id, 1)
		w.ids = make(map[string]bool)
		for _, row := range w.doomed {
			w.ids[fmt.Sprintf("%08x", keyOf(t, row))] = true
		}
		hashes, err := w.stores.ring.ListSubjects(t.Context(), w.name, keyring.SubjectHash{}, keyring.MaxSubjectBatch)
		if err == nil {
			w.backup, err = w.stores.ring.LoadSubjects(t.Context(), w.name, hashes)
		}
		if err != nil {
			t.Fatal(err)
		}
		return id
	},
	// The tombstone outside comes first: who restores the store when its own
	// tombstone stands must not open the subject.
	look: func(t *testing.T, w *world, ring *keyring.Keyring) (left, error) {
		all, err := w.closed(t, w.stores.ring, w.stores.outside)
		if err != nil {
			return part, err
		}
		inside, err := w.closed(t, w.stores.ring, nil)
		if err != nil {
			return part, fmt.Errorf("without tombstones: %w", err)
		}
		outside, err := w.closed(t, restored{w.stores.ring, w.backup}, w.stores.outside)
		if err != nil {
			return part, fmt.Errorf("from a backup: %w", err)
		}
		if all != (inside || outside) || inside && !outside {
			return part, fmt.Errorf("forgotten: in the store %v, outside %v, for both %v", inside, outside, all)
		}
		switch {
		case inside:
			return whole, nil
		case outside:
			return part, nil
		}
		return nothing, nil
	},
	finished: func(t *testing.T, w *world, ring *keyring.Keyring) error {
		for what, s := range map[string]stores{
			"both":        w.stores,
			"the store":   {ring: w.stores.ring},
			"from backup": {ring: restored{w.stores.ring, w.backup}, outside: w.stores.outside},
		} {
			if closed, err := w.closed(t, s.ring, s.outside); err != nil || !closed {
				return fmt.Errorf("%s: forgotten %v, %v", what, closed, err)
			}
		}
		if _, err := structseal.Encrypt(t.Context(), ring, newMember(w.doomed[0].ID)); !errors.Is(err, structseal.ErrForgotten) {
			return fmt.Errorf("sealed for who is forgotten: %v", err)
		}
		c, err := ring.Forget(t.Context(), subjectOf(w.doomed[0].ID), nil)
		if err != nil {
			return err
		}
		return errors.Join(w.certified(c.Keys), ring.VerifyCertificate(t.Context(), c))
	},
}

// certified compares the keys of a certificate with those that sealed.
func (w *world) certified(keys []string) error {
	got := make(map[string]bool)
	for _, k := range keys {
		got[k] = true
	}
	if len(keys) != len(w.ids) || fmt.Sprint(got) != fmt.Sprint(w.ids) {
		return fmt.Errorf("destroyed %v, and these sealed: %v", keys, w.ids)
	}
	return nil
}

// closed reports whether all rows of the doomed subject are closed; all or none.
func (w *world) closed(t *testing.T, store, outside keyring.SubjectStore) (bool, error) {
	opts := new(keyring.OpenOptions)
	if outside != nil {
		opts.Tombstones = outside
	}
	ring, err := keyring.Open(t.Context(), w.name, store, w.keks[0], w.pin, opts)
	if err != nil {
		return false, err
	}
	defer ring.Close()
	n := 0
	for _, row := range w.doomed {
		*w.read++
		p, err := structseal.Decrypt(t.Context(), ring, row)
		switch {
		case errors.Is(err, structseal.ErrForgotten):
			n++
		case err != nil:
			return false, fmt.Errorf("unreadable: %w", err)
		case p != newMember(row.ID):
			return false, fmt.Errorf("opened to %v", p)
		}
	}
	if n != 0 && n != len(w.doomed) {
		return false, fmt.Errorf("%d of %d rows are forgotten", n, len(w.doomed))
	}
	return n > 0, nil
}

func keyOf(t *testing.T, row any) uint32 {
	t.Helper()
	fields, err := structseal.Inspect(row)
	if err != nil || len(fields) != 1 || !fields[0].Sealed {
		t.Fatalf("%v, %v", fields, err)
	}
	return fields[0].KeyID
}

// rewrappingSubjects gives one subject a further key and seals with it, and
// rewraps all of them under a subject-wrap key that is new in each round.
var rewrappingSubjects = &operation{
	name: "subject rewrap",
	run: func(ctx context.Context, ring *keyring.Keyring, _ []*localkms.Provider, arg string, tell func(string)) error {
		if _, err := ring.RotateSubject(ctx, subjectOf(arg)); err != nil {
			return err
		}
		row, err := structseal.Encrypt(ctx, ring, newMember(arg))
		if err != nil {
			return err
		}
		tell("member " + arg + " " + row.Name)
		p, err := ring.RewrapSubjects(ctx, nil)
		if err == nil && (!p.Done || p.Seen < subjects) {
			err = fmt.Errorf("%+v", p)
		}
		return err
	},
	prepare: func(t *testing.T, w *world, ring *keyring.Keyring) string {
		if _, err := ring.Rotate(t.Context(), keyring.SubjectWrap, &keyring.RotateOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
		w.revision = ring.Revision()
		return fmt.Sprint("p", mrand.N(subjects))
	},
	look: func(t *testing.T, w *world, ring *keyring.Keyring) (left, error) {
		if ring.Revision() != w.revision {
			return part, fmt.Errorf("revision %d, was %d", ring.Revision(), w.revision)
		}
		done, others, err := countSubjects(t, ring)
		switch {
		case err != nil || done+others != subjects:
			return part, fmt.Errorf("%d subjects rewrapped, %d not, of %d: %v", done, others, subjects, err)
		case done == 0:
			return nothing, nil
		case others == 0:
			return whole, nil
		}
		return part, nil
	},
	finished: func(t *testing.T, w *world, ring *keyring.Keyring) error {
		done, others, err := countSubjects(t, ring)
		if err == nil && (others != 0 || done != subjects) {
			err = fmt.Errorf("%d subjects rewrapped, %d not", done, others)
		}
		if err != nil {
			return err
		}
		p, err := ring.RewrapSubjects(t.Context(), nil)
		if err == nil && p.Rewrapped != 0 {
			err = fmt.Errorf("%d subjects were still to be rewrapped", p.Rewrapped)
		}
		return err
	},
}

// countSubjects counts those that the primary wraps, and others.
func countSubjects(t *testing.T, ring *keyring.Keyring) (done, others uint64, err error) {
	c, err := ring.BeginCensus(t.Context())
	if err != nil {
		return 0, 0, err
	}
	if err := ring.CountSubjects(t.Context(), c); err != nil {
		return 0, 0, err
	}
	for _, k := range ring.Keys() {
		switch {
		case k.Purpose != keyring.SubjectWrap:
		case k.State == keyring.Primary:
			done += c.Counted(k.ID)
		default:
			others += c.Counted(k.ID)
		}
	}
	return done, others, nil
}
