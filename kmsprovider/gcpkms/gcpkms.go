package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"regexp"
	"strings"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/structseal/structseal/kmsprovider"
)

// ErrOptions: no client given, or one over HTTP, or what is no name of a key.
var ErrOptions = errors.New("invalid option")

const (
	maxAnswer = 1 << 20       // bytes of an answer
	maxBlob   = 64<<10 + 1024 // bytes of a ciphertext: of 64 KiB, and what comes on top
	patience  = time.Minute   // for a call whose context has no deadline
)

var keyName = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`)

// A Provider wraps keys with a key of Cloud KMS. It is safe for concurrent use.
type Provider struct {
	id string
	// A closure, so that printers that walk unexported fields by reflection don't
	// get at the credentials.
	client func() kmspb.KeyManagementServiceClient
}

var _ kmsprovider.Provider = (*Provider)(nil)

// New returns a provider over the key with a resource name. It makes no call. The
// client is the caller's, who closes it, and one over gRPC (NewKeyManagementClient).
//
// Errors: ErrOptions.
func New(client *kms.KeyManagementClient, key string) (*Provider, error) {
	if client == nil {
		return nil, fmt.Errorf("gcpkms: %w: no client given", ErrOptions)
	}
	if !keyName.MatchString(key) || !kmsprovider.ValidID(key) {
		return nil, fmt.Errorf("gcpkms: %w: %.200q is not the name of a key (projects/*/locations/*/keyRings/*/cryptoKeys/*, without a version)", ErrOptions, key)
	}
	if client.CallOptions != nil && connection(client) == nil { // nil: the zero client, which can't call
		return nil, fmt.Errorf("gcpkms: %w: the client calls over HTTP, where answers have no bound and errors no code; take one of kms.NewKeyManagementClient", ErrOptions)
	}
	return &Provider{id: key, client: func() kmspb.KeyManagementServiceClient {
		return kmspb.NewKeyManagementServiceClient(connection(client))
	}}, nil
}

// connection returns a connection of client's pool; nil: it has none, but HTTP. Calls
// are made on it and not with the methods of client, which log keys when the program,
// or GOOGLE_SDK_GO_LOGGING_LEVEL, has them log.
func connection(client *kms.KeyManagementClient) *grpc.ClientConn {
	//lint:ignore SA1019 each call may get another connection of the pool, as it should
	return client.Connection()
}

// ID returns the key's resource name.
func (p *Provider) ID() string { return p.id }

// Wrap calls Encrypt. Cloud KMS takes 64 KiB, keys in an HSM 8 KiB.
//
// Errors: those of [kmsprovider.Provider]; ctx's own; the service's, as
// *apierror.APIError.
func (p *Provider) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	aad := kc.AAD()
	out, err := call(ctx, p, p.client().Encrypt, &kmspb.EncryptRequest{
		Name:      p.id,
		Plaintext: secret, PlaintextCrc32C: sum(secret),
		AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: sum(aad),
	}, nil)
	switch {
	case err != nil:
		return nil, err
	case !strings.HasPrefix(out.Name, p.id+"/cryptoKeyVersions/"):
		return nil, fmt.Errorf("gcpkms: %s: %w: it is by the key %.200q", p.id, kmsprovider.ErrWrongAnswer, out.Name)
	case !out.VerifiedPlaintextCrc32C || !out.VerifiedAdditionalAuthenticatedDataCrc32C:
		return nil, p.damaged("the service has not verified the checksums of the request")
	case len(out.Ciphertext) == 0 || !fits(out.Ciphertext, out.CiphertextCrc32C):
		return nil, p.damaged("the ciphertext does not fit its checksum")
	}
	return out.Ciphertext, nil
}

// Unwrap calls Decrypt.
//
// Errors: those of [kmsprovider.Provider]; ctx's own; the service's, as
// *apierror.APIError.
func (p *Provider) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(wrapped) == 0 || len(wrapped) > maxBlob {
		return nil, fmt.Errorf("gcpkms: %s: %w: it has %d bytes", p.id, kmsprovider.ErrRejected, len(wrapped))
	}
	aad := kc.AAD()
	out, err := call(ctx, p, p.client().Decrypt, &kmspb.DecryptRequest{
		Name:       p.id,
		Ciphertext: wrapped, CiphertextCrc32C: sum(wrapped),
		AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: sum(aad),
	}, kmsprovider.ErrRejected)
	if err != nil {
		return nil, err
	}
	if !fits(out.Plaintext, out.PlaintextCrc32C) {
		clear(out.Plaintext)
		return nil, p.damaged("the plaintext does not fit its checksum")
	}
	return out.Plaintext, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, castagnoli)))
}

// fits reports whether data has the checksum want. An answer without one doesn't.
func fits(data []byte, want *wrapperspb.Int64Value) bool {
	return want != nil && want.Value == sum(data).Value
}

func (p *Provider) damaged(what string) error {
	return fmt.Errorf("gcpkms: %s: %w: %s", p.id, kmsprovider.ErrUnavailable, what)
}

// call makes one attempt, and bounds its answer. invalid is for an argument that the
// service finds invalid.
func call[I, O any](ctx context.Context, p *Provider, method func(context.Context, I, ...grpc.CallOption) (O, error), in I, invalid error) (O, error) {
	callCtx, cancel := ctx, context.CancelFunc(func() {})
	if _, ok := ctx.Deadline(); !ok {
		callCtx, cancel = context.WithTimeout(ctx, patience)
	}
	defer cancel()
	var head, end metadata.MD
	out, err := method(metadata.AppendToOutgoingContext(callCtx, "x-goog-request-params", "name="+url.QueryEscape(p.id)), in,
		grpc.MaxCallRecvMsgSize(maxAnswer), grpc.Header(&head), grpc.Trailer(&end))
	if err == nil {
		return out, nil
	}
	// gRPC makes a status of everything: of a credential that gets no token
	// Unauthenticated, of a proxy's page PermissionDenied. The service's own comes with
	// gRPC's content type.
	class := kmsprovider.ErrUnavailable
	if len(head["content-type"]) > 0 || len(end["content-type"]) > 0 {
		class = classify(err, invalid)
	}
	if api, ok := apierror.FromError(err); ok {
		err = api
	}
	switch {
	case ctx.Err() != nil && (class == nil || class == kmsprovider.ErrUnavailable):
		class = ctx.Err()
	case class == nil:
		return out, fmt.Errorf("gcpkms: %s: %w", p.id, said{err})
	}
	return out, fmt.Errorf("gcpkms: %s: %w: %w", p.id, class, said{err})
}

// said is an error with text of the service's, or of what stands in its place. That may
// be anything.
type said struct{ error }

func (e said) Error() string { return fmt.Sprintf("%.500q", e.error.Error()) }
func (e said) Unwrap() error { return e.error }

// classify says what the service's answer means: nil for what is no class.
func classify(err, invalid error) error {
	s, _ := status.FromError(err)
	switch s.Code() {
	case codes.InvalidArgument:
		if strings.Contains(s.Message(), "_crc32c did not match") {
			return kmsprovider.ErrUnavailable // damaged on its way there
		}
		return invalid
	case codes.NotFound:
		return kmsprovider.ErrNotFound
	case codes.PermissionDenied, codes.Unauthenticated:
		return kmsprovider.ErrDenied
	case codes.FailedPrecondition: // the version is disabled, destroyed, or will be
		return kmsprovider.ErrDisabled
	case codes.ResourceExhausted:
		if strings.Contains(s.Message(), "received message larger than max") {
			return kmsprovider.ErrUnavailable // says our side
		}
		return kmsprovider.ErrThrottled
	case codes.OutOfRange, codes.AlreadyExists:
		return nil
	}
	return kmsprovider.ErrUnavailable
}

// String returns the type and the ID.
func (p *Provider) String() string { return "gcpkms.Provider(" + p.id + ")" }

// GoString is String.
func (p *Provider) GoString() string { return p.String() }
