package kmipkms

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/payloads"
	"github.com/ovh/kmip-go/ttlv"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/tinkkms"
)

const (
	version, minIV, maxIV, tagSize = 1, 12, 16, 16
	maxWrap                        = 64 << 10 // far above any key
	maxAnswer                      = 1 << 20
	maxIdle                        = 4 // connections kept for further calls
)

var (
	// ErrOptions: an option is missing or invalid.
	ErrOptions = errors.New("invalid option")
	// ErrUnfit: the server has no AES-GCM with associated data as this package needs it.
	ErrUnfit = errors.New("server or key is not fit")
)

// Options say which key to use and how to reach it.
type Options struct {
	Addr     string      // host and port
	KeyID    string      // unique identifier of the key
	TLS      *tls.Config // roots and client certificate; not changed
	ServerIV bool        // the server makes the IVs, as it must in FIPS mode
}

// An Error is what a server has said.
type Error struct {
	Reason  kmip.ResultReason
	Message string // the server's text, not in Error: nobody knows what is in it
}

// Error tells the reason.
func (e *Error) Error() string { return "kmip: " + ttlv.EnumStr(e.Reason) }

// A Provider wraps keys with an AES key of a server. It is safe for concurrent use.
// Its ID is "kmip://host:port/unique-identifier".
//
// Errors of Wrap and Unwrap: ErrUnfit; kmsprovider.ErrRejected (of Unwrap),
// ErrNotFound, ErrDenied, ErrDisabled (the key is not active), ErrWrongAnswer,
// ErrUnavailable; the context's own. *Error in them is what the server has said.
type Provider struct {
	*tinkkms.Provider
	server *server
}

// New returns a provider. The server is first asked by the first call, so that a ring
// with several KEKs opens while one of them is away.
//
// Errors: ErrOptions.
func New(opts Options) (*Provider, error) {
	host, port, err := net.SplitHostPort(opts.Addr)
	id := "kmip://" + opts.Addr + "/" + url.PathEscape(opts.KeyID)
	if err != nil || host == "" || port == "" || opts.KeyID == "" || opts.TLS == nil || !kmsprovider.ValidID(id) {
		return nil, fmt.Errorf("kmipkms: %w: Addr (%q, want host:port), KeyID and TLS must be given", ErrOptions, opts.Addr)
	}
	config := opts.TLS.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	s := &server{key: opts.KeyID, ownIV: opts.ServerIV, idle: make(chan net.Conn, maxIdle),
		dial: func(ctx context.Context) (net.Conn, error) { return dial(ctx, opts.Addr, config.Clone()) }}
	p, err := tinkkms.NewWithContext(id, s, &tinkkms.Options{Classify: classify})
	return &Provider{p, s}, err
}

// dial connects. An alert before the server has shown who it is, is anybody's.
func dial(ctx context.Context, addr string, config *tls.Config) (net.Conn, error) {
	verified, verify := false, config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		verified = true // its certificate has been
		if verify != nil {
			return verify(state)
		}
		return nil
	}
	c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, broken(err, verified)
	}
	return c, nil
}

// Close closes the connections that no call uses.
func (p *Provider) Close() error {
	for {
		select {
		case c := <-p.server.idle:
			c.Close()
		default:
			return nil
		}
	}
}

// server is a server and its key: an AEAD of Tink.
type server struct {
	key   string
	ownIV bool
	dial  func(context.Context) (net.Conn, error) // a closure, where printers can't look
	idle  chan net.Conn
}

// EncryptWithContext makes a wrap.
func (s *server) EncryptWithContext(ctx context.Context, secret, aad []byte) ([]byte, error) {
	text := slices.Concat(digest(aad, secret), secret)
	defer clear(text)
	iv, params := make([]byte, minIV), gcm
	rand.Read(iv)
	if s.ownIV {
		iv, params.RandomIV = nil, &s.ownIV
	}
	out, err := call[*payloads.EncryptResponsePayload](ctx, s, &payloads.EncryptRequestPayload{
		UniqueIdentifier: s.key, CryptographicParameters: &params, Data: text, IVCounterNonce: iv, AuthenticatedEncryptionAdditionalData: aad,
	})
	if err != nil {
		return nil, err
	}
	if len(out.IVCounterNonce) > 0 {
		iv = out.IVCounterNonce
	}
	if len(out.Data) != len(text) || len(iv) < minIV || len(iv) > maxIV || len(out.AuthenticatedEncryptionTag) != tagSize {
		return nil, fmt.Errorf("AES-GCM of %d bytes gave %d, an IV of %d and a tag of %d: %w",
			len(text), len(out.Data), len(iv), len(out.AuthenticatedEncryptionTag), &Error{Reason: kmip.ResultReasonFeatureNotSupported})
	}
	return slices.Concat([]byte{version, byte(len(iv))}, iv, out.Data, out.AuthenticatedEncryptionTag), s.same(out.UniqueIdentifier)
}

// DecryptWithContext opens a wrap. A server that works, and then says the same of this
// wrap again, rejects it.
func (s *server) DecryptWithContext(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < 2 || len(wrapped) > maxWrap || wrapped[0] != version || wrapped[1] < minIV || wrapped[1] > maxIV ||
		len(wrapped) < 2+int(wrapped[1])+sha256.Size+tagSize {
		return nil, fmt.Errorf("%w: not made by this package", kmsprovider.ErrRejected)
	}
	out, err := s.decrypt(ctx, wrapped, aad)
	if class := classify(err); class != kmsprovider.ErrUnavailable && class != ErrUnfit {
		return out, err
	}
	test, testErr := s.EncryptWithContext(ctx, nil, aad)
	if testErr == nil {
		_, testErr = s.decrypt(ctx, test, aad)
	}
	if testErr != nil {
		return nil, testErr
	}
	out, again := s.decrypt(ctx, wrapped, aad)
	if again != nil && again.Error() == err.Error() {
		again = fmt.Errorf("%w: %w", kmsprovider.ErrRejected, again)
	}
	return out, again
}

func (s *server) decrypt(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	iv, tag := 2+int(wrapped[1]), len(wrapped)-tagSize
	out, err := call[*payloads.DecryptResponsePayload](ctx, s, &payloads.DecryptRequestPayload{
		UniqueIdentifier: s.key, CryptographicParameters: &gcm, Data: wrapped[iv:tag], IVCounterNonce: wrapped[2:iv],
		AuthenticatedEncryptionAdditionalData: aad, AuthenticatedEncryptionTag: wrapped[tag:],
	})
	if err != nil {
		return nil, err
	}
	if err := s.same(out.UniqueIdentifier); err != nil {
		return nil, err
	}
	sum, secret := out.Data[:min(sha256.Size, len(out.Data))], out.Data[min(sha256.Size, len(out.Data)):]
	if !bytes.Equal(sum, digest(aad, secret)) {
		return nil, fmt.Errorf("%w: the server has opened it, and key and context don't belong together", kmsprovider.ErrRejected)
	}
	return secret, nil
}

// digest leaves no copy of secret behind.
func digest(aad, secret []byte) []byte {
	h := sha256.New()
	h.Write(aad)
	h.Write(secret)
	return h.Sum(nil)
}

var gcm = kmip.CryptographicParameters{BlockCipherMode: kmip.BlockCipherModeGCM, CryptographicAlgorithm: kmip.CryptographicAlgorithmAES, TagLength: tagSize}

func (s *server) same(key string) error {
	if key != s.key {
		return fmt.Errorf("%w: it names another key", kmsprovider.ErrWrongAnswer)
	}
	return nil
}

// call makes a request and looks up, if the server won't, whether the key is active.
func call[R kmip.OperationPayload](ctx context.Context, s *server, request kmip.OperationPayload) (R, error) {
	answer, err := s.roundTrip(ctx, request)
	if classify(err) == kmsprovider.ErrDenied {
		state, _ := s.roundTrip(ctx, &payloads.GetAttributesRequestPayload{UniqueIdentifier: s.key, AttributeName: []kmip.AttributeName{kmip.AttributeNameState}})
		if a, ok := state.(*payloads.GetAttributesResponsePayload); ok && len(a.Attribute) == 1 && a.Attribute[0].AttributeValue != kmip.StateActive {
			err = fmt.Errorf("%w: its state is not active: %w", kmsprovider.ErrDisabled, err)
		}
	}
	out, ok := answer.(R)
	if err == nil && !ok {
		err = fmt.Errorf("%w: an answer to something else", kmsprovider.ErrUnavailable)
	}
	return out, err
}

// roundTrip uses a connection that is there, or a fresh one if the server has closed it.
func (s *server) roundTrip(ctx context.Context, request kmip.OperationPayload) (kmip.OperationPayload, error) {
	select {
	case c := <-s.idle:
		if answer, err := s.exchange(ctx, c, request); !errors.Is(err, kmsprovider.ErrUnavailable) || ctx.Err() != nil {
			return answer, err
		}
	default:
	}
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return s.exchange(ctx, c, request)
}

func (s *server) exchange(ctx context.Context, c net.Conn, request kmip.OperationPayload) (answer kmip.OperationPayload, err error) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if recover() != nil { // the library's decoder trusts lengths
			err = fmt.Errorf("%w: malformed answer", kmsprovider.ErrUnavailable)
		}
		if whole := err == nil || errors.As(err, new(*Error)); whole && stop() {
			select {
			case s.idle <- c:
				return
			default:
			}
		}
		c.Close()
	}()
	stream, message := ttlv.NewStream(c, maxAnswer), kmip.NewRequestMessage(kmip.V1_4, request)
	var response kmip.ResponseMessage
	if err := stream.Roundtrip(&message, &response); err != nil {
		return nil, broken(err, true)
	}
	if len(response.BatchItem) != 1 {
		return nil, fmt.Errorf("%w: %d answers to one request", kmsprovider.ErrUnavailable, len(response.BatchItem))
	}
	if item := response.BatchItem[0]; item.ResultStatus != kmip.ResultStatusSuccess {
		return nil, &Error{item.ResultReason, item.ResultMessage}
	}
	return response.BatchItem[0].ResponsePayload, nil
}

// broken is an error of the connection: an outage, unless a server whose certificate was
// verified has said that it doesn't take the client's.
func broken(err error, verified bool) error {
	var remote *net.OpError
	if verified && errors.As(err, &remote) && remote.Op == "remote error" && strings.Contains(err.Error(), "certificate") {
		return fmt.Errorf("%w: %w", kmsprovider.ErrDenied, err)
	}
	return fmt.Errorf("%w: %w", kmsprovider.ErrUnavailable, err)
}

// classify says what an error of the server means: nil for other errors.
func classify(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return nil
	}
	switch e.Reason {
	case kmip.ResultReasonItemNotFound:
		return kmsprovider.ErrNotFound
	case kmip.ResultReasonAuthenticationNotSuccessful, kmip.ResultReasonPermissionDenied, kmip.ResultReasonIllegalOperation,
		kmip.ResultReasonAttestationRequired, kmip.ResultReasonAttestationFailed:
		return kmsprovider.ErrDenied
	case kmip.ResultReasonObjectarchived, kmip.ResultReasonKeyValueNotPresent:
		return kmsprovider.ErrDisabled
	case kmip.ResultReasonOperationNotSupported, kmip.ResultReasonFeatureNotSupported, kmip.ResultReasonInvalidField,
		kmip.ResultReasonInvalidMessage, kmip.ResultReasonMissingData, kmip.ResultReasonCryptographicFailure:
		return ErrUnfit
	}
	return kmsprovider.ErrUnavailable
}
