package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

// keks are the providers that a process has for a ring, in its order of
// preference. The slice is never changed.
type keks []*kek

func newKEKs(name string, first kmsprovider.Provider, opts *OpenOptions) (keks, error) {
	var out keks
	for _, kms := range append([]kmsprovider.Provider{first}, opts.Also...) {
		e, err := newKEK(kms, opts.CallTimeout, newTeller(name, opts))
		if err != nil {
			return nil, err
		}
		if out.find(e.id) != nil {
			return nil, fmt.Errorf("two providers have the ID %s", e.id)
		}
		out = append(out, e)
	}
	if len(out) > maxWraps {
		return nil, fmt.Errorf("%w: %d key-encryption keys of at most %d", ErrTooLarge, len(out), maxWraps)
	}
	return out, nil
}

func (s keks) find(id string) *kek {
	for _, e := range s {
		if e.id == id {
			return e
		}
	}
	return nil
}

func (s keks) ids() (ids []string) {
	for _, e := range s {
		ids = append(ids, e.id)
	}
	return ids
}

// of returns those of s that are in ids.
func (s keks) of(ids []string) (out keks) {
	for _, e := range s {
		if slices.Contains(ids, e.id) {
			out = append(out, e)
		}
	}
	return out
}

// wrap wraps secret with all of s at once. One success is enough: a region that is
// away must not keep a ring from rotating; Maintain wraps with the others later. A
// provider whose wrap doesn't open to the same key fails the whole: it isn't away,
// it is wrong.
func (s keks) wrap(ctx context.Context, name string, k *keyRecord, secret []byte) ([]wrap, error) {
	type result struct {
		i   int
		w   wrap
		err error
	}
	results := make(chan result, len(s))
	for i, e := range s {
		go func() {
			w, err := e.wrap(ctx, name, k, secret)
			results <- result{i, w, err}
		}()
	}
	made := make([]wrap, len(s))
	errs := make([]error, len(s))
	for range s { // every one: secret is the caller's to wipe then
		r := <-results
		made[r.i], errs[r.i] = r.w, r.err
	}
	for _, err := range errs {
		if errors.Is(err, ErrRewrap) {
			return nil, err
		}
	}
	made = slices.DeleteFunc(made, func(w wrap) bool { return w.KEK == "" })
	if len(made) == 0 {
		return nil, errors.Join(errs...)
	}
	return made, nil
}

// unwrap returns the bytes of k, which the caller wipes, from whichever provider
// answers: first those that have been answering, in order. Each failure goes on to
// the next one, also a refusal and a wrong answer (which is counted), and so does
// an answer that takes its time.
//
// The error is that of all of them. It is an ErrUnavailable if one of them may
// answer later: to revoke a key that is wrapped by several, revoke it at all.
func (s keks) unwrap(ctx context.Context, name string, k *keyRecord) ([]byte, error) {
	var order keks
	for _, open := range []bool{false, true} {
		for _, e := range s {
			if k.wrapBy(e.id) != nil && e.breaker.open() == open {
				order = append(order, e)
			}
		}
	}
	switch len(order) {
	case 0:
		return nil, wrongKEK(k, s.ids()...)
	case 1:
		return order[0].unwrap(ctx, name, k)
	}
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		secret []byte
		err    error
	}
	results := make(chan result, len(order))
	started, ended := 0, 0
	defer func() {
		cancel()
		// What comes later is nobody's.
		go func(n int) {
			for range n {
				clear((<-results).secret)
			}
		}(started - ended)
	}()
	start := func() {
		if started < len(order) {
			e := order[started]
			started++
			go func() {
				secret, err := e.unwrap(ctx, name, k)
				results <- result{secret, err}
			}()
		}
	}
	start()
	hedge := time.NewTicker(max(s[0].timeout/10, time.Millisecond))
	defer hedge.Stop()
	var errs []error
	for ended < len(order) {
		select {
		case r := <-results:
			ended++
			if r.err == nil {
				return r.secret, nil
			}
			errs = append(errs, r.err)
			start()
		case <-hedge.C:
			start()
		case <-ctx.Done():
			return nil, errors.Join(append(errs, waitError(context.Cause(ctx)))...)
		}
	}
	return nil, errors.Join(errs...)
}
