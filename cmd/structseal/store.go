package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
)

// openStore opens the store that a URL names. what says what it is for. With create it
// makes the directory or the tables, if they aren't there.
func (w *work) openStore(ctx context.Context, what, text string, create bool) (keyring.SubjectStore, error) {
	if strings.HasPrefix(text, "file:") {
		return openFileStore(what, text, create)
	}
	db, err := openDatabase(ctx, what, text, create)
	if err != nil {
		return nil, err
	}
	w.onClose(db.Close)
	w.databases = append(w.databases, db)
	store, err := sqlstore.New(db.DB, db.dialect, &sqlstore.Options{TablePrefix: w.TablePrefix})
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", what, err)}
	}
	if create {
		err = store.Migrate(ctx)
	} else {
		err = store.CheckSchema(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return store, nil
}

func openFileStore(what, text string, create bool) (keyring.SubjectStore, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: not a URL", what)}
	}
	dir, err := localPath(u)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: want file:///DIR: %w", what, err)}
	}
	// NewFileStore makes the directory: a misspelt one shall not look like an empty store.
	if _, err := os.Stat(dir); err != nil && !create {
		return nil, fmt.Errorf("%s: %w: there is no store in %s: %w", what, keyring.ErrNotFound, dir, fs.ErrNotExist)
	}
	store, err := keyring.NewFileStore(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return store, nil
}
