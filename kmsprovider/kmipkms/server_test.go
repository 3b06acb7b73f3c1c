package kmipkms_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"

	"github.com/structseal/structseal/kmsprovider/kmipkms"
	"github.com/structseal/structseal/kmsprovider/kmipkms/pykmip"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// A fake is a server made with the library's server side. Its keys are of this
// process.
type fake struct {
	keys map[string]cipher.Block
	mode atomic.Pointer[kmstest.Mode]
	flaw atomic.Int32
	asks atomic.Int64
}

// Flaws of servers.
const (
	sound = iota
	ignoresAAD
	ignoresTag  // and the associated data
	shortTag    // makes tags of 12 bytes
	oneFailure  // fails once and then works
	makesIV     // refuses the client's IV
	twoAnswers  // to one request
	wrongAnswer // to something else
)

func (f *fake) now() kmstest.Mode {
	if m := f.mode.Load(); m != nil {
		return *m
	}
	return ""
}

func (f *fake) fault(m kmstest.Mode) kmstest.Option {
	return kmstest.Fault(m, func(*testing.T) func() {
		f.mode.Store(&m)
		return func() { f.mode.Store(nil) }
	})
}

var reasons = map[kmstest.Mode]kmip.ResultReason{
	kmstest.NotFound:        kmip.ResultReasonItemNotFound,
	kmstest.Denied:          kmip.ResultReasonPermissionDenied,
	kmstest.Disabled:        kmip.ResultReasonPermissionDenied,
	kmstest.PendingDeletion: kmip.ResultReasonObjectarchived,
	kmstest.Unavailable:     kmip.ResultReasonGeneralFailure,
}

// refuse is what every operation does first.
func (f *fake) refuse(key string) error {
	f.asks.Add(1)
	if reason, ok := reasons[f.now()]; ok {
		return kmipserver.Errorf(reason, "text of the server")
	}
	if f.flaw.CompareAndSwap(oneFailure, sound) {
		return kmipserver.Errorf(kmip.ResultReasonGeneralFailure, "once")
	}
	if f.keys[key] == nil {
		return kmipserver.ErrItemNotFound
	}
	return nil
}

func (f *fake) answers(key string) string {
	if f.now() == kmstest.WrongKeyID {
		return "another"
	}
	return key
}

func (f *fake) aead(key string, aad []byte) (cipher.AEAD, []byte) {
	var g cipher.AEAD
	var err error
	fips140.WithoutEnforcement(func() { g, err = cipher.NewGCM(f.keys[key]) })
	if err != nil {
		panic(err)
	}
	if flaw := f.flaw.Load(); flaw == ignoresAAD || flaw == ignoresTag {
		aad = nil
	}
	return g, aad
}

func (f *fake) encrypt(_ context.Context, p *payloads.EncryptRequestPayload) (*payloads.EncryptResponsePayload, error) {
	if err := f.refuse(p.UniqueIdentifier); err != nil {
		return nil, err
	}
	if f.flaw.Load() == makesIV && (p.IVCounterNonce != nil || p.CryptographicParameters.RandomIV == nil || !*p.CryptographicParameters.RandomIV) {
		return nil, kmipserver.Errorf(kmip.ResultReasonInvalidField, "no IV of the client's")
	}
	iv := p.IVCounterNonce
	out := &payloads.EncryptResponsePayload{UniqueIdentifier: f.answers(p.UniqueIdentifier)}
	if iv == nil {
		iv = make([]byte, 12)
		rand.Read(iv)
		out.IVCounterNonce = iv
	}
	g, aad := f.aead(p.UniqueIdentifier, p.AuthenticatedEncryptionAdditionalData)
	var ct []byte
	fips140.WithoutEnforcement(func() { ct = g.Seal(nil, iv, p.Data, aad) }) // it is another machine's, in truth
	out.Data, out.AuthenticatedEncryptionTag = ct[:len(ct)-16], ct[len(ct)-16:]
	if f.flaw.Load() == shortTag {
		out.AuthenticatedEncryptionTag = out.AuthenticatedEncryptionTag[:12]
	}
	return out, nil
}

func (f *fake) decrypt(_ context.Context, p *payloads.DecryptRequestPayload) (*payloads.DecryptResponsePayload, error) {
	if err := f.refuse(p.UniqueIdentifier); err != nil {
		return nil, err
	}
	out := &payloads.DecryptResponsePayload{UniqueIdentifier: f.answers(p.UniqueIdentifier)}
	if f.flaw.Load() == ignoresTag {
		out.Data = slices.Clone(p.Data)
		cipher.NewCTR(f.keys[p.UniqueIdentifier], slices.Concat(p.IVCounterNonce[:12], []byte{0, 0, 0, 2})).XORKeyStream(out.Data, out.Data)
		return out, nil
	}
	if len(p.IVCounterNonce) != 12 {
		return nil, kmipserver.ErrInvalidField
	}
	g, aad := f.aead(p.UniqueIdentifier, p.AuthenticatedEncryptionAdditionalData)
	var err error
	fips140.WithoutEnforcement(func() {
		out.Data, err = g.Open(nil, p.IVCounterNonce, slices.Concat(p.Data, p.AuthenticatedEncryptionTag), aad)
	})
	if err != nil {
		return nil, kmipserver.Errorf(kmip.ResultReasonCryptographicFailure, "tag")
	}
	// A server that lies knows the context, and makes the hash that belongs to its lie.
	if lie := f.now().Lie(out.Data[32:]); !slices.Equal(lie, out.Data[32:]) {
		sum := sha256.Sum256(slices.Concat(p.AuthenticatedEncryptionAdditionalData, lie))
		out.Data = slices.Concat(sum[:], lie)
	}
	return out, nil
}

func (f *fake) attributes(_ context.Context, p *payloads.GetAttributesRequestPayload) (*payloads.GetAttributesResponsePayload, error) {
	if f.now() != kmstest.Disabled {
		return nil, kmipserver.ErrPermissionDenied
	}
	return &payloads.GetAttributesResponsePayload{UniqueIdentifier: p.UniqueIdentifier, Attribute: []kmip.Attribute{
		{AttributeName: kmip.AttributeNameState, AttributeValue: kmip.StateDeactivated},
	}}, nil
}

// site is a server with two keys, and a proxy before it.
type site struct {
	ca     *kmstest.Authority
	proxy  *proxy
	client tls.Certificate
}

func (s *site) options(key string) kmipkms.Options {
	return kmipkms.Options{Addr: s.proxy.addr, KeyID: key, TLS: &tls.Config{RootCAs: s.ca.Pool(), Certificates: []tls.Certificate{s.client}}}
}

func (s *site) open(t testing.TB, key string) *kmipkms.Provider { return open(t, s.options(key)) }

func open(t testing.TB, o kmipkms.Options) *kmipkms.Provider {
	t.Helper()
	p, err := kmipkms.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func newFake(t testing.TB) (*fake, *site) {
	t.Helper()
	f, s := &fake{keys: make(map[string]cipher.Block)}, &site{ca: kmstest.NewAuthority(t)}
	for _, name := range []string{"one", "two"} {
		key := make([]byte, 32)
		rand.Read(key)
		f.keys[name], _ = aes.NewCipher(key)
	}
	routes := kmipserver.NewBatchExecutor()
	routes.Route(kmip.OperationEncrypt, kmipserver.HandleFunc(f.encrypt))
	routes.Route(kmip.OperationDecrypt, kmipserver.HandleFunc(f.decrypt))
	routes.Route(kmip.OperationGetAttributes, kmipserver.HandleFunc(f.attributes))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{s.ca.Issue(t, "127.0.0.1", x509.ExtKeyUsageServerAuth)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: s.ca.Pool(),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := kmipserver.NewServer(listener, f.handler(routes))
	go server.Serve()
	s.client = s.ca.Issue(t, "app", x509.ExtKeyUsageClientAuth)
	t.Cleanup(func() { server.Shutdown() })
	s.proxy = newProxy(t, s.ca, listener.Addr().String(), s.client)
	return f, s
}

// handler puts the flaws of messages between.
func (f *fake) handler(next kmipserver.RequestHandler) kmipserver.RequestHandler {
	return flawed{f, next}
}

type flawed struct {
	*fake
	next kmipserver.RequestHandler
}

func (f flawed) HandleRequest(ctx context.Context, req *kmip.RequestMessage) *kmip.ResponseMessage {
	out := f.next.HandleRequest(ctx, req)
	switch f.flaw.Load() {
	case twoAnswers:
		out.BatchItem = append(out.BatchItem, out.BatchItem...)
		out.Header.BatchCount = int32(len(out.BatchItem))
	case wrongAnswer:
		out.BatchItem[0].Operation = kmip.OperationActivate
		out.BatchItem[0].ResponsePayload = &payloads.ActivateResponsePayload{UniqueIdentifier: "one"}
	}
	return out
}

// newPyKMIP is a PyKMIP server behind a proxy.
func newPyKMIP(t testing.TB) (*pykmip.Server, *site) {
	t.Helper()
	p := pykmip.Start(t)
	return p, &site{ca: p.Authority, client: p.Client, proxy: newProxy(t, p.Authority, p.Addr(), p.Client)}
}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the library's server tells every connection
	os.Exit(m.Run())
}
