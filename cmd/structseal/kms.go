package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
)

// openKMS opens the providers of all key-encryption keys, in order.
func (w *work) openKMS(ctx context.Context) ([]kmsprovider.Provider, error) {
	if len(w.KMS) == 0 {
		return nil, missing("kms")
	}
	var all []kmsprovider.Provider
	for i, uri := range w.KMS {
		p, err := w.openKEK(ctx, uri)
		if err != nil {
			return nil, fmt.Errorf("key-encryption key %d: %w", i+1, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// openKEK opens the provider of one.
func (w *work) openKEK(ctx context.Context, uri string) (kmsprovider.Provider, error) {
	p, done, err := kmsurl.Open(ctx, uri)
	if errors.Is(err, kmsurl.ErrURI) {
		return nil, usageError{err}
	}
	w.onClose(done)
	return p, err
}
