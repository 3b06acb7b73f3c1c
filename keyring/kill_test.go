package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A fileRing is a ring in a file store, with what was sealed with it: the site's
// ring, a second key-encryption key, and tombstones in another directory.
type fileRing struct {
	store, outside *FileStore
	keks           [2]*localkms.Provider
	pin            Pin
	data           [][]byte
	people         map[Subject][][]byte
}

// A fileOperation is what a process dies in. judge says what is wrong after that,
// and finished what is wrong after the repeat.
type fileOperation struct {
	name     string
	both     bool // open with both key-encryption keys
	prepare  func(ctx context.Context, ring *Keyring) error
	run      func(ctx context.Context, ring *Keyring, second *localkms.Provider) error
	judge    func(t *testing.T, f *fileRing, ring *Keyring, wrote bool) error
	finished func(t *testing.T, f *fileRing, ring *Keyring) error
}

var fileOperations = []*fileOperation{
	{
		name: "rewrap",
		both: true,
		run: func(ctx context.Context, ring *Keyring, second *localkms.Provider) error {
			_, err := ring.Rewrap(ctx, RewrapTarget{KEKs: []string{second.ID()}})
			return err
		},
		// At any time one of the two opens everything by itself.
		judge: func(t *testing.T, f *fileRing, ring *Keyring, _ bool) error {
			before, after := f.under(t, 0), f.under(t, 1)
			if before != nil && after != nil {
				return errors.Join(before, after)
			}
			return nil
		},
		finished: func(t *testing.T, f *fileRing, ring *Keyring) error {
			return errors.Join(f.under(t, 1), wrappedByAll(ring, f.keks[1]))
		},
	},
	{
		name: "add-KEK",
		run: func(ctx context.Context, ring *Keyring, second *localkms.Provider) error {
			return ring.AddKEK(ctx, second, nil)
		},
		judge: func(t *testing.T, f *fileRing, ring *Keyring, _ bool) error { return f.under(t, 0) },
		finished: func(t *testing.T, f *fileRing, ring *Keyring) error {
			return errors.Join(f.under(t, 0), f.under(t, 1), wrappedByAll(ring, f.keks[:]...))
		},
	},
	{
		name: "forget",
		run: func(ctx context.Context, ring *Keyring, _ *localkms.Provider) error {
			_, err := ring.Forget(ctx, ada, nil)
			return err
		},
		// It is forgotten from the first write on, which is outside.
		judge: func(t *testing.T, f *fileRing, ring *Keyring, wrote bool) error {
			inside, outside, err := tombstones(t, f, ring)
			if err == nil && (outside != wrote || inside && !outside) {
				err = fmt.Errorf("tombstone inside %v, outside %v, written %v", inside, outside, wrote)
			}
			for _, ct := range f.people[ada] {
				open := openFor(ring, ada, ct)
				if wrote && !errors.Is(open, ErrForgotten) || !wrote && open != nil {
					err = errors.Join(err, fmt.Errorf("written %v: %v", wrote, open))
				}
			}
			return err
		},
		finished: func(t *testing.T, f *fileRing, ring *Keyring) error {
			inside, outside, err := tombstones(t, f, ring)
			if err == nil && (!inside || !outside) {
				err = fmt.Errorf("tombstone inside %v, outside %v", inside, outside)
			}
			for _, ct := range f.people[ada] {
				if open := openFor(ring, ada, ct); !errors.Is(open, ErrForgotten) {
					err = errors.Join(err, open, errors.New("still open"))
				}
			}
			return err
		},
	},
	{
		name: "subject rewrap",
		prepare: func(ctx context.Context, ring *Keyring) error {
			_, err := ring.Rotate(ctx, SubjectWrap, &RotateOptions{Now: true})
			return err
		},
		run: func(ctx context.Context, ring *Keyring, _ *localkms.Provider) error {
			if _, err := ring.RotateSubject(ctx, ada); err != nil {
				return err
			}
			_, err := ring.RewrapSubjects(ctx, nil)
			return err
		},
		judge: func(*testing.T, *fileRing, *Keyring, bool) error { return nil },
		finished: func(t *testing.T, f *fileRing, ring *Keyring) error {
			c, err := ring.BeginCensus(t.Context())
			if err != nil {
				return err
			}
			if err := ring.CountSubjects(t.Context(), c); err != nil {
				return err
			}
			if n := c.Counted(uint32(ring.live.Load().primary[SubjectWrap].ID)); n != uint64(len(f.people)) {
				return fmt.Errorf("%d of %d subjects", n, len(f.people))
			}
			return nil
		},
	},
}

// tombstones says where ada's are. One that stands lists her keys.
func tombstones(t *testing.T, f *fileRing, ring *Keyring) (inside, outside bool, err error) {
	s := ring.core().subjects
	hashes, err := s.hashes(t.Context(), []Subject{ada})
	if err != nil {
		return false, false, err
	}
	var ids []uint32
	for _, ct := range f.people[ada] {
		id, err := crypto.KeyID(ct)
		if err != nil {
			return false, false, err
		}
		ids = append(ids, id)
	}
	stands := func(store *subjectSite) bool {
		r, e := s.readOne(t.Context(), store, hashes[0])
		if e != nil || r == nil || r.state != subjectForgotten {
			err = errors.Join(err, e)
			return false
		}
		if len(r.keys) != 0 || !slices.Equal(r.retired, ids) {
			err = errors.Join(err, fmt.Errorf("the tombstone lists %08x of %08x", r.retired, ids))
		}
		return true
	}
	inside, outside = stands(s.store), stands(s.outside)
	return inside, outside, err
}

// wrappedByAll looks that every key is wrapped by these and no others.
func wrappedByAll(ring *Keyring, keks ...*localkms.Provider) error {
	for _, k := range ring.Keys() {
		for _, kms := range keks {
			if !slices.Contains(k.KEKs, kms.ID()) || len(k.KEKs) != len(keks) {
				return fmt.Errorf("key %08x is wrapped by %v", k.ID, k.KEKs)
			}
		}
	}
	return nil
}

func (o *fileOperation) open(ctx context.Context, f *fileRing) (*Keyring, error) {
	opts := &OpenOptions{Tombstones: f.outside}
	if o.both {
		opts.Also = append(opts.Also, f.keks[1])
	}
	return Open(ctx, "app", f.store, f.keks[0], f.pin, opts)
}

// openFiles opens what newSite made in a directory, and what belongs to it.
func openFiles(dir string, pin Pin) (f *fileRing, err error) {
	f = &fileRing{pin: pin, people: make(map[Subject][][]byte)}
	var errs [4]error
	f.keks[0], errs[0] = localkms.OpenKeyFile(filepath.Join(dir, "app.kek"))
	f.keks[1], errs[1] = localkms.OpenKeyFile(filepath.Join(dir, "second.kek"))
	f.store, errs[2] = NewFileStore(filepath.Join(dir, "keys"))
	f.outside, errs[3] = NewFileStore(filepath.Join(dir, "outside"))
	return f, errors.Join(errs[:]...)
}

// operate does one operation in a child.
func operate(ctx context.Context, dir, name string) error {
	pin, err := ParsePin(os.Getenv(childPin))
	if err != nil {
		return err
	}
	f, err := openFiles(dir, pin)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(fileOperations, func(o *fileOperation) bool { return o.name == name })
	ring, err := fileOperations[i].open(ctx, f)
	if err != nil {
		return err
	}
	return fileOperations[i].run(ctx, ring, f.keks[1])
}

// fill seals under two data keys and for three subjects, for ada under two keys.
func (o *fileOperation) fill(t *testing.T, s *site) *fileRing {
	t.Helper()
	must[*localkms.Provider](t)(localkms.CreateKeyFile(filepath.Join(s.dir, "second.kek")))
	f := must[*fileRing](t)(openFiles(s.dir, s.pin))
	ring := must[*Keyring](t)(o.open(t.Context(), f))
	defer ring.Close()
	for range 2 {
		key := must[*crypto.Key](t)(ring.Primary(t.Context(), Data))
		f.data = append(f.data, must[[]byte](t)(key.Seal(nil, []byte("data"), nil)))
		must[uint32](t)(ring.Rotate(t.Context(), Data, &RotateOptions{Now: true}))
	}
	for _, subj := range []Subject{ada, {ID: "bob"}, {ID: "eve"}} {
		f.people[subj] = append(f.people[subj], sealFor(t, ring, subj))
	}
	must[uint32](t)(ring.RotateSubject(t.Context(), ada))
	f.people[ada] = append(f.people[ada], sealFor(t, ring, ada))
	if o.prepare != nil {
		if err := o.prepare(t.Context(), ring); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// under opens everything with one key-encryption key alone, which wraps all keys.
func (f *fileRing) under(t *testing.T, kek int) error {
	t.Helper()
	ring, err := Open(t.Context(), "app", f.store, f.keks[kek], f.pin, &OpenOptions{Tombstones: f.outside})
	if err != nil {
		return err
	}
	defer ring.Close()
	for _, k := range ring.Keys() {
		if !slices.Contains(k.KEKs, f.keks[kek].ID()) {
			return fmt.Errorf("key %08x of %s isn't wrapped by %s", k.ID, k.Purpose, f.keks[kek].ID())
		}
	}
	return f.readable(t, ring, true)
}

// readable opens everything; ada's only if asked.
func (f *fileRing) readable(t *testing.T, ring *Keyring, withAda bool) error {
	t.Helper()
	for _, ct := range f.data {
		id, err := crypto.KeyID(ct)
		if err != nil {
			return err
		}
		key, err := ring.Key(t.Context(), Data, id)
		if err != nil {
			return err
		}
		if plain, err := key.Open(nil, ct, nil); err != nil || !bytes.Equal(plain, []byte("data")) {
			return fmt.Errorf("unreadable: %q, %v", plain, err)
		}
	}
	for subj, cts := range f.people {
		for _, ct := range cts {
			if subj == ada && !withAda {
				continue
			}
			if err := openFor(ring, subj, ct); err != nil {
				return fmt.Errorf("unreadable: %v: %w", subj, err)
			}
		}
	}
	return nil
}

// P7, P12: kill -9 in each operation at every named step of the file store and of
// the changes of subjects: one of the times that a step comes, at random, or each
// with STRUCTSEAL_LONG=1.
func TestP7_KillAtEveryStepOf(t *testing.T) {
	for _, op := range fileOperations {
		t.Run(op.name, func(t *testing.T) {
			s := newSite(t)
			f := op.fill(t, s)
			ring := must[*Keyring](t)(op.open(t.Context(), f))
			defer ring.Close()
			steps := stepsOf(func() error { return op.run(t.Context(), ring, f.keks[1]) })
			places := make(map[string][]int) // of a step, in the order of all
			for i, step := range steps {
				places[step] = append(places[step], i)
			}
			if len(places) < 7 {
				t.Fatalf("steps %q", steps)
			}
			kills := 0
			for step, at := range places {
				times := []int{rand.N(len(at))}
				if os.Getenv("STRUCTSEAL_LONG") != "" {
					times = rand.Perm(len(at))
				}
				for _, n := range times {
					op.killAt(t, step, n+1, slices.Contains(steps[:at[n]+1], "renamed"))
					kills++
				}
			}
			t.Logf("%d kills at %d steps of %d names", kills, len(steps), len(places))
		})
	}
}

// stepsOf returns the steps of what fn does.
func stepsOf(fn func() error) (steps []string) {
	hooked := make(chan string, 10_000)
	fileStoreHook, subjectHook = func(s string) { hooked <- s }, func(s string) { hooked <- s }
	err := fn()
	fileStoreHook, subjectHook = func(string) {}, func(string) {}
	if err != nil {
		return []string{err.Error()}
	}
	close(hooked)
	for s := range hooked {
		steps = append(steps, s)
	}
	return steps
}

// killAt lets a child die at the nth time of a step, looks what is left, and
// completes it. wrote: something was renamed before.
func (o *fileOperation) killAt(t *testing.T, step string, n int, wrote bool) {
	t.Helper()
	when := fmt.Sprintf("%s %d", step, n)
	s := newSite(t)
	f := o.fill(t, s)
	cmd, _ := s.start(t, childWork+"="+o.name, childStep+"="+step, fmt.Sprintf("%s=%d", childAt, n))
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%s: child ended with %v", when, err)
	}
	for round := range 2 {
		ring := must[*Keyring](t)(o.open(t.Context(), f))
		defer ring.Close()
		if err := f.readable(t, ring, o.name != "forget"); err != nil {
			t.Errorf("%s, round %d: %v", when, round, err)
		}
		if round == 1 {
			if err := o.finished(t, f, ring); err != nil {
				t.Errorf("%s, repeated: %v", when, err)
			}
			break
		}
		if err := o.judge(t, f, ring, wrote); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if err := o.run(t.Context(), ring, f.keks[1]); err != nil {
			t.Fatalf("%s: the repeat: %v", when, err)
		}
	}
	// What the dead one left of its write is gone where somebody wrote again.
	if _, err := os.Stat(filepath.Join(s.dir, "keys", "app.tmp")); !os.IsNotExist(err) && o.name != "forget" && o.name != "subject rewrap" {
		t.Errorf("%s: temporary file: %v", when, err)
	}
}
