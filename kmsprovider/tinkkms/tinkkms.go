package tinkkms

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/structseal/structseal/kmsprovider"
)

// ErrOptions: no AEAD, or an invalid ID.
var ErrOptions = errors.New("invalid option")

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// Classify says what an error of the AEAD means: it returns one of package
	// kmsprovider's errors (kmsprovider.ErrDenied ...), or nil when it doesn't
	// know. It is called concurrently. Default: none.
	Classify func(err error) error
}

// maxCalls bounds the calls to a [tink.AEAD] that are under way: it knows no
// context, so a call whose caller has left goes on.
const maxCalls = 32

// A Provider wraps keys with a Tink AEAD. It is safe for concurrent use if the AEAD
// is, as all of Tink's are.
type Provider struct {
	id       string
	classify func(error) error
	// Closures, where printers that walk unexported fields can't look.
	encrypt, decrypt func(ctx context.Context, text, associated []byte) ([]byte, error)
}

var _ kmsprovider.Provider = (*Provider)(nil)

// NewWithContext returns a provider over a, which gets the context of each call. id
// names the KEK for as long as it exists; the key's URI does, without credentials.
//
// Errors: ErrOptions.
func NewWithContext(id string, a tink.AEADWithContext, opts *Options) (*Provider, error) {
	if a == nil {
		return nil, fmt.Errorf("tinkkms: %w: no AEAD given", ErrOptions)
	}
	if !kmsprovider.ValidID(id) {
		return nil, fmt.Errorf("tinkkms: %w: the id is empty, too long or has characters other than printable ASCII; see kmsprovider.ValidID", ErrOptions)
	}
	p := &Provider{id: id, encrypt: a.EncryptWithContext, decrypt: a.DecryptWithContext}
	if opts != nil {
		p.classify = opts.Classify
	}
	return p, nil
}

// New returns a provider over an AEAD that knows no contexts. A call whose context
// ends is left and goes on in the background; no more than 32 are ever under way,
// and further ones wait. See [NewWithContext].
//
// Errors: ErrOptions.
func New(id string, a tink.AEAD, opts *Options) (*Provider, error) {
	if a == nil {
		return nil, fmt.Errorf("tinkkms: %w: no AEAD given", ErrOptions)
	}
	return NewWithContext(id, &patient{aead: a, calls: make(chan struct{}, maxCalls)}, opts)
}

// ID returns the id that the provider was made with.
func (p *Provider) ID() string { return p.id }

// Wrap encrypts secret with kc.AAD() as associated data.
//
// Errors: by Options.Classify; kmsprovider.ErrUnavailable; ctx's own; the AEAD's.
func (p *Provider) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	wrapped, err := p.encrypt(ctx, secret, kc.AAD())
	if err != nil {
		return nil, p.error(ctx, "encrypt", err, nil)
	}
	return wrapped, nil
}

// Unwrap decrypts what Wrap made for the same context.
//
// Errors: those of Wrap; kmsprovider.ErrRejected.
func (p *Provider) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	secret, err := p.decrypt(ctx, wrapped, kc.AAD())
	if err != nil {
		return nil, p.error(ctx, "decrypt", err, kmsprovider.ErrRejected)
	}
	return secret, nil
}

// error says what err means; otherwise is for errors that nothing is known of.
func (p *Provider) error(ctx context.Context, call string, err, otherwise error) error {
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	class := otherwise
	switch {
	case known(err):
		class = nil
	case p.classify != nil && p.classify(err) != nil:
		class = p.classify(err)
	case ctx.Err() != nil:
		class = nil
	case ofTheWay(err):
		class = kmsprovider.ErrUnavailable
	}
	if class == nil {
		return fmt.Errorf("tinkkms: %s with %s: %w", call, p.id, err)
	}
	return fmt.Errorf("tinkkms: %s with %s: %w: %w", call, p.id, class, err)
}

// ofTheWay reports whether err says that no whole answer came.
func ofTheWay(err error) bool {
	for _, e := range []error{context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, new(net.Error)) || errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError))
}

// known reports whether err says by itself what it means.
func known(err error) bool {
	for _, class := range []error{
		kmsprovider.ErrRejected, kmsprovider.ErrNotFound, kmsprovider.ErrDenied, kmsprovider.ErrDisabled,
		kmsprovider.ErrWrongAnswer, kmsprovider.ErrUnavailable, kmsprovider.ErrThrottled,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// String returns the type and the ID.
func (p *Provider) String() string { return "tinkkms.Provider(" + p.id + ")" }

// GoString is String.
func (p *Provider) GoString() string { return p.String() }

// patient gives contexts to an AEAD that has none.
type patient struct {
	aead  tink.AEAD
	calls chan struct{} // under way
}

func (a *patient) EncryptWithContext(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	own := bytes.Clone(plaintext) // a call that is left goes on reading it
	return a.call(ctx, func() ([]byte, error) {
		defer clear(own)
		return a.aead.Encrypt(own, associated)
	})
}

func (a *patient) DecryptWithContext(ctx context.Context, ciphertext, associated []byte) ([]byte, error) {
	own := bytes.Clone(ciphertext)
	return a.call(ctx, func() ([]byte, error) { return a.aead.Decrypt(own, associated) })
}

func (a *patient) call(ctx context.Context, fn func() ([]byte, error)) ([]byte, error) {
	type result struct {
		out []byte
		err error
	}
	select {
	case a.calls <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %d calls have not ended: %w", kmsprovider.ErrUnavailable, maxCalls, ctx.Err())
	}
	done := make(chan result)
	go func() {
		defer func() { <-a.calls }()
		out, err := fn()
		select {
		case done <- result{out, err}:
		case <-ctx.Done():
			clear(out)
		}
	}()
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
