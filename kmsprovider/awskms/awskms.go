package awskms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/structseal/structseal/kmsprovider"
)

// ErrOptions: no client given, or what is no ARN of a key.
var ErrOptions = errors.New("invalid option")

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// GrantTokens let a grant be used that was made just now and hasn't reached
	// every part of AWS yet. Default: none.
	GrantTokens []string
}

const (
	maxAnswer = 1 << 20 // bytes of an answer; real ones have less than 10 KB
	maxBlob   = 6144    // bytes that Decrypt takes
)

// A Provider wraps keys with a key of AWS KMS. It is safe for concurrent use.
type Provider struct {
	id     string
	arn    string
	grants []string
	// A closure, so that printers that walk unexported fields by reflection don't
	// get at the credentials.
	client func() *kms.Client
}

var _ kmsprovider.Provider = (*Provider)(nil)

// New returns a provider over the key with an ARN. It makes no call. Region,
// credentials and endpoint are the client's.
//
// Errors: ErrOptions.
func New(client *kms.Client, keyARN string, opts *Options) (*Provider, error) {
	if client == nil {
		return nil, fmt.Errorf("awskms: %w: no client given", ErrOptions)
	}
	id, ok := identity(keyARN)
	if !ok {
		return nil, fmt.Errorf("awskms: %w: %.200q is not the ARN of a key (arn:aws:kms:REGION:ACCOUNT:key/ID); aliases can be pointed elsewhere, so they don't do", ErrOptions, keyARN)
	}
	if region := client.Options().Region; region != "" && !strings.Contains(keyARN, ":kms:"+region+":") {
		return nil, fmt.Errorf("awskms: %w: the client calls %s, and the key is %s; use a client of the key's Region, or the replica of a multi-Region key there", ErrOptions, region, keyARN)
	}
	p := &Provider{id: id, arn: keyARN, client: func() *kms.Client { return client }}
	if opts != nil {
		p.grants = slices.Clone(opts.GrantTokens)
	}
	return p, nil
}

// identity returns what names a KEK for as long as it exists: the ARN of a key,
// without the Region where it has replicas in others.
func identity(keyARN string) (id string, ok bool) {
	a, err := arn.Parse(keyARN)
	name, found := strings.CutPrefix(a.Resource, "key/")
	if err != nil || !found || name == "" || a.Service != "kms" || a.Region == "" || a.AccountID == "" || !kmsprovider.ValidID(keyARN) {
		return "", false
	}
	if strings.HasPrefix(name, "mrk-") {
		a.Region = ""
	}
	return a.String(), true
}

// ID returns the key's ARN; that of a multi-Region key is without the Region.
func (p *Provider) ID() string { return p.id }

// Wrap calls Encrypt with kc as encryption context. AWS takes 1 to 4,096 bytes.
// Errors wrap the SDK's *smithy.OperationError.
func (p *Provider) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var answered bool
	out, err := p.client().Encrypt(ctx, &kms.EncryptInput{
		KeyId: &p.arn, Plaintext: secret, EncryptionContext: kc, GrantTokens: p.grants,
	}, once(&answered))
	if err != nil {
		return nil, p.error(ctx, err, answered, nil)
	}
	if err := p.byKey(ctx, out.KeyId); err != nil {
		return nil, err
	}
	if len(out.CiphertextBlob) == 0 {
		return nil, fmt.Errorf("awskms: %s: %w: the answer has no ciphertext", p.arn, kmsprovider.ErrUnavailable)
	}
	return out.CiphertextBlob, nil
}

// Unwrap calls Decrypt with kc as encryption context. Errors wrap the SDK's
// *smithy.OperationError.
func (p *Provider) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(wrapped) == 0 || len(wrapped) > maxBlob {
		return nil, fmt.Errorf("awskms: %s: %w: it has %d bytes", p.arn, kmsprovider.ErrRejected, len(wrapped))
	}
	var answered bool
	out, err := p.client().Decrypt(ctx, &kms.DecryptInput{
		KeyId: &p.arn, CiphertextBlob: wrapped, EncryptionContext: kc, GrantTokens: p.grants,
	}, once(&answered))
	if err != nil {
		return nil, p.error(ctx, err, answered, kmsprovider.ErrRejected)
	}
	if err := p.byKey(ctx, out.KeyId); err != nil {
		clear(out.Plaintext)
		return nil, err
	}
	return out.Plaintext, nil
}

var errNoAnswer = errors.New("an answer without the key's ARN")

// byKey checks by which key an answer is.
func (p *Provider) byKey(ctx context.Context, keyARN *string) error {
	if keyARN == nil {
		// The SDK takes an empty body for an answer: a connection that was cut.
		return p.error(ctx, errNoAnswer, true, nil)
	}
	if id, ok := identity(aws.ToString(keyARN)); !ok || id != p.id {
		return fmt.Errorf("awskms: %s: %w: it is by the key %.200q", p.arn, kmsprovider.ErrWrongAnswer, aws.ToString(keyARN))
	}
	return nil
}

// once makes one attempt, bounds its answer, and notes whether there was one. Bodies
// hold keys: a client that logs them logs everything but those of these calls.
func once(answered *bool) func(*kms.Options) {
	return func(o *kms.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = bounded{o.HTTPClient, answered}
		o.ClientLogMode &^= aws.LogRequestWithBody | aws.LogResponseWithBody
	}
}

// bounded is an HTTP client that returns when it has all of an answer, up to
// maxAnswer. (The SDK closes the request's body when the client returns. If the
// transport hasn't noticed the body's end by then, it drops the connection, with the
// rest of the answer in it.)
type bounded struct {
	kms.HTTPClient
	answered *bool
}

func (b bounded) Do(r *http.Request) (*http.Response, error) {
	resp, err := b.HTTPClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	*b.answered = true
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// String returns the type and the ID.
func (p *Provider) String() string { return "awskms.Provider(" + p.id + ")" }

// GoString is String.
func (p *Provider) GoString() string { return p.String() }
