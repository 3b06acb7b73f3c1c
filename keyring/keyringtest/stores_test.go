package keyringtest_test

import (
	"context"
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

func fileStore(t *testing.T, dir string) keyring.Store {
	t.Helper()
	s, err := keyring.NewFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lockedFiles is a file store where another writer holds every ring's lock.
type lockedFiles struct {
	keyring.Store
	dir string
}

func (s lockedFiles) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	l := flock.New(filepath.Join(s.dir, name+".lock"), flock.SetPermissions(0o600))
	if err := l.Lock(); err != nil {
		return err
	}
	defer l.Close()
	return s.Store.CompareAndSwap(ctx, name, old, next)
}
