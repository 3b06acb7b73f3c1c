package tinkkms_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/tinkkms"
)

// failing is an AEAD that fails.
type failing struct{ err error }

func (f failing) EncryptWithContext(context.Context, []byte, []byte) ([]byte, error) {
	return nil, fmt.Errorf("service: %w", f.err)
}
func (f failing) DecryptWithContext(context.Context, []byte, []byte) ([]byte, error) {
	return nil, fmt.Errorf("service: %w", f.err)
}

// What says that no whole answer came is no refusal, also without a Classify.
func TestErrorsOfTheWay(t *testing.T) {
	for err, want := range map[error]error{
		io.ErrUnexpectedEOF:      kmsprovider.ErrUnavailable,
		context.Canceled:         kmsprovider.ErrUnavailable, // of a call that several share
		context.DeadlineExceeded: kmsprovider.ErrUnavailable,
		syscall.ECONNRESET:       kmsprovider.ErrUnavailable,
		&net.DNSError{Err: "no such host", IsNotFound: true}:                          kmsprovider.ErrUnavailable,
		&url.Error{Op: "Post", URL: "https://x", Err: x509.UnknownAuthorityError{}}:   kmsprovider.ErrUnavailable,
		&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}:          kmsprovider.ErrUnavailable,
		tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}: kmsprovider.ErrUnavailable,
		errors.New("aead: message authentication failed"):                             kmsprovider.ErrRejected,
		fmt.Errorf("%w: %w", kmsprovider.ErrDenied, io.ErrUnexpectedEOF):              kmsprovider.ErrDenied,
	} {
		p, optionsErr := tinkkms.NewWithContext("tink:one", failing{err}, nil)
		if optionsErr != nil {
			t.Fatal(optionsErr)
		}
		_, unwrapErr := p.Unwrap(t.Context(), []byte("a wrap"), nil)
		_, wrapErr := p.Wrap(t.Context(), []byte("a key"), nil)
		if !errors.Is(unwrapErr, want) || kmsprovider.Retryable(unwrapErr) != kmsprovider.Retryable(want) {
			t.Errorf("Unwrap, %v: %v, want %q", err, unwrapErr, want)
		}
		if kmsprovider.Retryable(wrapErr) != kmsprovider.Retryable(want) {
			t.Errorf("Wrap, %v: Retryable(%v)", err, wrapErr)
		}
	}
}
