package fakegcp

import (
	"context"
	"hash/crc32"
	"maps"
	"slices"
	"sync"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// A KMS is a fake of Cloud KMS with some keys. It is safe for concurrent use.
type KMS struct {
	kmspb.UnimplementedKeyManagementServiceServer

	// OnEncrypt and OnDecrypt may look at what was asked and change what is answered.
	// Set them while no call is under way.
	OnEncrypt func(*kmspb.EncryptRequest, *kmspb.EncryptResponse)
	OnDecrypt func(*kmspb.DecryptRequest, *kmspb.DecryptResponse)

	mu    sync.Mutex
	keys  map[string]*localkms.Provider
	mode  kmstest.Mode
	error error // answered to every call
	calls int
}

// New returns a fake with a key for each resource name
// (projects/*/locations/*/keyRings/*/cryptoKeys/*).
func New(names ...string) *KMS {
	k := &KMS{keys: make(map[string]*localkms.Provider)}
	for _, name := range names {
		k.AddKey(name)
	}
	return k
}

// AddKey makes a key, or replaces it by another one.
func (k *KMS) AddKey(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[name] = localkms.NewRandom()
}

// DeleteKey makes a key not found, for good. In Cloud KMS that happens to keys whose
// project is gone: single keys stay, and their versions are destroyed.
func (k *KMS) DeleteKey(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, name)
}

// Server returns a server of gRPC, which is a handler of HTTP/2, too.
func (k *KMS) Server() *grpc.Server {
	server := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(server, k)
	return server
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

// Set makes every call be answered as in the mode; "" and modes that the fake doesn't
// know are sound. It also sets Calls to 0.
func (k *KMS) Set(m kmstest.Mode) { k.set(m, nil) }

// Fail makes every call be answered with this error, until Set is called. It also sets
// Calls to 0.
func (k *KMS) Fail(err error) { k.set("", err) }

func (k *KMS) set(m kmstest.Mode, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mode, k.error, k.calls = m, err, 0
}

// Faults are the modes that the fake knows, for [kmstest.Run].
func (k *KMS) Faults() []kmstest.Option {
	return kmstest.Faults(k.Set, slices.AppendSeq([]kmstest.Mode{
		kmstest.WrongChecksum, kmstest.OtherBytes, kmstest.ZeroBytes, kmstest.Length0, kmstest.Length16, kmstest.Length31, kmstest.Length33,
	}, maps.Keys(documented))...)
}

// Calls counts the calls since New, Set or Fail.
func (k *KMS) Calls() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls
}

// next notes a call and returns how it is to be answered, and with which key.
func (k *KMS) next(name, call string) (kmstest.Mode, *localkms.Provider, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	switch answer, key := documented[k.mode], k.keys[name]; {
	case answer != nil:
		return k.mode, nil, answer(name, call)
	case k.error != nil:
		return k.mode, nil, k.error
	case key == nil:
		return k.mode, nil, documented[kmstest.NotFound](name, call)
	default:
		return k.mode, key, nil
	}
}

// Checksum is the CRC32C of data, as requests and answers have it.
func Checksum(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))))
}

// verify is what the service does with the checksums of a request.
func verify(field string, data []byte, sum *wrapperspb.Int64Value) (verified bool, err error) {
	if sum != nil && sum.Value != Checksum(data).Value {
		return false, status.Errorf(codes.InvalidArgument, "The checksum in field %s_crc32c did not match the data in field %s.", field, field)
	}
	return sum != nil, nil
}

// Encrypt is the call of that name. It verifies the checksums that it is given.
func (k *KMS) Encrypt(ctx context.Context, in *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	mode, key, err := k.next(in.Name, "Encrypt")
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
	sealed, err := key.Wrap(ctx, in.Plaintext, kmsprovider.Context{"aad": string(in.AdditionalAuthenticatedData)})
	if err != nil {
		return nil, err
	}
	out := &kmspb.EncryptResponse{
		Name: in.Name + "/cryptoKeyVersions/1", Ciphertext: sealed, CiphertextCrc32C: Checksum(sealed),
		VerifiedPlaintextCrc32C: verified, VerifiedAdditionalAuthenticatedDataCrc32C: verifiedAAD,
	}
	if mode == kmstest.WrongChecksum {
		out.CiphertextCrc32C.Value++
	}
	if k.OnEncrypt != nil {
		k.OnEncrypt(in, out)
	}
	return out, nil
}

// Decrypt is the call of that name. It verifies the checksums that it is given.
func (k *KMS) Decrypt(ctx context.Context, in *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	mode, key, err := k.next(in.Name, "Decrypt")
	if err != nil {
		return nil, err
	}
	if _, err := verify("ciphertext", in.Ciphertext, in.CiphertextCrc32C); err != nil {
		return nil, err
	}
	if _, err := verify("additional_authenticated_data", in.AdditionalAuthenticatedData, in.AdditionalAuthenticatedDataCrc32C); err != nil {
		return nil, err
	}
	plaintext, err := key.Unwrap(ctx, in.Ciphertext, kmsprovider.Context{"aad": string(in.AdditionalAuthenticatedData)})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "Decryption failed: verify that 'name' refers to the correct CryptoKey.")
	}
	plaintext = mode.Lie(plaintext)
	out := &kmspb.DecryptResponse{Plaintext: plaintext, PlaintextCrc32C: Checksum(plaintext), UsedPrimary: true}
	if mode == kmstest.WrongChecksum {
		out.PlaintextCrc32C.Value++
	}
	if k.OnDecrypt != nil {
		k.OnDecrypt(in, out)
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
