package main

import (
	"context"
	"fmt"

	"github.com/structseal/structseal/keyring"
)

// openRing opens the ring, with all of its key-encryption keys that were given.
func (w *work) openRing(ctx context.Context) (*keyring.Keyring, error) {
	pin, err := w.pin()
	if err != nil {
		return nil, err
	}
	store, err := w.ringStore(ctx, false)
	if err != nil {
		return nil, err
	}
	opts, err := w.ringOptions(ctx, false)
	if err != nil {
		return nil, err
	}
	kms, err := w.openKMS(ctx)
	if err != nil {
		return nil, err
	}
	opts.Also = kms[1:]
	ring, err := keyring.Open(ctx, w.Ring, store, kms[0], pin, opts)
	if err != nil {
		return nil, err
	}
	w.onClose(ring.Close)
	return ring, nil
}

func (w *work) pin() (keyring.Pin, error) {
	if w.Pin == "" {
		return keyring.Pin{}, missing("pin")
	}
	pin, err := keyring.ParsePin(w.Pin)
	if err != nil {
		return pin, usageError{err}
	}
	return pin, nil
}

// ringStore opens the store of the ring.
func (w *work) ringStore(ctx context.Context, create bool) (keyring.SubjectStore, error) {
	if w.Store == "" {
		return nil, missing("store")
	}
	if w.Ring == "" {
		return nil, missing("ring")
	}
	if err := keyring.CheckName(w.Ring); err != nil {
		return nil, usageError{err}
	}
	return w.openStore(ctx, "store", w.Store, create)
}

// ringOptions opens what else a ring is given.
func (w *work) ringOptions(ctx context.Context, create bool) (*keyring.OpenOptions, error) {
	opts := w.openOptions()
	if w.Anchor != "" {
		anchor, err := keyring.NewFileAnchor(w.Anchor)
		if err != nil {
			return nil, fmt.Errorf("anchor: %w", err)
		}
		opts.Anchor = anchor
	}
	if w.Tombstones != "" {
		store, err := w.openStore(ctx, "tombstones", w.Tombstones, create)
		if err != nil {
			return nil, err
		}
		opts.Tombstones = store
	}
	return &opts, nil
}
