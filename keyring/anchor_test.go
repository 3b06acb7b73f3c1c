package keyring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/structseal/structseal/crypto"
)

// fakeAnchor is an anchor in memory that can be away.
type fakeAnchor struct {
	mu       sync.Mutex
	all      map[string]anchored
	err      error
	onRaise  func()
	highests int
}

func (a *fakeAnchor) down(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *fakeAnchor) Highest(_ context.Context, name string) (uint64, [32]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.highests++
	return a.all[name].revision, a.all[name].digest, a.err
}

func (a *fakeAnchor) Raise(_ context.Context, name string, revision uint64, digest [32]byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	if a.onRaise != nil {
		a.onRaise()
	}
	have := a.all[name]
	if have.revision == revision && have.digest != digest {
		return ErrRollback
	}
	if revision > have.revision {
		if a.all == nil {
			a.all = make(map[string]anchored)
		}
		a.all[name] = anchored{revision, digest}
	}
	return nil
}

// What a backup of the store brings back is noticed by a program that has just
// started, if there is an anchor, and only then.
func TestAnchorRefusesRollbackAcrossRestarts(t *testing.T) {
	ctx := t.Context()
	store, kms := newFakeStore(), newFakeKMS()
	path := filepath.Join(t.TempDir(), "anchor", "file")
	anchor := func() *OpenOptions { return &OpenOptions{Anchor: must[*FileAnchor](t)(NewFileAnchor(path))} }
	ring, pin, err := Create(ctx, "app", store, kms, &CreateOptions{OpenOptions: *anchor()})
	if err != nil {
		t.Fatal(err)
	}
	first := store.get(t, "app")
	old := must[*crypto.Key](t)(ring.Primary(ctx, Data)).ID()
	must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	if err := ring.Disable(ctx, old, nil); err != nil {
		t.Fatal(err)
	}
	last := store.get(t, "app")
	ring.Close()

	must[*Keyring](t)(Open(ctx, "app", store, kms, pin, anchor())).Close()
	store.put(t, "app", first)
	if _, err := Open(ctx, "app", store, kms, pin, anchor()); !errors.Is(err, ErrRollback) || errors.Is(err, ErrUnavailable) {
		t.Errorf("an older record: %v", err)
	}
	// Without one, the disabled key is back. It writes on: the numbers meet.
	fork := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	must[*crypto.Key](t)(fork.Key(ctx, Data, old))
	for fork.Revision() < last.Revision {
		must[uint32](t)(fork.Rotate(ctx, Data, &RotateOptions{Now: true}))
	}
	if _, err := Open(ctx, "app", store, kms, pin, anchor()); !errors.Is(err, ErrRollback) {
		t.Errorf("another record of the same revision: %v", err)
	}
	fork.Close()
	store.put(t, "app", last)
	again := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, anchor()))
	defer again.Close()
	if _, err := again.Key(ctx, Data, old); !errors.Is(err, ErrKeyDisabled) {
		t.Errorf("put back: %v", err)
	}
	// A ring that was deleted isn't made anew by mistake.
	if _, _, err := Create(ctx, "app", newFakeStore(), kms, &CreateOptions{OpenOptions: *anchor()}); !errors.Is(err, ErrRollback) {
		t.Errorf("created again: %v", err)
	}
	other, _, err := Create(ctx, "other", store, kms, &CreateOptions{OpenOptions: *anchor()})
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
}

// An anchor that is away is like a store that is away: nothing newer is used, keys
// go on, and nothing is lost.
func TestAnchorAway(t *testing.T) {
	ctx := t.Context()
	store, kms, anchor := newFakeStore(), newFakeKMS(), new(fakeAnchor)
	opts := &OpenOptions{Anchor: anchor}
	writer, pin := mustCreate(t, "app", store, kms)
	down := errors.New("disk on fire")

	anchor.down(down)
	if _, err := Open(ctx, "app", store, kms, pin, opts); !errors.Is(err, ErrUnavailable) || !errors.Is(err, down) {
		t.Errorf("Open: %v", err)
	}
	if _, _, err := Create(ctx, "new", store, kms, &CreateOptions{OpenOptions: *opts}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Create: %v", err)
	}
	anchor.down(nil)
	ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, opts))
	defer ring.Close()
	key := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	calls := anchor.highests
	for range 10 {
		if err := ring.Refresh(ctx); err != nil {
			t.Error(err)
		}
	}
	if anchor.highests != calls {
		t.Error("a record that is known asks the anchor")
	}

	anchor.down(down)
	must[uint32](t)(writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
	if err := ring.Refresh(ctx); !errors.Is(err, ErrUnavailable) || ring.Revision() != 1 {
		t.Errorf("Refresh: %v, revision %d", err, ring.Revision())
	}
	if k, err := ring.Primary(ctx, Data); k != key || err != nil {
		t.Errorf("a warm key: %v", err)
	}
	// Stored and not raised, as if the process had died in between: the new primary
	// is not used, and the next one finds it.
	anchor.down(nil)
	if err := ring.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	store.onSwap = func(swap func() error) error {
		defer anchor.down(down)
		return swap()
	}
	before := must[*crypto.Key](t)(ring.Primary(ctx, Data))
	if _, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Rotate: %v", err)
	}
	if k, err := ring.Primary(ctx, Data); k != before || err != nil || store.get(t, "app").Revision != 3 || anchor.all["app"].revision != 2 {
		t.Errorf("used before it was raised: %v, anchor at %d", err, anchor.all["app"].revision)
	}
	store.down(nil)
	anchor.down(nil)
	again := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, opts))
	defer again.Close()
	if again.Revision() != 3 || anchor.all["app"].revision != 3 {
		t.Errorf("after the crash: revision %d, anchor at %d", again.Revision(), anchor.all["app"].revision)
	}
	if k := must[*crypto.Key](t)(again.Primary(ctx, Data)); k.ID() == before.ID() {
		t.Error("the old primary")
	}
}

// Programs share an anchor, and one reads the record while another writes the next.
func TestSharedAnchorIsNoRollback(t *testing.T) {
	ctx := t.Context()
	store, kms, anchor := newFakeStore(), newFakeKMS(), new(fakeAnchor)
	opts := &OpenOptions{Anchor: anchor}
	_, pin := mustCreate(t, "app", store, kms)
	writer := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, opts))
	defer writer.Close()
	ring := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, opts))
	defer ring.Close()
	must[uint32](t)(writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
	overtaken := func() {
		store.onLoad = func(_ context.Context, r Record, err error) (Record, error) {
			store.down(nil)
			must[uint32](t)(writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
			return r, err // as it was before
		}
	}
	overtaken()
	if err := ring.Refresh(ctx); err != nil || ring.Revision() != writer.Revision() {
		t.Errorf("Refresh: %v, revision %d of %d", err, ring.Revision(), writer.Revision())
	}
	overtaken()
	late := must[*Keyring](t)(Open(ctx, "app", store, kms, pin, opts))
	defer late.Close()
	if late.Revision() != writer.Revision() {
		t.Errorf("Open: revision %d of %d", late.Revision(), writer.Revision())
	}
	// A running program believes the anchor, too: the store was put back to what
	// is new for this program and old for others.
	second := store.get(t, "app")
	must[uint32](t)(writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
	must[uint32](t)(writer.Rotate(ctx, Data, &RotateOptions{Now: true}))
	store.put(t, "app", second)
	if err := ring.Refresh(ctx); !errors.Is(err, ErrRollback) {
		t.Errorf("older than the anchor: %v", err)
	}
	// Somebody else raises another record of the number in between.
	anchor.all = nil
	anchor.onRaise = func() { anchor.all = map[string]anchored{"app": {second.Revision, [32]byte{1}}} }
	if err := ring.Refresh(ctx); !errors.Is(err, ErrRollback) || ring.Revision() == second.Revision {
		t.Errorf("another record was raised meanwhile: %v", err)
	}
}

// P7: kill -9 at every named step of an anchor's write: the ring opens, and the
// anchor is never above the store.
func TestP7_KillAtEveryStepOfAnAnchor(t *testing.T) {
	var steps []string
	fileAnchorHook = func(step string) { steps = append(steps, step) }
	err := must[*FileAnchor](t)(NewFileAnchor(filepath.Join(t.TempDir(), "a"))).Raise(t.Context(), "app", 1, [32]byte{})
	fileAnchorHook = func(string) {}
	if err != nil || len(steps) < 6 {
		t.Fatalf("steps %q, %v", steps, err)
	}
	for _, step := range steps {
		s := newSite(t)
		path := filepath.Join(s.dir, "anchor")
		cmd, out := s.start(t, childAnchor+"="+path, childStep+"="+step, childAt+"=3") // Open, one rotation, this one
		lines := 0
		for out.Scan() {
			s.note(t, out.Text())
			lines++
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") || lines != 2 {
			t.Fatalf("%s: child ended with %v after %d lines", step, err, lines)
		}
		anchor := must[*FileAnchor](t)(NewFileAnchor(path))
		high, _, err := anchor.Highest(t.Context(), "app")
		want := uint64(2)
		if step == "renamed" || step == "directory synced" {
			want = 3
		}
		if err != nil || high != want {
			t.Errorf("%s: anchor at %d, want %d: %v", step, high, want, err)
		}
		store := must[*FileStore](t)(NewFileStore(filepath.Join(s.dir, "keys")))
		ring := must[*Keyring](t)(Open(t.Context(), "app", store, s.kms, s.pin, &OpenOptions{Anchor: anchor}))
		if ring.Revision() != 3 {
			t.Errorf("%s: revision %d", step, ring.Revision())
		}
		must[uint32](t)(ring.Rotate(t.Context(), Data, &RotateOptions{Now: true}))
		if high, _, err := anchor.Highest(t.Context(), "app"); high != 4 || err != nil {
			t.Errorf("%s: then at %d, %v", step, high, err)
		}
		if _, err := os.Stat(path + ".tmp"); !os.IsNotExist(err) {
			t.Errorf("%s: temporary file: %v", step, err)
		}
		ring.Close()
	}
}

func TestFileAnchor(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	path := filepath.Join(dir, "anchor")
	a := must[*FileAnchor](t)(NewFileAnchor(path))
	highest := func(name string, want uint64) {
		t.Helper()
		if got, digest, err := a.Highest(ctx, name); got != want || err != nil || digest[0] != byte(want) {
			t.Errorf("%s: at %d, %v", name, got, err)
		}
	}
	highest("app", 0)
	for _, r := range []uint64{1, 5, 3, 5} {
		if err := a.Raise(ctx, "app", r, [32]byte{byte(r)}); err != nil {
			t.Error(err)
		}
	}
	highest("app", 5)
	if err := a.Raise(ctx, "app", 5, [32]byte{6}); !errors.Is(err, ErrRollback) {
		t.Errorf("another digest: %v", err)
	}
	// Many at once, of several rings.
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			b := must[*FileAnchor](t)(NewFileAnchor(path))
			if err := b.Raise(ctx, fmt.Sprintf("ring%d", i%3), uint64(1+i/3), [32]byte{byte(1 + i/3)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	highest("app", 5)
	highest("ring0", 7)
	highest("ring1", 7)
	highest("ring2", 6)
	if _, _, err := a.Highest(ctx, "../x"); !errors.Is(err, ErrName) {
		t.Error(err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := a.Raise(done, "app", 9, [32]byte{9}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	good := must[[]byte](t)(os.ReadFile(path))
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	for what, c := range map[string]struct {
		text string
		want error
	}{
		"empty":         {"", ErrFormat},
		"later version": {strings.Replace(string(good), "/1", "/2", 1), ErrFormat},
		"cut":           {string(good[:len(good)-1]), ErrCorrupt},
		"leading zero":  {strings.Replace(string(good), "app 5", "app 05", 1), ErrCorrupt},
		"twice":         {string(good) + string(good[strings.Index(string(good), "ring2"):]), ErrCorrupt},
		"no digest":     {anchorMagic + "\napp 5 \n", ErrCorrupt},
		"revision 0":    {strings.Replace(string(good), "app 5", "app 0", 1), ErrCorrupt},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.Highest(ctx, "app"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if err := a.Raise(ctx, "app", 9, [32]byte{9}); !errors.Is(err, c.want) {
			t.Errorf("%s: Raise: %v", what, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		return // no permission bits
	}
	os.Chmod(path, 0o620)
	if _, _, err := a.Highest(ctx, "app"); !errors.Is(err, ErrInsecure) {
		t.Errorf("others may write: %v", err)
	}
	os.Chmod(path, 0o600)
	os.Chmod(dir, 0o777)
	if err := a.Raise(ctx, "app", 9, [32]byte{9}); !errors.Is(err, ErrInsecure) {
		t.Errorf("others may write the directory: %v", err)
	}
	if _, err := NewFileAnchor(path); !errors.Is(err, ErrInsecure) {
		t.Errorf("others may write the directory: %v", err)
	}
	os.Chmod(dir, 0o700)
	os.Rename(path, path+".moved")
	os.Symlink(path+".moved", path)
	if _, _, err := a.Highest(ctx, "app"); !errors.Is(err, ErrInsecure) {
		t.Errorf("a link: %v", err)
	}
}

func FuzzParseAnchors(f *testing.F) {
	f.Add(formatAnchors(map[string]anchored{"app": {7, [32]byte{1}}, "b": {1, [32]byte{}}}))
	f.Add([]byte(anchorMagic + "\n"))
	f.Add([]byte(anchorMagic + "\na 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseAnchors(text)
		switch {
		case err == nil && string(formatAnchors(all)) != string(text):
			t.Errorf("accepted %q", text)
		case err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrCorrupt):
			t.Errorf("untyped error %v", err)
		}
	})
}
