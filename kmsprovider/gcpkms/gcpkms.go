package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/structseal/structseal/kmsprovider"
)

// ErrOptions: no client given, or what is no name of a key.
var ErrOptions = errors.New("invalid option")

const (
	maxAnswer = 1 << 20       // bytes of an answer
	maxBlob   = 64<<10 + 1024 // bytes of a ciphertext: of 64 KiB, and what comes on top
)

var keyName = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`)

// A Provider wraps keys with a key of Cloud KMS. It is safe for concurrent use.
type Provider struct {
	id string
	// A closure, so that printers that walk unexported fields by reflection don't
	// get at the credentials.
	client func() *kms.KeyManagementClient
}

var _ kmsprovider.Provider = (*Provider)(nil)

// New returns a provider over the key with a resource name. It makes no call. The
// client is the caller's, who closes it.
//
// Errors: ErrOptions.
func New(client *kms.KeyManagementClient, key string) (*Provider, error) {
	if client == nil {
		return nil, fmt.Errorf("gcpkms: %w: no client given", ErrOptions)
	}
	if !keyName.MatchString(key) || !kmsprovider.ValidID(key) {
		return nil, fmt.Errorf("gcpkms: %w: %.200q is not the name of a key (projects/*/locations/*/keyRings/*/cryptoKeys/*, without a version)", ErrOptions, key)
	}
	return &Provider{id: key, client: func() *kms.KeyManagementClient { return client }}, nil
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
	out, err := p.client().Encrypt(ctx, &kmspb.EncryptRequest{
		Name:      p.id,
		Plaintext: secret, PlaintextCrc32C: sum(secret),
		AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: sum(aad),
	}, once...)
	switch {
	case err != nil:
		return nil, p.error(ctx, err, nil)
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
	out, err := p.client().Decrypt(ctx, &kmspb.DecryptRequest{
		Name:       p.id,
		Ciphertext: wrapped, CiphertextCrc32C: sum(wrapped),
		AdditionalAuthenticatedData: aad, AdditionalAuthenticatedDataCrc32C: sum(aad),
	}, once...)
	if err != nil {
		return nil, p.error(ctx, err, kmsprovider.ErrRejected)
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

// once makes one attempt, and bounds its answer.
var once = []gax.CallOption{
	gax.WithRetry(func() gax.Retryer { return nil }),
	gax.WithGRPCOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
}

// error says what err means. invalid is for an argument that the service finds
// invalid.
func (p *Provider) error(ctx context.Context, err, invalid error) error {
	class := classify(err, invalid)
	switch {
	case ctx.Err() != nil && (class == nil || class == kmsprovider.ErrUnavailable):
		class = ctx.Err()
	case class == nil:
		return fmt.Errorf("gcpkms: %s: %w", p.id, err)
	}
	return fmt.Errorf("gcpkms: %s: %w: %w", p.id, class, err)
}

func classify(err, invalid error) error {
	s, ok := status.FromError(err)
	if !ok {
		return kmsprovider.ErrUnavailable // the credentials can't be had now
	}
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
