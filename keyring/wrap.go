package keyring

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// kek is a provider and how long one call to it may take.
type kek struct {
	kms     kmsprovider.Provider
	id      string
	timeout time.Duration
}

func newKEK(kms kmsprovider.Provider, timeout time.Duration) (kek, error) {
	if kms == nil {
		return kek{}, errors.New("no kms provider given; see package localkms for one that needs no service")
	}
	k := kek{kms: kms, id: kms.ID(), timeout: timeout}
	if !validKEK(k.id) {
		return kek{}, fmt.Errorf("%T has an invalid ID; see kmsprovider.Provider", kms)
	}
	return k, nil
}

// wrapContext is what every wrap is bound to. It stands in the KMS's audit log.
func wrapContext(name string, k *keyRecord) kmsprovider.Context {
	return kmsprovider.Context{
		"structseal-ring":    name,
		"structseal-key":     fmt.Sprintf("%08x", uint32(k.ID)),
		"structseal-purpose": k.Purpose.String(),
		"structseal-suite":   k.Suite,
	}
}

// wrap encrypts secret for k, opens the result again and compares, so that no
// key is ever stored that can't be read back.
func (e kek) wrap(ctx context.Context, name string, k *keyRecord, secret []byte) (wrap, error) {
	callCtx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	wrapped, err := e.kms.Wrap(callCtx, secret, wrapContext(name, k))
	if err != nil {
		return wrap{}, kmsError("wrap", e.id, err)
	}
	w := wrap{KEK: e.id, Blob: bytes.Clone(wrapped)}
	if len(wrapped) == 0 || len(wrapped) > maxBlobLen {
		return wrap{}, fmt.Errorf("%w: %s made a wrap of %d bytes", ErrRewrap, e.id, len(wrapped))
	}
	back, err := e.open(ctx, name, k, w)
	defer clear(back)
	if err != nil {
		return wrap{}, err
	}
	if subtle.ConstantTimeCompare(back, secret) != 1 {
		return wrap{}, fmt.Errorf("%w: nothing was stored; %s is not to be trusted", ErrRewrap, e.id)
	}
	return w, nil
}

// open calls the KMS and checks nothing.
func (e kek) open(ctx context.Context, name string, k *keyRecord, w wrap) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	secret, err := e.kms.Unwrap(ctx, bytes.Clone(w.Blob), wrapContext(name, k))
	if err != nil {
		return nil, kmsError("unwrap", e.id, err)
	}
	return secret, nil
}

// unwrap returns the bytes of k, which the caller wipes.
//
// Errors: ErrWrongKEK, ErrKeyCheck, ErrUnavailable, the provider's.
func (e kek) unwrap(ctx context.Context, name string, k *keyRecord) ([]byte, error) {
	for _, w := range k.Wraps {
		if w.KEK != e.id {
			continue
		}
		secret, err := e.open(ctx, name, k, w)
		if err != nil {
			return nil, err
		}
		if err := checkSecret(k, secret); err != nil {
			clear(secret)
			return nil, fmt.Errorf("%w; %s answered with something else", err, e.id)
		}
		return secret, nil
	}
	var keks []string
	for _, w := range k.Wraps {
		keks = append(keks, w.KEK)
	}
	return nil, fmt.Errorf("%w: %v, and the provider given is %s; open the ring with the right key file or KMS key", ErrWrongKEK, keks, e.id)
}

// checkSecret tells whether secret is the key that k describes. Constant time
// in the secret's bytes.
func checkSecret(k *keyRecord, secret []byte) error {
	if want := keySize(k.Suite); len(secret) != want {
		return fmt.Errorf("%w: %d bytes, not %d", ErrKeyCheck, len(secret), want)
	}
	if subtle.ConstantTimeCompare(secret, make([]byte, len(secret))) == 1 {
		return fmt.Errorf("%w: all bytes are zero", ErrKeyCheck)
	}
	check, err := crypto.Check(checkLabel(k.Purpose, k.Suite), secret)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(check[:], k.Check[:]) != 1 {
		return fmt.Errorf("%w: its check value differs", ErrKeyCheck)
	}
	return nil
}
