package kmstest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/structseal/structseal/kmsprovider"
)

type (
	wrapFunc   = func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error)
	unwrapFunc = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error)
)

func onWrap(f wrapFunc) func(*toy)     { return func(p *toy) { p.onWrap = f } }
func onUnwrap(f unwrapFunc) func(*toy) { return func(p *toy) { p.onUnwrap = f } }

func soundWrap(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	return p.call(ctx, "/wrap", secret, kc)
}

func soundUnwrap(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	return p.call(ctx, "/unwrap", wrapped, kc)
}

// contexts is a provider that changes what a wrap is bound to.
func contexts(change func(kmsprovider.Context) kmsprovider.Context) func(*toy) {
	return func(p *toy) {
		p.onWrap = func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
			return soundWrap(p, ctx, secret, change(kc))
		}
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			return soundUnwrap(p, ctx, wrapped, change(kc))
		}
	}
}

// blobs is a provider with a form of its own for wraps.
func blobs(encode func([]byte) []byte, decode func([]byte) []byte) func(*toy) {
	return func(p *toy) {
		p.onWrap = func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
			wrapped, err := soundWrap(p, ctx, secret, kc)
			if err != nil {
				return nil, err
			}
			return encode(wrapped), nil
		}
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			return soundUnwrap(p, ctx, decode(wrapped), kc)
		}
	}
}

// class is a provider that takes a code of the service for something else.
func class(code string, means error) func(*toy) {
	return func(p *toy) {
		p.class = func(got string) error {
			if got == code {
				return means
			}
			return toyClasses[got]
		}
	}
}

// tlsWith is a provider that checks certificates in its own way.
func tlsWith(verify func(roots *x509.CertPool) func(tls.ConnectionState) error) func(*toy) {
	return func(p *toy) {
		c := p.client.Transport.(*http.Transport).TLSClientConfig
		c.InsecureSkipVerify, c.VerifyConnection = true, verify(c.RootCAs)
	}
}

// answers is a provider that doesn't pass on what Unwrap returned.
func answers(mend func([]byte) []byte) func(*toy) {
	return onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		secret, err := soundUnwrap(p, ctx, wrapped, kc)
		if err != nil {
			return nil, err
		}
		return mend(secret), nil
	})
}

// remembers is a provider that gives the answers that keep chooses for ever.
func remembers(keep func(secret []byte) bool) func(*toy) {
	return onUnwrap(func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
		name := string(wrapped) + string(kc.AAD())
		p.mu.Lock()
		kept, ok := p.cache()[name]
		p.mu.Unlock()
		if ok && ctx.Err() == nil {
			return bytes.Clone(kept), nil
		}
		secret, err := soundUnwrap(p, ctx, wrapped, kc)
		if err == nil && keep(secret) {
			p.mu.Lock()
			p.cache()[name] = bytes.Clone(secret)
			p.mu.Unlock()
		}
		return secret, err
	})
}

// mends is a provider that remembers what it wrapped, and answers with that when the
// service's answer is wrong in some way.
func mends(wrong func(right, got []byte) bool) func(*toy) {
	return func(p *toy) {
		p.onWrap = func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
			wrapped, err := soundWrap(p, ctx, secret, kc)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.cache()[string(wrapped)] = bytes.Clone(secret)
			return wrapped, err
		}
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			secret, err := soundUnwrap(p, ctx, wrapped, kc)
			p.mu.Lock()
			defer p.mu.Unlock()
			if right := p.cache()[string(wrapped)]; err == nil && right != nil && wrong(right, secret) {
				return bytes.Clone(right), nil
			}
			return secret, err
		}
	}
}

// detached makes calls that don't end with their context; or only the reading of
// their answers doesn't.
type detached struct {
	http.RoundTripper
	answersOnly bool
}

func (d detached) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		resp *http.Response
		err  error
	}
	done := make(chan result, 1)
	go func() {
		resp, err := d.RoundTripper.RoundTrip(r.WithContext(context.WithoutCancel(ctx)))
		done <- result{resp, err}
	}()
	left := ctx.Done()
	if !d.answersOnly {
		left = nil
	}
	select {
	case got := <-done:
		return got.resp, got.err
	case <-left:
		return nil, ctx.Err()
	}
}

// leaky doesn't close the pages that it gets.
type leaky struct{ http.RoundTripper }

func (l leaky) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusBadGateway {
		resp.Body = io.NopCloser(strings.NewReader("<"))
	}
	return resp, err
}

// inAddress puts a token into every address.
type inAddress struct {
	http.RoundTripper
	token string
}

func (a inAddress) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.RawQuery = "token=" + a.token
	return a.RoundTripper.RoundTrip(r)
}

// signs is a provider that hides keys in its own way and has the service seal but their
// hash.
func signs(hide func([]byte) []byte) func(*toy) {
	return func(p *toy) {
		p.onWrap = func(p *toy, ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
			hash := sha256.Sum256(secret)
			sealed, err := soundWrap(p, ctx, hash[:], kc)
			if err != nil {
				return nil, err
			}
			return slices.Concat([]byte{byte(len(sealed))}, sealed, hide(secret)), nil
		}
		p.onUnwrap = func(p *toy, ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
			rejected := fmt.Errorf("%w: %w", kmsprovider.ErrRejected, &toyError{"Rejected"})
			if len(wrapped) < 1 || len(wrapped) < 1+int(wrapped[0]) {
				return nil, rejected
			}
			end := 1 + int(wrapped[0])
			hash, err := soundUnwrap(p, ctx, wrapped[1:end], kc)
			if err != nil {
				return nil, err
			}
			secret := hide(wrapped[end:])
			if got := sha256.Sum256(secret); !bytes.Equal(got[:], hash) {
				return nil, rejected
			}
			return bytes.Clone(secret), nil
		}
	}
}
