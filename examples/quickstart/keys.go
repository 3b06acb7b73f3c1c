package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

const ringName = "customers"

// Where the three things are that open the data. In earnest they are apart: a
// KMS in place of the key file, the ring next to neither, and the pin with the
// program's configuration, where nobody who can write the ring can change it.
func keyFile(dir string) string { return filepath.Join(dir, "customers.kek") }
func ringDir(dir string) string { return filepath.Join(dir, "ring") }
func pinFile(dir string) string { return filepath.Join(dir, "pin.txt") }

// createKeys makes a key-encryption key and a ring, once.
//
// It makes them in another directory and renames that when all is there, so that
// an interrupted run leaves all of the keys or none. (SQLite flushes the parent
// directory to disk before its first commit, and the new name with it.)
func createKeys(ctx context.Context, dir string, out io.Writer) error {
	unfinished := dir + ".new"
	if found, err := exists(unfinished); err != nil {
		return err
	} else if found {
		fmt.Fprintln(out, "Found    Unfinished keys of a run that was interrupted. Nothing needs them; it begins again.")
		if err := os.RemoveAll(unfinished); err != nil {
			return err
		}
	}
	store, err := keyring.NewFileStore(ringDir(unfinished))
	if err != nil {
		return err
	}
	kms, err := localkms.CreateKeyFile(keyFile(unfinished))
	if err != nil {
		return err
	}
	ring, pin, err := keyring.Create(ctx, ringName, store, kms, nil)
	if err != nil {
		return err
	}
	defer ring.Close()
	if err := os.WriteFile(pinFile(unfinished), []byte(pin.String()+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, dir)
}

// openKeys opens the ring that createKeys made. The pin says which ring is ours:
// without it, whoever can write the ring's file could put another one there.
func openKeys(ctx context.Context, dir string) (*keyring.Keyring, error) {
	text, err := os.ReadFile(pinFile(dir))
	if err != nil {
		return nil, err
	}
	pin, err := keyring.ParsePin(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pinFile(dir), err)
	}
	kms, err := localkms.OpenKeyFile(keyFile(dir))
	if err != nil {
		return nil, err
	}
	store, err := keyring.NewFileStore(ringDir(dir))
	if err != nil {
		return nil, err
	}
	return keyring.Open(ctx, ringName, store, kms, pin, nil)
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
