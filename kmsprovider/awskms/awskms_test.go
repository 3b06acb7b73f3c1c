package awskms_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/awskms"
	"github.com/structseal/structseal/kmsprovider/awskms/fakeaws"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

const (
	account   = "111122223333"
	secretKey = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
	keyOne    = "arn:aws:kms:us-east-1:" + account + ":key/1234abcd-12ab-34cd-56ef-1234567890ab"
	keyTwo    = "arn:aws:kms:us-east-1:" + account + ":key/0987dcba-09fe-87dc-65ba-ab0987654321"
	replica   = ":" + account + ":key/mrk-1234abcd12ab34cd56ef1234567890ab"
)

func newFake() *fakeaws.KMS { return fakeaws.New(keyOne, keyTwo, replica) }

// open returns a provider on the fake, with a client of its own.
func open(t *testing.T, proxy *kmstest.Proxy, region, key string, opts *awskms.Options) *awskms.Provider {
	t.Helper()
	client := kms.New(kms.Options{
		Region: region, BaseEndpoint: &proxy.URL, HTTPClient: proxy.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", secretKey, ""),
	})
	p, err := awskms.New(client, key, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func isServiceError(err error) bool {
	var api smithy.APIError
	var op *smithy.OperationError
	return errors.As(err, &api) && errors.As(err, &op) && op.Service() == "KMS"
}

func TestProvider(t *testing.T) {
	fake := newFake()
	proxy := kmstest.NewProxy(t, fake)
	opts := append(fake.Faults(), proxy.Faults(), kmstest.Secrets(secretKey), kmstest.ServiceError(isServiceError),
		kmstest.Lacks("answers of AWS KMS have no checksum", kmstest.WrongChecksum))
	kmstest.Run(t,
		func(t *testing.T) kmsprovider.Provider { return open(t, proxy, "us-east-1", keyOne, nil) },
		func(t *testing.T) kmsprovider.Provider { return open(t, proxy, "us-east-1", keyTwo, nil) },
		opts...)
}

// TestRealAccount runs the suite on real keys: STRUCTSEAL_AWSKMS_KEYS has the ARNs of
// two symmetric keys of one Region, separated by a space. Credentials come by the
// SDK's default chain. About 2,500 calls are made.
func TestRealAccount(t *testing.T) {
	keys := strings.Fields(os.Getenv("STRUCTSEAL_AWSKMS_KEYS"))
	if len(keys) != 2 {
		t.Skip("set STRUCTSEAL_AWSKMS_KEYS to two ARNs to test on an account of AWS")
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Region = strings.Split(keys[0], ":")[3]
	open := func(key string) func(*testing.T) kmsprovider.Provider {
		return func(t *testing.T) kmsprovider.Provider {
			p, err := awskms.New(kms.NewFromConfig(cfg), key, nil)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	kmstest.Run(t, open(keys[0]), open(keys[1]), kmstest.ServiceError(isServiceError),
		kmstest.Lacks("a real account", kmstest.Modes()...))
}

// What goes over the wire: the key with every call, the readable context, and one
// attempt, whatever the client's own retries are.
func TestCalls(t *testing.T) {
	fake := newFake()
	p := open(t, kmstest.NewProxy(t, fake), "us-east-1", keyOne, &awskms.Options{GrantTokens: []string{"a grant"}})
	kc := kmsprovider.Context{"structseal-ring": "app", "structseal-key": "0a1b2c3d"}
	wrapped, err := p.Wrap(t.Context(), []byte("a key"), kc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Unwrap(t.Context(), wrapped, kc); err != nil {
		t.Fatal(err)
	}
	calls := fake.Calls()
	if len(calls) != 2 || calls[0].Op != "Encrypt" || calls[1].Op != "Decrypt" {
		t.Fatalf("calls %+v", calls)
	}
	for _, c := range calls {
		if c.KeyID != keyOne || c.Region != "us-east-1" || fmt.Sprint(c.GrantTokens) != "[a grant]" || fmt.Sprint(c.Context) != fmt.Sprint(map[string]string(kc)) {
			t.Errorf("call %+v", c)
		}
	}
	fake.Set(kmstest.Unavailable)
	if _, err := p.Unwrap(t.Context(), wrapped, kc); !errors.Is(err, kmsprovider.ErrUnavailable) {
		t.Error(err)
	}
	if n := len(fake.Calls()); n != 1 {
		t.Errorf("%d attempts of a call that fails, want 1", n)
	}
}

// The keys of a multi-Region key are one KEK.
func TestMultiRegionKey(t *testing.T) {
	proxy := kmstest.NewProxy(t, newFake())
	virginia := open(t, proxy, "us-east-1", "arn:aws:kms:us-east-1"+replica, nil)
	ireland := open(t, proxy, "eu-west-1", "arn:aws:kms:eu-west-1"+replica, nil)
	if virginia.ID() != "arn:aws:kms:"+replica || ireland.ID() != virginia.ID() {
		t.Fatalf("IDs %q and %q", virginia.ID(), ireland.ID())
	}
	store := keyring.NewMemoryStore()
	ring, pin, err := keyring.Create(t.Context(), "app", store, virginia, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	there, err := keyring.Open(t.Context(), "app", store, ireland, pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if _, err := there.Rotate(t.Context(), keyring.Data, nil); err != nil {
		t.Error(err)
	}
	if err := ring.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
}

// AWS's other error codes, as its API reference has them.
func TestErrors(t *testing.T) {
	fake := newFake()
	p := open(t, kmstest.NewProxy(t, fake), "us-east-1", keyOne, nil)
	wrapped, err := p.Wrap(t.Context(), []byte("a key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		body   string
		want   error // nil: no class, and final
	}{
		{400, `{"__type":"IncorrectKeyException"}`, kmsprovider.ErrRejected},
		{400, `{"__type":"com.amazonaws.kms#InvalidCiphertextException"}`, kmsprovider.ErrRejected},
		{400, `{"__type":"ValidationException","message":"1 validation error detected"}`, kmsprovider.ErrRejected},
		{400, `{"__type":"InvalidGrantTokenException"}`, kmsprovider.ErrDenied},
		{400, `{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}`, kmsprovider.ErrDenied},
		{403, `{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}`, kmsprovider.ErrDenied},
		{403, `{"__type":"InvalidSignatureException"}`, kmsprovider.ErrDenied},
		{503, `{"__type":"DependencyTimeoutException"}`, kmsprovider.ErrUnavailable},
		{500, `{"__type":"KeyUnavailableException"}`, kmsprovider.ErrUnavailable},
		{503, `{"__type":"ServiceUnavailable"}`, kmsprovider.ErrUnavailable},
		{503, ``, kmsprovider.ErrUnavailable},
		{500, `{}`, kmsprovider.ErrUnavailable},
		{400, `{"__type":"LimitExceededException"}`, kmsprovider.ErrThrottled},
		{429, `{"__type":"TooManyRequestsException"}`, kmsprovider.ErrThrottled},
		{400, `{"__type":"InvalidKeyUsageException","message":"key usage is SIGN_VERIFY"}`, nil},
	} {
		fake.Fail(c.status, c.body)
		_, err := p.Unwrap(t.Context(), wrapped, nil)
		switch {
		case err == nil:
			t.Errorf("%d %s: no error", c.status, c.body)
		case c.want != nil && !errors.Is(err, c.want):
			t.Errorf("%d %s: %v, want %q", c.status, c.body, err, c.want)
		case kmsprovider.Retryable(err) != kmsprovider.Retryable(c.want):
			t.Errorf("%d %s: Retryable(%v) = %v", c.status, c.body, err, kmsprovider.Retryable(err))
		}
	}
	fake.Set(kmstest.Disabled)
	_, err = p.Unwrap(t.Context(), wrapped, nil)
	var disabled *types.DisabledException
	if !errors.As(err, &disabled) {
		t.Errorf("the SDK's own type is not in %v", err)
	}
	for what, secret := range map[string][]byte{"no": nil, "too many": make([]byte, 4097)} {
		fake.Set("")
		if _, err := p.Wrap(t.Context(), secret, nil); err == nil || kmsprovider.Retryable(err) || errors.Is(err, kmsprovider.ErrRejected) {
			t.Errorf("Wrap of %s bytes: %v", what, err)
		}
	}
}

func TestNew(t *testing.T) {
	client := kms.New(kms.Options{Region: "us-east-1"})
	for _, key := range []string{
		"", "1234abcd-12ab-34cd-56ef-1234567890ab", "alias/app", "arn:aws:kms:us-east-1:111122223333:alias/app",
		"arn:aws:kms::111122223333:key/1234abcd", "arn:aws:kms:us-east-1::key/1234abcd", "arn:aws:kms:us-east-1:111122223333:key/",
		"arn:aws:s3:us-east-1:111122223333:key/1234abcd", keyOne + " ", keyOne + "\n",
		"arn:aws:kms:eu-west-1:111122223333:key/1234abcd", // the client calls another Region
	} {
		if _, err := awskms.New(client, key, nil); !errors.Is(err, awskms.ErrOptions) {
			t.Errorf("New of %q: %v, want ErrOptions", key, err)
		}
	}
	if _, err := awskms.New(nil, keyOne, nil); !errors.Is(err, awskms.ErrOptions) {
		t.Errorf("New without a client: %v", err)
	}
	for _, key := range []string{keyOne, "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"} {
		p, err := awskms.New(kms.New(kms.Options{Region: strings.Split(key, ":")[3]}), key, nil)
		if err != nil || p.ID() != key {
			t.Errorf("New of %q: %v", key, err)
		}
	}
}

// Without credentials the SDK asks nobody.
func TestNoCredentials(t *testing.T) {
	fake := newFake()
	proxy := kmstest.NewProxy(t, fake)
	client := kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: &proxy.URL, HTTPClient: proxy.Client(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("the instance's role can't be read now")
		}),
	})
	p, err := awskms.New(client, keyOne, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wrap(t.Context(), []byte("a key"), nil); !errors.Is(err, kmsprovider.ErrUnavailable) || len(fake.Calls()) != 0 {
		t.Errorf("error %v, %d calls", err, len(fake.Calls()))
	}
}
