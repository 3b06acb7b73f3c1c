package gcpkms_test

import (
	"context"
	"hash/crc32"
	"sync"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

const (
	ring   = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/"
	keyOne = ring + "one"
	keyTwo = ring + "two"
)

// fakeKMS is a fake of Google Cloud KMS: Encrypt and Decrypt over gRPC, as the real
// client calls them, for keys with real cryptography in them. It asks for no
// credentials. What it answers when something is wrong is what Cloud KMS documents.
type fakeKMS struct {
	kmspb.UnimplementedKeyManagementServiceServer
	keys map[string]*localkms.Provider

	mu    sync.Mutex
	mode  kmstest.Mode
	error error // answered to every call
	calls int
	// change changes what is answered, or what was asked.
	onEncrypt func(*kmspb.EncryptRequest, *kmspb.EncryptResponse)
	onDecrypt func(*kmspb.DecryptRequest, *kmspb.DecryptResponse)
}

func newFakeKMS() *fakeKMS {
	return &fakeKMS{keys: map[string]*localkms.Provider{keyOne: localkms.NewRandom(), keyTwo: localkms.NewRandom()}}
}

// documented are the errors of Cloud KMS.
var documented = map[kmstest.Mode]func(key, call string) error{
	kmstest.NotFound: func(key, _ string) error {
		return status.Errorf(codes.NotFound, "CryptoKey %s not found.", key)
	},
	kmstest.Denied: func(key, call string) error {
		return withDetails(codes.PermissionDenied, "Permission 'cloudkms.cryptoKeyVersions.useTo"+call+"' denied on resource '"+key+"' (or it may not exist).",
			&errdetails.ErrorInfo{Reason: "IAM_PERMISSION_DENIED", Domain: "cloudkms.googleapis.com"})
	},
	kmstest.Disabled: func(key, _ string) error {
		return notEnabled(key, "DISABLED", "KEY_DISABLED")
	},
	kmstest.PendingDeletion: func(key, _ string) error {
		return notEnabled(key, "DESTROY_SCHEDULED", "KEY_DESTROY_SCHEDULED")
	},
	kmstest.Unavailable: func(string, string) error {
		return status.Error(codes.Internal, "Internal error encountered.")
	},
	kmstest.Throttled: func(string, string) error {
		return withDetails(codes.ResourceExhausted, "Quota exceeded for quota metric 'Cryptographic requests' and limit 'Cryptographic requests per minute' of service 'cloudkms.googleapis.com' for consumer 'project_number:1'.",
			&errdetails.ErrorInfo{Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com"})
	},
}

func notEnabled(key, state, violation string) error {
	version := key + "/cryptoKeyVersions/1"
	return withDetails(codes.FailedPrecondition, version+" is not enabled, current state is: "+state+".",
		&errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{Type: violation, Subject: version}}})
}

func (f *fakeKMS) fault(m kmstest.Mode) kmstest.Option {
	return kmstest.Fault(m, func(*testing.T) func() {
		f.set(m, nil)
		return func() { f.set("", nil) }
	})
}

func (f *fakeKMS) set(m kmstest.Mode, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode, f.error, f.calls = m, err, 0
}

// state notes a call and returns what it is to be answered with.
func (f *fakeKMS) state(key, call string) (kmstest.Mode, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if answer := documented[f.mode]; answer != nil {
		return f.mode, answer(key, call)
	}
	return f.mode, f.error
}

func (f *fakeKMS) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func crc(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))))
}

// verify is what the service does with the checksums of a request.
func verify(field string, data []byte, sum *wrapperspb.Int64Value) (verified bool, err error) {
	if sum != nil && sum.Value != crc(data).Value {
		return false, status.Errorf(codes.InvalidArgument, "The checksum in field %s_crc32c did not match the data in field %s.", field, field)
	}
	return sum != nil, nil
}

func (f *fakeKMS) Encrypt(ctx context.Context, in *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	mode, err := f.state(in.Name, "Encrypt")
	if err != nil {
		return nil, err
	}
	verified, err := verify("plaintext", in.Plaintext, in.PlaintextCrc32C)
	if err != nil {
		return nil, err
	}
	verifiedAAD, err := verify("additional_authenticated_data", in.AdditionalAuthenticatedData, in.AdditionalAuthenticatedDataCrc32C)
	if err != nil {
		return nil, err
	}
	if len(in.Plaintext) > 64<<10 {
		return nil, status.Error(codes.InvalidArgument, "plaintext is too long")
	}
	key := f.keys[in.Name]
	if key == nil {
		return nil, documented[kmstest.NotFound](in.Name, "")
	}
	sealed, err := key.Wrap(ctx, in.Plaintext, kmsprovider.Context{"aad": string(in.AdditionalAuthenticatedData)})
	if err != nil {
		return nil, err
	}
	out := &kmspb.EncryptResponse{
		Name: in.Name + "/cryptoKeyVersions/1", Ciphertext: sealed, CiphertextCrc32C: crc(sealed),
		VerifiedPlaintextCrc32C: verified, VerifiedAdditionalAuthenticatedDataCrc32C: verifiedAAD,
	}
	if mode == kmstest.WrongChecksum {
		out.CiphertextCrc32C.Value++
	}
	if f.onEncrypt != nil {
		f.onEncrypt(in, out)
	}
	return out, nil
}

func (f *fakeKMS) Decrypt(ctx context.Context, in *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	mode, err := f.state(in.Name, "Decrypt")
	if err != nil {
		return nil, err
	}
	if _, err := verify("ciphertext", in.Ciphertext, in.CiphertextCrc32C); err != nil {
		return nil, err
	}
	if _, err := verify("additional_authenticated_data", in.AdditionalAuthenticatedData, in.AdditionalAuthenticatedDataCrc32C); err != nil {
		return nil, err
	}
	key := f.keys[in.Name]
	if key == nil {
		return nil, documented[kmstest.NotFound](in.Name, "")
	}
	plaintext, err := key.Unwrap(ctx, in.Ciphertext, kmsprovider.Context{"aad": string(in.AdditionalAuthenticatedData)})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "Decryption failed: verify that 'name' refers to the correct CryptoKey.")
	}
	plaintext = mode.Lie(plaintext)
	out := &kmspb.DecryptResponse{Plaintext: plaintext, PlaintextCrc32C: crc(plaintext), UsedPrimary: true}
	if mode == kmstest.WrongChecksum {
		out.PlaintextCrc32C.Value++
	}
	if f.onDecrypt != nil {
		f.onDecrypt(in, out)
	}
	return out, nil
}

func withDetails(code codes.Code, message string, detail protoadapt.MessageV1) error {
	s, err := status.New(code, message).WithDetails(detail)
	if err != nil {
		return err
	}
	return s.Err()
}
