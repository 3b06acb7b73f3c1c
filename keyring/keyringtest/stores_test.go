package keyringtest_test

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/keyringtest"
)

func TestMemoryStore(t *testing.T) {
	store := keyring.NewMemoryStore()
	keyringtest.Run(t, func(*testing.T) keyring.Store { return store })
}

func TestFileStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	open := func(t *testing.T) keyring.Store { return fileStore(t, dir) }
	keyringtest.Run(t, open,
		keyringtest.Unreachable("removed", func(t *testing.T) keyring.Store {
			dir := filepath.Join(t.TempDir(), "keys")
			s := fileStore(t, dir)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			return s
		}),
		keyringtest.Stalled("locked", func(t *testing.T) keyring.Store {
			dir := filepath.Join(t.TempDir(), "keys")
			return lockedFiles{fileStore(t, dir), dir}
		}))
}

func fileStore(t *testing.T, dir string) *keyring.FileStore {
	t.Helper()
	s, err := keyring.NewFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lockedFiles is a file store where another writer holds every lock.
type lockedFiles struct {
	*keyring.FileStore
	dir string
}

func (s lockedFiles) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	return s.locked(filepath.Join(s.dir, name+".lock"), func() error { return s.FileStore.CompareAndSwap(ctx, name, old, next) })
}

func (s lockedFiles) CompareAndSwapSubject(ctx context.Context, name string, h keyring.SubjectHash, old uint64, next keyring.Record) error {
	dir := filepath.Join(s.dir, name+".subjects", hex.EncodeToString(h[:1]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return s.locked(filepath.Join(dir, "lock"), func() error { return s.FileStore.CompareAndSwapSubject(ctx, name, h, old, next) })
}

func (s lockedFiles) locked(path string, f func() error) error {
	l := flock.New(path, flock.SetPermissions(0o600))
	if err := l.Lock(); err != nil {
		return err
	}
	defer l.Close()
	return f()
}
