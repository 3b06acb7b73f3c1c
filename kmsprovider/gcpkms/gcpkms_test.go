package gcpkms_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/gcpkms"
	"github.com/structseal/structseal/kmsprovider/gcpkms/fakegcp"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

const (
	ring   = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/"
	keyOne = ring + "one"
	keyTwo = ring + "two"
)

// serve puts a proxy in front of a fake: gRPC is HTTP/2.
func serve(t *testing.T) (*fakegcp.KMS, *kmstest.Proxy) {
	t.Helper()
	fake := fakegcp.New(keyOne, keyTwo)
	return fake, kmstest.NewProxy(t, fake.Server())
}

// open returns a provider on the fake, with a client of its own.
func open(t *testing.T, proxy *kmstest.Proxy, key string) *gcpkms.Provider {
	t.Helper()
	client, err := kms.NewKeyManagementClient(t.Context(),
		option.WithEndpoint(proxy.Addr()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewTLS(proxy.TLS()))),
		// So that a test needn't wait for a second after each mode.
		option.WithGRPCDialOption(grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond}, MinConnectTimeout: 5 * time.Second,
		})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	p, err := gcpkms.New(client, key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func isServiceError(err error) bool {
	var api *apierror.APIError
	return errors.As(err, &api) && api.GRPCStatus().Code() != codes.OK
}

func TestProvider(t *testing.T) {
	fake, proxy := serve(t)
	opts := append(fake.Faults(), proxy.Faults(), kmstest.ServiceError(isServiceError),
		kmstest.Lacks("answers of Decrypt name no key; TestWrongAnswers has those of Encrypt", kmstest.WrongKeyID))
	kmstest.Run(t,
		func(t *testing.T) kmsprovider.Provider { return open(t, proxy, keyOne) },
		func(t *testing.T) kmsprovider.Provider { return open(t, proxy, keyTwo) },
		opts...)
}

// TestRealAccount runs the suite on real keys: STRUCTSEAL_GCPKMS_KEYS has the names of
// two symmetric keys, separated by a space. Credentials are the application's default
// ones. About 2,500 calls are made.
func TestRealAccount(t *testing.T) {
	keys := strings.Fields(os.Getenv("STRUCTSEAL_GCPKMS_KEYS"))
	if len(keys) != 2 {
		t.Skip("set STRUCTSEAL_GCPKMS_KEYS to the names of two keys to test on an account of Google Cloud")
	}
	open := func(key string) func(*testing.T) kmsprovider.Provider {
		return func(t *testing.T) kmsprovider.Provider {
			client, err := kms.NewKeyManagementClient(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			p, err := gcpkms.New(client, key)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	kmstest.Run(t, open(keys[0]), open(keys[1]), kmstest.ServiceError(isServiceError),
		kmstest.Lacks("a real account", kmstest.Modes()...))
}

// Every checksum of an answer counts, also one that isn't there.
func TestWrongAnswers(t *testing.T) {
	fake, proxy := serve(t)
	p := open(t, proxy, keyOne)
	kc := kmsprovider.Context{"structseal-ring": "app"}
	for what, c := range map[string]struct {
		change func(*kmspb.EncryptRequest, *kmspb.EncryptResponse)
		want   error
	}{
		"no checksum":        {func(_ *kmspb.EncryptRequest, out *kmspb.EncryptResponse) { out.CiphertextCrc32C = nil }, kmsprovider.ErrUnavailable},
		"damaged ciphertext": {func(_ *kmspb.EncryptRequest, out *kmspb.EncryptResponse) { out.Ciphertext[3] ^= 1 }, kmsprovider.ErrUnavailable},
		"no ciphertext": {func(_ *kmspb.EncryptRequest, out *kmspb.EncryptResponse) {
			out.Ciphertext, out.CiphertextCrc32C = nil, fakegcp.Checksum(nil)
		}, kmsprovider.ErrUnavailable},
		"plaintext not verified": {func(_ *kmspb.EncryptRequest, out *kmspb.EncryptResponse) { out.VerifiedPlaintextCrc32C = false }, kmsprovider.ErrUnavailable},
		"context not verified": {func(_ *kmspb.EncryptRequest, out *kmspb.EncryptResponse) {
			out.VerifiedAdditionalAuthenticatedDataCrc32C = false
		}, kmsprovider.ErrUnavailable},
		"another key":                {func(_ *kmspb.EncryptRequest, out *kmspb.EncryptResponse) { out.Name = keyTwo + "/cryptoKeyVersions/1" }, kmsprovider.ErrWrongAnswer},
		"a key whose name is longer": {func(_ *kmspb.EncryptRequest, out *kmspb.EncryptResponse) { out.Name = keyOne + "2/cryptoKeyVersions/1" }, kmsprovider.ErrWrongAnswer},
		"no key":                     {func(_ *kmspb.EncryptRequest, out *kmspb.EncryptResponse) { out.Name = "" }, kmsprovider.ErrWrongAnswer},
	} {
		fake.OnEncrypt = c.change
		if out, err := p.Wrap(t.Context(), []byte("a key"), kc); !errors.Is(err, c.want) || out != nil {
			t.Errorf("Encrypt, %s: %v, want %q", what, err, c.want)
		}
	}
	fake.OnEncrypt = nil
	wrapped, err := p.Wrap(t.Context(), []byte("a key"), kc)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*kmspb.DecryptRequest, *kmspb.DecryptResponse){
		"no checksum":       func(_ *kmspb.DecryptRequest, out *kmspb.DecryptResponse) { out.PlaintextCrc32C = nil },
		"damaged plaintext": func(_ *kmspb.DecryptRequest, out *kmspb.DecryptResponse) { out.Plaintext[0] ^= 1 },
		// gRPC calls this ResourceExhausted, as a quota.
		"2 MiB": func(_ *kmspb.DecryptRequest, out *kmspb.DecryptResponse) {
			out.Plaintext = make([]byte, 2<<20)
			out.PlaintextCrc32C = fakegcp.Checksum(out.Plaintext)
		},
	} {
		fake.OnDecrypt = change
		if out, err := p.Unwrap(t.Context(), wrapped, kc); !errors.Is(err, kmsprovider.ErrUnavailable) || errors.Is(err, kmsprovider.ErrThrottled) || out != nil {
			t.Errorf("Decrypt, %s: %v, want %q", what, err, kmsprovider.ErrUnavailable)
		}
	}
}

// Every request carries the checksums of all that it has.
func TestRequests(t *testing.T) {
	fake, proxy := serve(t)
	kc := kmsprovider.Context{"structseal-ring": "app"}
	fake.OnEncrypt = func(in *kmspb.EncryptRequest, _ *kmspb.EncryptResponse) {
		if in.Name != keyOne || in.PlaintextCrc32C == nil || in.AdditionalAuthenticatedDataCrc32C == nil || string(in.AdditionalAuthenticatedData) != string(kc.AAD()) {
			t.Errorf("Encrypt of %v", in)
		}
	}
	fake.OnDecrypt = func(in *kmspb.DecryptRequest, _ *kmspb.DecryptResponse) {
		if in.Name != keyOne || in.CiphertextCrc32C == nil || in.AdditionalAuthenticatedDataCrc32C == nil || string(in.AdditionalAuthenticatedData) != string(kc.AAD()) {
			t.Errorf("Decrypt of %v", in)
		}
	}
	p := open(t, proxy, keyOne)
	wrapped, err := p.Wrap(t.Context(), []byte("a key"), kc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Unwrap(t.Context(), wrapped, kc); err != nil {
		t.Fatal(err)
	}
	if fake.Calls() != 2 {
		t.Errorf("%d calls, want 2", fake.Calls())
	}
	// The client library would repeat this one until the context ends.
	fake.Fail(status.Error(codes.Unavailable, "The service is currently unavailable."))
	if _, err := p.Unwrap(t.Context(), wrapped, kc); !errors.Is(err, kmsprovider.ErrUnavailable) || fake.Calls() != 1 {
		t.Errorf("%v after %d attempts, want one", err, fake.Calls())
	}
}

func TestErrors(t *testing.T) {
	fake, proxy := serve(t)
	p := open(t, proxy, keyOne)
	wrapped, err := p.Wrap(t.Context(), []byte("a key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code    codes.Code
		message string
		want    error // nil: no class, and final
	}{
		{codes.InvalidArgument, "Decryption failed: the ciphertext is invalid.", kmsprovider.ErrRejected},
		{codes.InvalidArgument, "The checksum in field ciphertext_crc32c did not match the data in field ciphertext.", kmsprovider.ErrUnavailable},
		{codes.Unauthenticated, "Request had invalid authentication credentials.", kmsprovider.ErrDenied},
		{codes.Aborted, "", kmsprovider.ErrUnavailable},
		{codes.DeadlineExceeded, "", kmsprovider.ErrUnavailable},
		{codes.Canceled, "by the server", kmsprovider.ErrUnavailable},
		{codes.Unknown, "", kmsprovider.ErrUnavailable},
		{codes.Unimplemented, "a proxy's 404", kmsprovider.ErrUnavailable},
		{codes.OutOfRange, "", nil},
	} {
		fake.Fail(status.Error(c.code, c.message))
		_, err := p.Unwrap(t.Context(), wrapped, nil)
		switch {
		case err == nil:
			t.Errorf("%v: no error", c.code)
		case c.want != nil && !errors.Is(err, c.want):
			t.Errorf("%v: %v, want %q", c.code, err, c.want)
		case kmsprovider.Retryable(err) != kmsprovider.Retryable(c.want):
			t.Errorf("%v: Retryable(%v) = %v", c.code, err, kmsprovider.Retryable(err))
		}
	}
	fake.Set("")
	if _, err := p.Wrap(t.Context(), make([]byte, 65<<10), nil); err == nil || kmsprovider.Retryable(err) || errors.Is(err, kmsprovider.ErrRejected) {
		t.Errorf("Wrap of 65 KiB: %v", err)
	}
}

func TestNew(t *testing.T) {
	client, err := kms.NewKeyManagementClient(context.Background(), option.WithoutAuthentication(), option.WithEndpoint("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, key := range []string{
		"", "one", "gcp-kms://" + keyOne, keyOne + "/cryptoKeyVersions/1", ring, strings.TrimPrefix(keyOne, "projects/"), keyOne + " ", keyOne + "\n", "/" + keyOne,
	} {
		if _, err := gcpkms.New(client, key); !errors.Is(err, gcpkms.ErrOptions) {
			t.Errorf("New of %q: %v, want ErrOptions", key, err)
		}
	}
	if _, err := gcpkms.New(nil, keyOne); !errors.Is(err, gcpkms.ErrOptions) {
		t.Errorf("New without a client: %v", err)
	}
}
