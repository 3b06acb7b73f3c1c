package keyring

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const subjectExt = ".subject"

// subjectsDir holds a ring's subjects, in 256 directories by the first byte of
// their hashes.
func (s *FileStore) subjectsDir(name string) string {
	return filepath.Join(s.dir, name+".subjects")
}

func (s *FileStore) subjectSlot(name string, h SubjectHash) slot {
	all := s.subjectsDir(name)
	text := hex.EncodeToString(h[:])
	dir := filepath.Join(all, text[:2])
	return slot{
		path:  filepath.Join(dir, text+subjectExt),
		lock:  filepath.Join(dir, "lock"),
		tmp:   filepath.Join(dir, "tmp"),
		magic: subjectFileMagic,
		max:   MaxSubjectSize,
		dirs:  []string{dir, all, s.dir},
	}
}

// check refuses what no call needs to look at the disk for, and a store's
// directory that isn't what it was.
func (s *FileStore) check(name string) error {
	if err := validName(name); err != nil {
		return err
	}
	return s.checkDir()
}

// checkInner is checkDir for a directory that the store itself has made; false if
// it hasn't.
func checkInner(dir string) (bool, error) {
	fi, err := os.Lstat(dir) // not through links
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("file store: %w", err)
	case !fi.IsDir():
		return false, fmt.Errorf("file store: %s: %w: not a directory", dir, ErrInsecure)
	}
	if err := private(dir, fi, "700"); err != nil {
		return true, fmt.Errorf("file store: %w", err)
	}
	return true, nil
}

// LoadSubjects implements [SubjectStore]. What it returns is durable.
//
// Errors: ErrName; ErrTooLarge for more than 1,000 subjects; ErrInsecure;
// ErrFormat and ErrCorrupt for a file whose first line is not that of a subject's
// file; ctx's own.
func (s *FileStore) LoadSubjects(ctx context.Context, name string, subjects []SubjectHash) (map[SubjectHash]Record, error) {
	if err := checkSubjects(ctx, len(subjects)); err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	if err := s.check(name); err != nil {
		return nil, err
	}
	found := make(map[SubjectHash]Record)
	if there, err := checkInner(s.subjectsDir(name)); err != nil {
		return nil, err
	} else if !there {
		return found, nil
	}
	shards := make(map[byte]bool) // whether they are there
	var sync []string
	for _, h := range subjects {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("file store: %w", err)
		}
		if _, twice := found[h]; twice {
			continue
		}
		f := s.subjectSlot(name, h)
		there, known := shards[h[0]]
		if !known {
			var err error
			if there, err = checkInner(f.dirs[0]); err != nil {
				return nil, err
			}
			shards[h[0]] = there
		}
		if !there {
			continue
		}
		r, err := f.read()
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[h] = r
		if !slices.Contains(sync, f.dirs[0]) {
			sync = append(sync, f.dirs[0])
		}
	}
	if len(found) == 0 {
		return found, nil
	}
	// As in Load; once for each directory.
	if err := (slot{dirs: append(sync, s.subjectsDir(name), s.dir)}).sync(); err != nil {
		return nil, err
	}
	return found, nil
}

// CompareAndSwapSubject implements [SubjectStore]. It waits for other writers as
// long as ctx allows.
//
// Errors: ErrName; ErrConflict; ErrTooLarge; ErrInsecure; ErrUnavailable when the
// lock could not be had in time; ctx's own.
func (s *FileStore) CompareAndSwapSubject(ctx context.Context, name string, subject SubjectHash, old uint64, next Record) error {
	if err := checkSubjectRecord(ctx, next); err != nil {
		return fmt.Errorf("file store: %w", err)
	}
	if err := s.check(name); err != nil {
		return err
	}
	f := s.subjectSlot(name, subject)
	for _, dir := range []string{f.dirs[1], f.dirs[0]} {
		if old == 0 {
			// A crash leaves an empty directory, which is no harm; whoever writes
			// into it syncs those above it.
			if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("file store: %w", err)
			}
			fileStoreHook("directory made")
		}
		if there, err := checkInner(dir); err != nil {
			return err
		} else if !there {
			return fmt.Errorf("file store: %w: subject at revision 0, not %d", ErrConflict, old)
		}
	}
	return f.swap(ctx, old, next)
}

// ListSubjects implements [SubjectStore]. It reads the directories from the first
// one that can hold more, and no file.
//
// Errors: ErrName; ErrTooLarge for a limit that is not 1 to 1,000; ErrInsecure;
// ctx's own.
func (s *FileStore) ListSubjects(ctx context.Context, name string, after SubjectHash, limit int) ([]SubjectHash, error) {
	if err := checkLimit(ctx, limit); err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	if err := s.check(name); err != nil {
		return nil, err
	}
	all := s.subjectsDir(name)
	if there, err := checkInner(all); err != nil || !there {
		return nil, err
	}
	behind := hex.EncodeToString(after[:])
	var found []SubjectHash
	for first := int(after[0]); first < 256; first++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("file store: %w", err)
		}
		shard := hex.EncodeToString([]byte{byte(first)})
		dir := filepath.Join(all, shard)
		if there, err := checkInner(dir); err != nil {
			return nil, err
		} else if !there {
			continue
		}
		entries, err := os.ReadDir(dir) // sorted by name, which is by hash
		if err != nil {
			return nil, fmt.Errorf("file store: %w", err)
		}
		for _, e := range entries {
			text, _ := strings.CutSuffix(e.Name(), subjectExt)
			b, err := hex.DecodeString(text)
			if err != nil || len(b) != len(SubjectHash{}) || s.subjectSlot(name, SubjectHash(b)).path != filepath.Join(dir, e.Name()) {
				continue // the lock, or not ours
			}
			if text <= behind {
				continue
			}
			if found = append(found, SubjectHash(b)); len(found) == limit {
				return found, nil
			}
		}
	}
	return found, nil
}
