package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/gofrs/flock"

	"github.com/structseal/structseal/internal/durable"
)

// These open a file's first line; the revision follows.
const (
	ringMagic        = "structseal-ring-file/1 "
	subjectFileMagic = "structseal-subject-file/1 "
)

// lockRetry is how often a waiting writer looks at the lock again.
const lockRetry = 2 * time.Millisecond

// A FileStore keeps every ring in a file of its own, in a directory that only
// its owner may use. It is for programs on one machine: its lock files don't
// work on every network file system.
//
// A ring "app" has app.ring, and app.lock, which stays empty and must not be
// removed while a program runs. Writing goes through app.tmp, which is made
// durable and renamed: a crash at any point leaves the old record or the new
// one, and what is left of app.tmp is removed by the next write.
//
// The ring's subjects have a file each in app.subjects/ab, where ab are the first
// two digits of the subject's hash, with a lock and a temporary file for all that
// begin with the same.
type FileStore struct {
	dir string
}

var _ SubjectStore = (*FileStore)(nil)

// fileStoreHook is told each step of a write by name, for tests that kill the
// process there.
var fileStoreHook = func(step string) {}

// NewFileStore returns the store in dir, which it creates with mode 0700 if it
// does not exist.
//
// Errors: ErrInsecure if dir isn't a directory, or one that others may use.
func NewFileStore(dir string) (*FileStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keyring: file store: %w", err)
	}
	// A relative path must not follow a later chdir.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("keyring: file store: %w", err)
	}
	s := &FileStore{dir: abs}
	if err := s.checkDir(); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return s, nil
}

func (s *FileStore) checkDir() error {
	fi, err := os.Stat(s.dir)
	if err != nil {
		return fmt.Errorf("file store: %w", err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("file store: %s: %w: not a directory", s.dir, ErrInsecure)
	}
	if err := private(s.dir, fi, "700"); err != nil {
		return fmt.Errorf("file store: %w", err)
	}
	return nil
}

// private refuses what group or others may use. Windows has no such bits: there
// the directory's access list decides.
func private(path string, fi fs.FileInfo, want string) error {
	if runtime.GOOS != "windows" && fi.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s: %w: mode %#o; run chmod %s and find out who changed it", path, ErrInsecure, fi.Mode().Perm(), want)
	}
	return nil
}

// slot is where a record lives.
type slot struct {
	path, lock, tmp string
	magic           string
	max             int64    // bytes of data
	dirs            []string // to be synced, for the file to be found after a power cut
}

func (s *FileStore) ringSlot(name string) slot {
	path := filepath.Join(s.dir, name)
	return slot{path + ".ring", path + ".lock", path + ".tmp", ringMagic, MaxRecordSize, []string{s.dir}}
}

// Load implements [Store]. What it returns is durable.
//
// Errors: ErrNotFound; ErrInsecure; ErrFormat and ErrCorrupt for a file whose
// first line is not that of a ring file.
func (s *FileStore) Load(ctx context.Context, name string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	if err := validName(name); err != nil {
		return Record{}, err
	}
	if err := s.checkDir(); err != nil {
		return Record{}, err
	}
	f := s.ringSlot(name)
	r, err := f.read()
	if err != nil {
		return Record{}, err
	}
	// The file may have been renamed a moment ago by a writer that has not
	// synced the directory yet: nobody may use a key that a power cut undoes.
	return r, f.sync()
}

func (f slot) sync() error {
	for _, dir := range f.dirs {
		if err := durable.SyncDir(dir); err != nil {
			return fmt.Errorf("file store: %w", err)
		}
	}
	return nil
}

func (f slot) read() (Record, error) {
	text, err := readPrivate(f.path, f.max+100)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("file store: %s: %w", f.path, ErrNotFound)
	}
	if err != nil {
		return Record{}, fmt.Errorf("file store: %w", err)
	}
	r, err := parseFile(f.magic, text)
	if err != nil {
		return Record{}, fmt.Errorf("file store: %s: %w", f.path, err)
	}
	return r, nil
}

// readPrivate reads up to limit bytes of a file that nobody else may use.
//
// Errors: fs.ErrNotExist; ErrInsecure; the operating system's.
func readPrivate(path string, limit int64) ([]byte, error) {
	// Not through links, and no pipe, which would block.
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", path, ErrInsecure)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if fi, err = file.Stat(); err != nil {
		return nil, err
	}
	if err := private(path, fi, "600"); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, limit))
}

// parseFile splits a file into its first line and the data.
func parseFile(magic string, text []byte) (Record, error) {
	if !bytes.HasPrefix(text, []byte(magic)) {
		return Record{}, fmt.Errorf("%w: the file does not start with %q", ErrFormat, magic)
	}
	line, data, ok := bytes.Cut(text[len(magic):], []byte("\n"))
	revision, err := strconv.ParseUint(string(line), 10, 63)
	if !ok || err != nil || revision == 0 || strconv.FormatUint(revision, 10) != string(line) {
		return Record{}, fmt.Errorf("%w: the file's first line is damaged", ErrCorrupt)
	}
	return Record{Revision: revision, Data: data}, nil
}

// CompareAndSwap implements [Store]. It waits for other writers as long as ctx
// allows.
//
// Errors: ErrConflict; ErrInsecure; ErrUnavailable when the lock could not be
// had in time.
func (s *FileStore) CompareAndSwap(ctx context.Context, name string, old uint64, next Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := validName(name); err != nil {
		return err
	}
	if err := s.checkDir(); err != nil {
		return err
	}
	return s.ringSlot(name).swap(ctx, old, next)
}

func (f slot) swap(ctx context.Context, old uint64, next Record) error {
	unlock, err := lockFile(ctx, f.lock)
	if err != nil {
		return fmt.Errorf("file store: %w", err)
	}
	defer unlock()
	fileStoreHook("locked")

	have, err := f.read()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if have.Revision != old {
		return fmt.Errorf("file store: %w: revision %d, not %d", ErrConflict, have.Revision, old)
	}
	if err := f.write(next); err != nil {
		return fmt.Errorf("file store: %w", err)
	}
	return nil
}

// lockFile takes a lock, which the system drops when the process dies.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	l := flock.New(path, flock.SetPermissions(0o600))
	if ok, err := l.TryLockContext(ctx, lockRetry); err != nil || !ok {
		l.Close()
		if err == nil {
			err = context.DeadlineExceeded
		}
		return nil, fmt.Errorf("%s: %w: waiting for another writer: %w", path, ErrUnavailable, err)
	}
	return func() { l.Close() }, nil
}

// write replaces the file. The caller holds the lock.
func (f slot) write(next Record) error {
	return replaceFile(f.path, f.tmp, f.sync, fileStoreHook, fmt.Appendf(nil, "%s%d\n", f.magic, next.Revision), next.Data)
}

// replaceFile replaces a file, or makes it, by way of tmp, and calls sync for its
// directory: a crash at any point leaves the old one or the new one. It tells hook
// its steps. The caller holds a lock, so the name of the temporary file can be fixed:
// what an earlier writer left is removed here.
func replaceFile(path, tmp string, sync func() error, hook func(step string), parts ...[]byte) (err error) {
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(tmp)
		}
	}()
	hook("created")
	for i, part := range parts {
		if i > 0 {
			hook("half written")
		}
		if _, err = file.Write(part); err != nil {
			return err
		}
	}
	hook("written")
	if err = file.Sync(); err != nil {
		return err
	}
	hook("synced")
	if err = file.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp, path); err != nil {
		return err
	}
	hook("renamed")
	err = sync()
	hook("directory synced")
	return err
}
