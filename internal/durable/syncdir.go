// Package durable makes changes of directories survive a power cut.
package durable

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// SyncDir makes the directory's entries durable: files that were created in it or
// renamed into it.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories can't be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems can't, or are read-only: there is nothing to wait for.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EROFS) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
