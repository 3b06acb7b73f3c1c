package keyring

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// hashOf is a subject's hash that ends in zeros.
func hashOf(first ...byte) (h SubjectHash) {
	copy(h[:], first)
	return h
}

func TestFileStoreSubjectFiles(t *testing.T) {
	ctx := t.Context()
	store, dir := mustFileStore(t)
	h := hashOf(0xab, 1)
	for old := range uint64(2) {
		if err := store.CompareAndSwapSubject(ctx, "app", h, old, Record{old + 1, []byte("text")}); err != nil {
			t.Fatal(err)
		}
	}
	// What comes to nothing leaves nothing.
	if err := store.CompareAndSwapSubject(ctx, "app", hashOf(0xac), 1, Record{2, nil}); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if err := store.CompareAndSwapSubject(ctx, "other", h, 1, Record{2, nil}); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	shard := filepath.Join(dir, "app.subjects", "ab")
	path := filepath.Join(shard, hex.EncodeToString(h[:])+".subject")
	var seen []string
	filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil {
			t.Error(err)
		} else if fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", p, fi.Mode())
		}
		seen = append(seen, p)
		return nil
	})
	if want := []string{dir, filepath.Dir(shard), shard, path, filepath.Join(shard, "lock")}; !slices.Equal(seen, want) {
		t.Errorf("files %q, want %q", seen, want)
	}
	good := must[[]byte](t)(os.ReadFile(path))
	if string(good) != "structseal-subject-file/1 2\ntext" {
		t.Errorf("file %q", good)
	}
	// What a crash left, and what others put there, is no subject and no obstacle.
	for _, name := range []string{
		"tmp", strings.ToUpper(filepath.Base(path)), filepath.Base(path) + ".old", hex.EncodeToString(h[1:]) + ".subject",
		strings.Repeat("cd", 32) + ".subject", strings.Repeat("ab", 32), "x.subject",
	} {
		if err := os.WriteFile(filepath.Join(shard, name), good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := store.ListSubjects(ctx, "app", SubjectHash{}, 9); err != nil || !slices.Equal(list, []SubjectHash{h}) {
		t.Errorf("list %x, %v", list, err)
	}
	if err := store.CompareAndSwapSubject(ctx, "app", h, 2, Record{3, []byte("text")}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(shard, "tmp")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary file: %v", err)
	}
	// Damage that a store can see, and a ring in a subject's place.
	for text, want := range map[string]error{
		"":                                  ErrFormat,
		"structseal-ring-file/1 3\ntext":    ErrFormat,
		"structseal-subject-file/2 3\ntext": ErrFormat,
		"structseal-subject-file/1 03\n":    ErrCorrupt,
		"structseal-subject-file/1 3":       ErrCorrupt,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := store.LoadSubjects(ctx, "app", []SubjectHash{hashOf(1), h}); !errors.Is(err, want) || r != nil {
			t.Errorf("%q: %v, %v", text, r, err)
		}
		if err := store.CompareAndSwapSubject(ctx, "app", h, 3, Record{4, nil}); !errors.Is(err, want) {
			t.Errorf("%q: swap: %v", text, err)
		}
	}
}

func TestFileStoreSubjectsRefuseWidePermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	ctx := t.Context()
	store, dir := mustFileStore(t)
	h := hashOf(0xab, 1)
	if err := store.CompareAndSwapSubject(ctx, "app", h, 0, Record{1, nil}); err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(dir, "app.subjects")
	shard := filepath.Join(all, "ab")
	path := filepath.Join(shard, hex.EncodeToString(h[:])+".subject")
	check := func(what string, list bool) {
		t.Helper()
		if r, err := store.LoadSubjects(ctx, "app", []SubjectHash{h}); !errors.Is(err, ErrInsecure) || r != nil {
			t.Errorf("%s: LoadSubjects: %v, %v", what, r, err)
		}
		for old := range uint64(2) {
			if err := store.CompareAndSwapSubject(ctx, "app", h, old, Record{2, nil}); !errors.Is(err, ErrInsecure) {
				t.Errorf("%s: CompareAndSwapSubject: %v", what, err)
			}
		}
		if _, err := store.ListSubjects(ctx, "app", SubjectHash{}, 1); list && !errors.Is(err, ErrInsecure) {
			t.Errorf("%s: ListSubjects: %v", what, err)
		}
	}
	for _, p := range []string{dir, all, shard, path} {
		fi, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, wide := range []os.FileMode{0o040, 0o004, 0o020, 0o002} {
			os.Chmod(p, fi.Mode().Perm()|wide)
			check(p+" with "+wide.String(), p != path)
		}
		os.Chmod(p, fi.Mode().Perm())
	}
	for _, p := range []string{all, shard, path} {
		if err := os.Rename(p, p+".moved"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(p+".moved", p); err != nil {
			t.Fatal(err)
		}
		check("link at "+p, p != path)
		os.Remove(p)
		os.Rename(p+".moved", p)
	}
	if r, err := store.LoadSubjects(ctx, "app", []SubjectHash{h}); err != nil || r[h].Revision != 1 {
		t.Errorf("put back: %v, %v", r, err)
	}
	for _, name := range []string{"../app", "a/b", "", "."} {
		if _, err := store.LoadSubjects(ctx, name, nil); !errors.Is(err, ErrName) {
			t.Errorf("LoadSubjects of %q: %v", name, err)
		}
		if _, err := store.ListSubjects(ctx, name, SubjectHash{}, 1); !errors.Is(err, ErrName) {
			t.Errorf("ListSubjects of %q: %v", name, err)
		}
		if err := store.CompareAndSwapSubject(ctx, name, h, 0, Record{1, nil}); !errors.Is(err, ErrName) {
			t.Errorf("CompareAndSwapSubject of %q: %v", name, err)
		}
	}
}

func TestFileStoreSubjectLock(t *testing.T) {
	store, _ := mustFileStore(t)
	h := hashOf(0xab, 1)
	if err := store.CompareAndSwapSubject(t.Context(), "app", h, 0, Record{1, nil}); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockFile(t.Context(), store.subjectSlot("app", h).lock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := store.CompareAndSwapSubject(ctx, "app", h, 1, Record{2, nil}); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locked: %v", err)
	}
	// Other subjects, the ring and readers don't wait.
	for _, err := range []error{
		store.CompareAndSwapSubject(t.Context(), "app", hashOf(0xac), 0, Record{1, nil}),
		store.CompareAndSwapSubject(t.Context(), "other", h, 0, Record{1, nil}),
		store.CompareAndSwap(t.Context(), "app", 0, Record{1, nil}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if r, err := store.LoadSubjects(t.Context(), "app", []SubjectHash{h}); err != nil || r[h].Revision != 1 {
		t.Errorf("%v, %v", r, err)
	}
	unlock()
	if err := store.CompareAndSwapSubject(t.Context(), "app", h, 1, Record{2, nil}); err != nil {
		t.Error(err)
	}
}

// What no store need be asked for.
func TestSubjectLimits(t *testing.T) {
	file, _ := mustFileStore(t)
	for _, s := range []SubjectStore{NewMemoryStore(), file} {
		ctx := t.Context()
		if _, err := s.LoadSubjects(ctx, "app", make([]SubjectHash, 1001)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%T: %v", s, err)
		}
		for _, limit := range []int{-1, 0, 1001} {
			if _, err := s.ListSubjects(ctx, "app", SubjectHash{}, limit); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%T: limit %d: %v", s, limit, err)
			}
		}
		if err := s.CompareAndSwapSubject(ctx, "app", hashOf(1), 0, Record{1, make([]byte, MaxSubjectSize+1)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%T: %v", s, err)
		}
	}
}
