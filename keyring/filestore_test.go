package keyring

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func mustFileStore(t testing.TB) (*FileStore, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	return must[*FileStore](t)(NewFileStore(dir)), dir
}

// Both stores of this package keep the contract of Store.
func TestStores(t *testing.T) {
	for name, store := range map[string]Store{
		"memory": NewMemoryStore(),
		"file":   must[*FileStore](t)(NewFileStore(filepath.Join(t.TempDir(), "keys"))),
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if _, err := store.Load(ctx, "a"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Load before: %v", err)
			}
			if err := store.CompareAndSwap(ctx, "a", 1, Record{2, []byte("x")}); !errors.Is(err, ErrConflict) {
				t.Errorf("update of nothing: %v", err)
			}
			data := []byte("line\nline\x00\xff")
			if err := store.CompareAndSwap(ctx, "a", 0, Record{1, data}); err != nil {
				t.Fatal(err)
			}
			data[0] = 'X' // the store must have its own copy
			r, err := store.Load(ctx, "a")
			if err != nil || r.Revision != 1 || string(r.Data) != "line\nline\x00\xff" {
				t.Errorf("Load: %d %q, %v", r.Revision, r.Data, err)
			}
			r.Data[0] = 'Y'
			for _, old := range []uint64{0, 2, 1 << 40} {
				if err := store.CompareAndSwap(ctx, "a", old, Record{old + 1, []byte("y")}); !errors.Is(err, ErrConflict) {
					t.Errorf("swap from %d: %v", old, err)
				}
			}
			if r, err := store.Load(ctx, "a"); err != nil || r.Revision != 1 || string(r.Data) != "line\nline\x00\xff" {
				t.Errorf("after refused swaps: %d %q, %v", r.Revision, r.Data, err)
			}
			if err := store.CompareAndSwap(ctx, "a", 1, Record{2, nil}); err != nil {
				t.Fatal(err)
			}
			if r, err := store.Load(ctx, "a"); err != nil || r.Revision != 2 || len(r.Data) != 0 {
				t.Errorf("empty data: %d %q, %v", r.Revision, r.Data, err)
			}
			if _, err := store.Load(ctx, "a.b"); !errors.Is(err, ErrNotFound) {
				t.Errorf("another ring: %v", err)
			}
			done, cancel := context.WithCancel(ctx)
			cancel()
			if _, err := store.Load(done, "a"); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled Load: %v", err)
			}
			if err := store.CompareAndSwap(done, "a", 2, Record{3, nil}); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled swap: %v", err)
			}
		})
	}
}

func TestFileStoreFiles(t *testing.T) {
	ctx := t.Context()
	store, dir := mustFileStore(t)
	kms := newFakeKMS()
	ring, pin := mustCreate(t, "app", store, kms)
	must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	fi, err := os.Stat(dir)
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", fi.Mode(), err)
	}
	var names []string
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		fi, err := e.Info()
		if err != nil || fi.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), fi.Mode(), err)
		}
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != "app.lock app.ring" {
		t.Errorf("files %v", names)
	}
	text := string(must[[]byte](t)(os.ReadFile(filepath.Join(dir, "app.ring"))))
	if !strings.HasPrefix(text, "structseal-ring-file/1 2\n{\"format\":\"structseal-ring/1\"") {
		t.Errorf("file starts %.60q", text)
	}
	// What a crash left is no obstacle and is cleaned.
	tmp := filepath.Join(dir, "app.tmp")
	if err := os.WriteFile(tmp, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	must[*Keyring](t)(Open(ctx, "app", store, kms, pin, nil))
	must[uint32](t)(ring.Rotate(ctx, Data, &RotateOptions{Now: true}))
	if _, err := os.Stat(tmp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary file: %v", err)
	}
	// Damage that a store can see.
	path := filepath.Join(dir, "app.ring")
	good := must[[]byte](t)(os.ReadFile(path))
	for what, c := range map[string]struct {
		text string
		want error
	}{
		"empty":          {"", ErrFormat},
		"no header":      {string(good[strings.IndexByte(string(good), '\n')+1:]), ErrFormat},
		"later version":  {strings.Replace(string(good), "file/1", "file/2", 1), ErrFormat},
		"leading zero":   {strings.Replace(string(good), "/1 3\n", "/1 03\n", 1), ErrCorrupt},
		"other revision": {strings.Replace(string(good), "/1 3\n", "/1 4\n", 1), ErrCorrupt},
		"crlf":           {strings.Replace(string(good), "/1 3\n", "/1 3\r\n", 1), ErrCorrupt},
		"no newline":     {"structseal-ring-file/1 3", ErrCorrupt},
		"cut":            {string(good[:len(good)-1]), ErrFormat},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(ctx, "app", store, kms, pin, nil); !errors.Is(err, c.want) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true}); err == nil {
			t.Errorf("%s: rotated", what)
		}
	}
}

func TestFileStoreRefusesWidePermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	ctx := t.Context()
	store, dir := mustFileStore(t)
	ring, pin := mustCreate(t, "app", store, newFakeKMS())
	path := filepath.Join(dir, "app.ring")
	check := func(what string) {
		t.Helper()
		if _, err := store.Load(ctx, "app"); !errors.Is(err, ErrInsecure) {
			t.Errorf("%s: Load: %v", what, err)
		}
		if err := store.CompareAndSwap(ctx, "app", 1, Record{2, nil}); !errors.Is(err, ErrInsecure) {
			t.Errorf("%s: CompareAndSwap: %v", what, err)
		}
		if err := ring.Refresh(ctx); !errors.Is(err, ErrInsecure) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: Refresh: %v", what, err)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o610, 0o601, 0o666} {
		os.Chmod(path, mode)
		check(mode.String())
	}
	os.Chmod(path, 0o600)
	for _, mode := range []os.FileMode{0o750, 0o705, 0o720, 0o701, 0o777} {
		os.Chmod(dir, mode)
		check("directory " + mode.String())
		if _, err := NewFileStore(dir); !errors.Is(err, ErrInsecure) {
			t.Errorf("NewFileStore in a directory with mode %v: %v", mode, err)
		}
	}
	os.Chmod(dir, 0o700)
	// A link and a directory are no ring files.
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path+".moved", path); err != nil {
		t.Fatal(err)
	}
	check("link")
	os.Remove(path)
	os.Mkdir(path, 0o700)
	check("directory in place of the file")
	os.Remove(path)
	os.Rename(path+".moved", path)
	if err := ring.Refresh(ctx); err != nil || ring.Pin() != pin {
		t.Errorf("put back: %v", err)
	}
	file := filepath.Join(dir, "plain")
	os.WriteFile(file, nil, 0o600)
	if _, err := NewFileStore(file); err == nil {
		t.Error("NewFileStore over a file: no error")
	}
	for _, name := range []string{"../app", "a/b", "", "."} {
		if _, err := store.Load(ctx, name); !errors.Is(err, ErrName) {
			t.Errorf("Load(%q): %v", name, err)
		}
		if err := store.CompareAndSwap(ctx, name, 0, Record{1, nil}); !errors.Is(err, ErrName) {
			t.Errorf("CompareAndSwap(%q): %v", name, err)
		}
	}
}

func TestFileStoreLockIsBoundedByContext(t *testing.T) {
	store, _ := mustFileStore(t)
	unlock, err := lockFile(t.Context(), store.ringSlot("app").lock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := store.CompareAndSwap(ctx, "app", 0, Record{1, nil}); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locked: %v", err)
	}
	// Other rings and readers don't wait.
	if err := store.CompareAndSwap(ctx, "other", 0, Record{1, nil}); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	if _, err := store.Load(t.Context(), "app"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	unlock()
	if err := store.CompareAndSwap(t.Context(), "app", 0, Record{1, nil}); err != nil {
		t.Error(err)
	}
}
