package vaultkms

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/vaultkms/vaultapi"
)

// ErrUnsupported: the server or the key can't bind a context. It is a version of
// Vault before 1.13, or the key is derived or of a type without associated data. It
// isn't retryable.
var ErrUnsupported = errors.New("the transit key can't bind a context; use one of type aes256-gcm96 that isn't derived, on OpenBao or on Vault 1.13 or later")

// ErrFormat: a wrapped key that isn't Transit's text.
var ErrFormat = errors.New("not a ciphertext of transit")

// mustExist is no type of key. Transit looks at it where it would make the key that is
// asked for.
const mustExist = "must-exist"

// A Provider wraps keys with one key of Transit. It is safe for concurrent use.
type Provider struct {
	id, mount, name string
	client          *vaultapi.Client
	binds           atomic.Bool // the server was seen to authenticate associated data
}

var _ kmsprovider.Provider = (*Provider)(nil)

var keyURI = regexp.MustCompile(`^hcvault://([\w.:\[\]-]*)/((?:\w[\w.-]*/)+)keys/(\w[\w.-]*)$`)

// New returns a provider for the key that uri names, which is
// hcvault://[host[:port]]/MOUNT/keys/NAME. nil for the client is one of the default
// options, at the host in uri if there is one. With a client that is given, the host
// is but a part of the ID. New calls nobody.
//
// Errors: vaultapi.ErrOptions.
func New(uri string, client *vaultapi.Client) (*Provider, error) {
	m := keyURI.FindStringSubmatch(uri)
	if m == nil {
		return nil, fmt.Errorf("vaultkms: %w: the key's URI is not hcvault://[host[:port]]/MOUNT/keys/NAME", vaultapi.ErrOptions)
	}
	host := strings.ToLower(m[1])
	if client == nil {
		var opts vaultapi.Options
		if host != "" {
			opts.Address = "https://" + host
		}
		var err error
		if client, err = vaultapi.New(&opts); err != nil {
			return nil, fmt.Errorf("vaultkms: %w", err)
		}
	}
	if ns := client.Namespace(); ns != "" {
		host += "/" + ns
	}
	p := &Provider{id: "hcvault://" + host + "/" + m[2] + "keys/" + m[3], mount: m[2], name: m[3], client: client}
	if !kmsprovider.ValidID(p.id) {
		return nil, fmt.Errorf("vaultkms: %w: the namespace has characters that an ID can't have", vaultapi.ErrOptions)
	}
	return p, nil
}

// ID returns the URI of the key, with the namespace in front of the mount.
func (p *Provider) ID() string { return p.id }

// Wrap encrypts secret, with kc.AAD() as associated data, under the newest version of
// the key. The first one of a Provider makes two calls.
//
// Errors: those of kmsprovider.Provider; ErrUnsupported; [*vaultapi.ResponseError] where the
// server has answered.
func (p *Provider) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	in := struct {
		Plaintext      []byte `json:"plaintext"`
		AssociatedData []byte `json:"associated_data"`
		Type           string `json:"type"`
	}{secret, kc.AAD(), mustExist}
	var out struct{ Data struct{ Ciphertext string } }
	err := p.call(ctx, "encrypt", in, &out)
	wrapped := []byte(out.Data.Ciphertext)
	if err == nil && len(wrapped) == 0 {
		err = fmt.Errorf("%w: the answer holds no ciphertext", kmsprovider.ErrUnavailable)
	}
	if err == nil && !canonical(wrapped) {
		err = fmt.Errorf("%w: %w", kmsprovider.ErrWrongAnswer, ErrFormat)
	}
	if err == nil {
		err = p.bound(ctx, wrapped, kc)
	}
	if err != nil {
		return nil, fmt.Errorf("vaultkms: wrap with %s: %w", p.id, err)
	}
	return wrapped, nil
}

// Unwrap decrypts what Wrap made for the same context. The first one of a Provider
// makes two calls.
//
// Errors: those of Wrap; kmsprovider.ErrRejected.
func (p *Provider) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	err := fmt.Errorf("%w: %w", kmsprovider.ErrRejected, ErrFormat)
	var secret []byte
	if canonical(wrapped) {
		secret, err = p.decrypt(ctx, wrapped, kc.AAD())
	}
	if err == nil {
		err = p.bound(ctx, wrapped, kc)
	}
	if err != nil {
		clear(secret)
		return nil, fmt.Errorf("vaultkms: unwrap with %s: %w", p.id, err)
	}
	return secret, nil
}

func (p *Provider) decrypt(ctx context.Context, wrapped, associated []byte) ([]byte, error) {
	in := struct {
		Ciphertext     string `json:"ciphertext"`
		AssociatedData []byte `json:"associated_data"`
	}{string(wrapped), associated}
	var out struct{ Data struct{ Plaintext []byte } }
	err := p.call(ctx, "decrypt", in, &out)
	if err == nil && out.Data.Plaintext == nil {
		err = fmt.Errorf("%w: the answer holds no plaintext", kmsprovider.ErrUnavailable)
	}
	return out.Data.Plaintext, err
}

// bound makes sure, once, that the server authenticates associated data: what it has
// just made or opened must not open under any other.
func (p *Provider) bound(ctx context.Context, wrapped []byte, kc kmsprovider.Context) error {
	if p.binds.Load() {
		return nil
	}
	secret, err := p.decrypt(ctx, wrapped, append(kc.AAD(), "another"...))
	clear(secret)
	switch {
	case err == nil:
		return fmt.Errorf("%w: the server ignores associated_data", ErrUnsupported)
	case !errors.Is(err, kmsprovider.ErrRejected):
		return fmt.Errorf("checking that it binds: %w", err)
	}
	p.binds.Store(true)
	return nil
}

// call calls Transit and says what its answers of status 400 mean. Transit has no
// codes: its texts have been the same since its first version, in both projects.
func (p *Provider) call(ctx context.Context, verb string, in, out any) error {
	err := p.client.Post(ctx, p.mount+verb+"/"+p.name, in, out)
	var answer *vaultapi.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusBadRequest {
		return err
	}
	text := strings.Join(answer.Errors, "\n")
	for part, class := range map[string]error{
		"encryption key not found":        kmsprovider.ErrNotFound,
		"unknown key type " + mustExist:   kmsprovider.ErrNotFound,
		"soft-deleted key":                kmsprovider.ErrDisabled,
		"version is disallowed by policy": kmsprovider.ErrDisabled,
		"missing 'context'":               ErrUnsupported,
		"non-AEAD cipher":                 ErrUnsupported,
		"not supported for key type":      ErrUnsupported,
	} {
		if strings.Contains(text, part) {
			return fmt.Errorf("%w: %w", class, err)
		}
	}
	if verb == "decrypt" {
		return fmt.Errorf("%w: %w", kmsprovider.ErrRejected, err)
	}
	return err
}

// ciphertext is Transit's text form. Version 0 is read by Transit as 1.
var ciphertext = regexp.MustCompile(`^vault:v[1-9][0-9]{0,8}:`)

// maxWrapped bounds what is sent.
const maxWrapped = 16 << 10

// canonical reports whether wrapped is Transit's text form, and the only one of its
// bytes: Transit's decoder skips line breaks and ignores spare bits.
func canonical(wrapped []byte) bool {
	prefix := ciphertext.Find(wrapped)
	if prefix == nil || len(wrapped) > maxWrapped {
		return false
	}
	text := string(wrapped[len(prefix):])
	data, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(data) > 0 && base64.StdEncoding.EncodeToString(data) == text
}

// String returns the type and the ID.
func (p *Provider) String() string { return "vaultkms.Provider(" + p.id + ")" }

// GoString is String.
func (p *Provider) GoString() string { return p.String() }
