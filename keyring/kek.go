package keyring

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// A kek is one provider, and how it has been doing.
type kek struct {
	kms     kmsprovider.Provider
	id      string
	timeout time.Duration // of one call

	gate    gate
	breaker breaker
	events  teller

	wraps, unwraps, errors, wrong atomic.Uint64
}

func newKEK(kms kmsprovider.Provider, timeout time.Duration, events teller) (*kek, error) {
	if kms == nil {
		return nil, errors.New("no kms provider given; see package localkms for one that needs no service")
	}
	// A ring tries again by itself, within a budget that counts every call.
	if r, ok := kms.(interface{ WithoutRetry() kmsprovider.Provider }); ok {
		kms = r.WithoutRetry()
	}
	e := &kek{kms: kms, id: kms.ID(), timeout: timeout, events: events}
	if !kmsprovider.ValidID(e.id) {
		return nil, fmt.Errorf("%T has an invalid ID; see kmsprovider.Provider", kms)
	}
	return e, nil
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

// call makes one bounded call to the KMS, if it hasn't failed too often of late.
func (e *kek) call(ctx context.Context, what string, fn func(context.Context) ([]byte, error)) ([]byte, error) {
	if err := e.breaker.allow(); err != nil {
		return nil, kmsError(what, e.id, err)
	}
	callCtx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	out, err := guard(callCtx, &e.gate, fn, func(late []byte) { clear(late) })
	switch {
	case err == nil:
		e.ended(true, nil)
	case ctx.Err() != nil && callCtx.Err() != context.DeadlineExceeded:
		e.ended(false, nil) // the caller left: no word about the KMS
	case kmsprovider.Retryable(err) || errors.Is(err, ErrUnavailable):
		e.errors.Add(1)
		e.ended(false, err)
	default:
		e.errors.Add(1)
		e.ended(true, nil) // a refusal is an answer
	}
	if err != nil {
		return nil, kmsError(what, e.id, err)
	}
	return out, nil
}

// ended tells the breaker how a call ended, and the log what that does to it.
func (e *kek) ended(answered bool, failure error) {
	switch opened, closed := e.breaker.ended(answered, failure); {
	case opened:
		e.events.tell(slog.LevelWarn, EventCircuitOpened, slog.String("kek", e.id), errorAttr(failure))
	case closed:
		e.events.tell(slog.LevelInfo, EventCircuitClosed, slog.String("kek", e.id))
	}
}

// wrap encrypts secret for k, opens the result again and compares, so that no
// key is ever stored that can't be read back.
func (e *kek) wrap(ctx context.Context, name string, k *keyRecord, secret []byte) (wrap, error) {
	e.wraps.Add(1)
	// A copy: a call that is left goes on reading it.
	own := bytes.Clone(secret)
	wrapped, err := e.call(ctx, "wrap", func(ctx context.Context) ([]byte, error) {
		defer clear(own)
		return e.kms.Wrap(ctx, own, wrapContext(name, k))
	})
	if err != nil {
		return wrap{}, err
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
		e.wrong.Add(1)
		return wrap{}, fmt.Errorf("%w: nothing was stored; %s is not to be trusted", ErrRewrap, e.id)
	}
	return w, nil
}

// open calls the KMS and checks nothing.
func (e *kek) open(ctx context.Context, name string, k *keyRecord, w wrap) ([]byte, error) {
	e.unwraps.Add(1)
	wrapped := bytes.Clone(w.Blob)
	return e.call(ctx, "unwrap", func(ctx context.Context) ([]byte, error) {
		return e.kms.Unwrap(ctx, wrapped, wrapContext(name, k))
	})
}

// unwrap returns the bytes of k, which the caller wipes.
//
// Errors: ErrWrongKEK, ErrKeyCheck, ErrUnavailable, the provider's.
func (e *kek) unwrap(ctx context.Context, name string, k *keyRecord) ([]byte, error) {
	w := k.wrapBy(e.id)
	if w == nil {
		return nil, wrongKEK(k, e.id)
	}
	secret, err := e.open(ctx, name, k, *w)
	if err != nil {
		return nil, err
	}
	if err := checkSecret(k, secret); err != nil {
		clear(secret)
		e.wrong.Add(1)
		return nil, fmt.Errorf("%w; %s answered with something else", err, e.id)
	}
	return secret, nil
}

// wrapBy returns the wrap that a KEK made.
func (k *keyRecord) wrapBy(kek string) *wrap {
	for i := range k.Wraps {
		if k.Wraps[i].KEK == kek {
			return &k.Wraps[i]
		}
	}
	return nil
}

func wrongKEK(k *keyRecord, given ...string) error {
	var keks []string
	for _, w := range k.Wraps {
		keks = append(keks, w.KEK)
	}
	return fmt.Errorf("%w: %v, and the provider given is %v; open the ring with the right key file or KMS key", ErrWrongKEK, keks, given)
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
