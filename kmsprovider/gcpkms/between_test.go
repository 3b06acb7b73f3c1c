package gcpkms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/oauth2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/gcpkms"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

const between = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/between"

// dial returns a provider behind proxy, with further options for its client.
func dial(t *testing.T, proxy *kmstest.Proxy, opts ...option.ClientOption) *gcpkms.Provider {
	t.Helper()
	client, err := kms.NewKeyManagementClient(t.Context(), append(opts, option.WithEndpoint(proxy.Addr()),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewTLS(proxy.TLS()))))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	p, err := gcpkms.New(client, between)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// both makes a Wrap and an Unwrap, and returns their errors.
func both(t *testing.T, p *gcpkms.Provider) map[string]error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, wrapErr := p.Wrap(ctx, []byte("a key"), nil)
	_, unwrapErr := p.Unwrap(ctx, []byte("a wrapped key"), nil)
	return map[string]error{"Wrap": wrapErr, "Unwrap": unwrapErr}
}

// checkOutage fails if err is more than an outage: a ring would drop its keys.
func checkOutage(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, kmsprovider.ErrUnavailable) || !kmsprovider.Retryable(err) || errors.Is(err, kmsprovider.ErrThrottled) {
		t.Errorf("%s: %v, want an outage", what, err)
	}
}

type noToken struct{ err error }

func (s noToken) Token() (*oauth2.Token, error) { return nil, s.err }

// No token to be had is no refusal by Cloud KMS. gRPC calls it Unauthenticated, as the
// service's own refusal.
func TestNoToken(t *testing.T) {
	server := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(server, kmspb.UnimplementedKeyManagementServiceServer{})
	proxy := kmstest.NewProxy(t, server)
	for what, err := range map[string]error{
		"the metadata server is away": errors.New("dial tcp: lookup oauth2.example.org: no such host"),
		"it answers with a status":    status.Error(codes.PermissionDenied, "of somebody else"),
	} {
		for call, err := range both(t, dial(t, proxy, option.WithTokenSource(noToken{err}))) {
			checkOutage(t, what+", "+call, err)
		}
	}
}

// A page of what stands between isn't the service's, whatever its status.
func TestPages(t *testing.T) {
	for _, code := range []int{200, 204, 302, 400, 401, 403, 404, 407, 409, 429, 451, 500, 503, 511} {
		proxy := kmstest.NewProxy(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(code)
			if code != 204 {
				io.WriteString(w, "<html>blocked</html>")
			}
		}))
		for call, err := range both(t, dial(t, proxy, option.WithoutAuthentication())) {
			checkOutage(t, http.StatusText(code)+", "+call, err)
		}
	}
}

// The client over HTTP tells no refusal from an outage, and its answers have no bound.
func TestClientOverHTTP(t *testing.T) {
	client, err := kms.NewKeyManagementRESTClient(t.Context(), option.WithoutAuthentication(), option.WithEndpoint("https://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := gcpkms.New(client, between); !errors.Is(err, gcpkms.ErrOptions) {
		t.Errorf("New with a client over HTTP: %v", err)
	}
	// A client that was never made can't call; New sees only whether the name is one.
	if _, err := gcpkms.New(&kms.KeyManagementClient{}, between); err != nil {
		t.Errorf("New with a client that was never made: %v", err)
	}
}

// echo returns what it is given.
type echo struct {
	kmspb.UnimplementedKeyManagementServiceServer
}

func (echo) Encrypt(_ context.Context, in *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	return &kmspb.EncryptResponse{
		Name: in.Name + "/cryptoKeyVersions/1", Ciphertext: in.Plaintext, CiphertextCrc32C: in.PlaintextCrc32C,
		VerifiedPlaintextCrc32C: true, VerifiedAdditionalAuthenticatedDataCrc32C: true,
	}, nil
}

func (echo) Decrypt(_ context.Context, in *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	return &kmspb.DecryptResponse{Plaintext: in.Ciphertext, PlaintextCrc32C: in.CiphertextCrc32C}, nil
}

// The client library logs whole requests and answers when it is told to log at all, by
// an option or by GOOGLE_SDK_GO_LOGGING_LEVEL.
func TestClientThatLogs(t *testing.T) {
	server := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(server, echo{})
	var log bytes.Buffer
	p := dial(t, kmstest.NewProxy(t, server), option.WithoutAuthentication(),
		option.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	for call, err := range both(t, p) {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	for _, secret := range []string{"a key", "a wrapped key"} {
		if strings.Contains(log.String(), base64.StdEncoding.EncodeToString([]byte(secret))) {
			t.Errorf("the log shows %q: %s", secret, log.String())
		}
	}
}

// loud refuses with a long text.
type loud struct {
	kmspb.UnimplementedKeyManagementServiceServer
}

var longText = "first\nlevel=ERROR " + strings.Repeat("x", 1<<12)

func (loud) Encrypt(context.Context, *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	return nil, status.Error(codes.PermissionDenied, longText)
}

func (loud) Decrypt(context.Context, *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	return nil, status.Error(codes.PermissionDenied, longText)
}

// What the service says may be anything: an error is one line, and no long one.
func TestErrorsAreShort(t *testing.T) {
	server := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(server, loud{})
	for call, err := range both(t, dial(t, kmstest.NewProxy(t, server), option.WithoutAuthentication())) {
		if text := err.Error(); len(text) > 2000 || strings.Contains(text, "\n") || !strings.Contains(text, "first") || !errors.Is(err, kmsprovider.ErrDenied) {
			t.Errorf("%s: %d bytes: %.300s", call, len(text), text)
		}
	}
}
