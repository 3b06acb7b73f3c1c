package azurekms

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// ErrOptions: a key or an option that can't be used.
var ErrOptions = errors.New("invalid option")

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// Algorithm wraps: azkeys.EncryptionAlgorithmRSAOAEP256, the default, or
	// EncryptionAlgorithmA256KW for a symmetric key (oct-HSM) of a Managed HSM. Both
	// unwrap.
	Algorithm azkeys.EncryptionAlgorithm
	// Client is for another cloud, transport or telemetry. Its Retry isn't used.
	Client azkeys.ClientOptions
}

// algorithms are the first bytes of wraps, two bits apart.
var algorithms = map[byte]azkeys.EncryptionAlgorithm{
	1: azkeys.EncryptionAlgorithmRSAOAEP256,
	2: azkeys.EncryptionAlgorithmA256KW,
}

// A Provider wraps keys with one key of a vault. It is safe for concurrent use.
type Provider struct {
	host, name string
	algorithm  byte
	client     *azkeys.Client
}

var _ kmsprovider.Provider = (*Provider)(nil)

var keyURL = regexp.MustCompile(`^(?:https|azure-kv)://([\w-]+(?:\.[\w-]+)*(?::\d+)?)/keys/([\w-]{1,127})/?$`)

// New returns a provider for the key of the URL https://VAULT/keys/NAME, which may
// begin with azure-kv:// as well. It names no version: new wraps are made with the
// current one, and each is opened with its own. New calls nobody.
//
// Errors: ErrOptions.
func New(key string, credential azcore.TokenCredential, opts *Options) (*Provider, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	m := keyURL.FindStringSubmatch(key)
	if m == nil {
		return nil, fmt.Errorf("azurekms: %w: the key is not https://VAULT/keys/NAME, without a version", ErrOptions)
	}
	if credential == nil {
		return nil, fmt.Errorf("azurekms: %w: no credential given; azidentity has some", ErrOptions)
	}
	p := &Provider{host: strings.ToLower(m[1]), name: strings.ToLower(m[2])}
	o.Algorithm = cmp.Or(o.Algorithm, azkeys.EncryptionAlgorithmRSAOAEP256)
	for first, a := range algorithms {
		if a == o.Algorithm {
			p.algorithm = first
		}
	}
	if p.algorithm == 0 {
		return nil, fmt.Errorf("azurekms: %w: the algorithm is neither RSA-OAEP-256 nor A256KW", ErrOptions)
	}
	o.Client.Retry.MaxRetries = -1
	o.Client.Logging.IncludeBody = false // bodies hold keys
	o.Client.Transport = bounded(o.Client.Transport)
	var err error
	if p.client, err = azkeys.NewClient("https://"+p.host, credential, &o.Client); err != nil {
		return nil, fmt.Errorf("azurekms: %w: %w", ErrOptions, err)
	}
	return p, nil
}

// ID returns azure-kv://VAULT/keys/NAME in lower case: Azure's names have no case.
func (p *Provider) ID() string { return "azure-kv://" + p.host + "/keys/" + p.name }

const (
	keySize     = 32 // of the key that is used once
	versionSize = 32 // of a version's name
	headSize    = 1 + versionSize + 2
	maxWrapped  = 16 << 10
)

var errFormat = errors.New("it is not of this package")

var versionName = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Wrap seals secret for kc with a fresh key, which the current version of the key in
// Azure wraps. With an RSA key that works while it is disabled, too: Azure doesn't
// refuse what anybody can do with the public half.
//
// Errors: those of kmsprovider.Provider; *azcore.ResponseError where Azure has
// answered.
func (p *Provider) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) (wrapped []byte, err error) {
	defer p.recovered("wrap", &err)
	once := make([]byte, keySize)
	rand.Read(once)
	defer clear(once)
	key, err := crypto.NewKey(crypto.Default, 1, once)
	if err != nil {
		return nil, fmt.Errorf("azurekms: wrap with %s: %w", p.ID(), err)
	}
	defer key.Wipe()
	algorithm := algorithms[p.algorithm]
	out, err := p.client.WrapKey(ctx, p.name, "", azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: once}, nil)
	if err != nil {
		return nil, p.failed(ctx, "wrap", "", err)
	}
	version, err := p.version(out.KeyOperationResult)
	if err != nil {
		return nil, fmt.Errorf("azurekms: wrap with %s: %w", p.ID(), err)
	}
	head := append([]byte{p.algorithm}, version...)
	head = binary.BigEndian.AppendUint16(head, uint16(len(out.Result)))
	head = append(head, out.Result...)
	if wrapped, err = key.Seal(head, secret, append(head[:len(head):len(head)], kc.AAD()...)); err != nil {
		return nil, fmt.Errorf("azurekms: wrap with %s: %w", p.ID(), err)
	}
	return wrapped, nil
}

// Unwrap opens what Wrap made for the same context, with the version that wrapped it.
//
// Errors: those of Wrap; kmsprovider.ErrRejected.
func (p *Provider) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) (secret []byte, err error) {
	defer p.recovered("unwrap", &err)
	rejected := func(why error) error {
		return fmt.Errorf("azurekms: unwrap with %s: %w: %w", p.ID(), kmsprovider.ErrRejected, why)
	}
	if len(wrapped) < headSize || len(wrapped) > maxWrapped {
		return nil, rejected(errFormat)
	}
	algorithm, version := algorithms[wrapped[0]], string(wrapped[1:1+versionSize])
	end := headSize + int(binary.BigEndian.Uint16(wrapped[1+versionSize:]))
	if algorithm == "" || !versionName.MatchString(version) || end > len(wrapped) {
		return nil, rejected(errFormat)
	}
	out, err := p.client.UnwrapKey(ctx, p.name, version, azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: wrapped[headSize:end:end]}, nil)
	if err != nil {
		return nil, p.failed(ctx, "unwrap", version, err)
	}
	defer clear(out.Result)
	answered, err := p.version(out.KeyOperationResult)
	if err == nil && answered != version {
		err = fmt.Errorf("%w: version %s did it, not %s", kmsprovider.ErrWrongAnswer, answered, version)
	}
	if err != nil {
		return nil, fmt.Errorf("azurekms: unwrap with %s: %w", p.ID(), err)
	}
	key, err := crypto.NewKey(crypto.Default, 1, out.Result)
	if err != nil {
		return nil, rejected(err)
	}
	defer key.Wipe()
	if secret, err = key.Open(nil, wrapped[end:], append(wrapped[:end:end], kc.AAD()...)); err != nil {
		return nil, rejected(err)
	}
	return secret, nil
}

// version returns the version of the key that an answer names, which must be ours.
func (p *Provider) version(r azkeys.KeyOperationResult) (string, error) {
	if r.KID == nil || r.Result == nil {
		return "", fmt.Errorf("%w: the answer names no key, or holds none", kmsprovider.ErrUnavailable)
	}
	kid := strings.ToLower(string(*r.KID))
	version, ok := strings.CutPrefix(kid, "https://"+p.host+"/keys/"+p.name+"/")
	if !ok || !versionName.MatchString(version) || len(r.Result) > maxWrapped/2 {
		return "", fmt.Errorf("%w: it is of %.200q", kmsprovider.ErrWrongAnswer, kid)
	}
	return version, nil
}

// String returns the type and the ID.
func (p *Provider) String() string { return "azurekms.Provider(" + p.ID() + ")" }

// GoString is String.
func (p *Provider) GoString() string { return p.String() }
