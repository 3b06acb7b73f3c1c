package kmsurl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/structseal/structseal/kmsprovider"
)

// ErrURI: the URI is malformed, of an unknown scheme, or holds a credential. The text
// says what is wrong, and quotes nothing that could be a credential.
var ErrURI = errors.New("not the URI of a key-encryption key")

// A scheme is one kind of URI.
type scheme struct {
	prefix      string
	form        string // of the whole URI, for errors
	credentials string // where they come from, for errors
	params      []string
	parse       func(uri) (opener, error)
}

// An opener opens what a URI names. closing may be nil.
type opener func(ctx context.Context) (kms kmsprovider.Provider, closing func() error, err error)

var schemes = []scheme{
	{"aws-kms://", "aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID", "the SDK's default chain (environment, profile, role)", nil, parseAWS},
	{"gcp-kms://", "gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K", "the Application Default Credentials", nil, parseGCP},
	{"hcvault://", "hcvault://[HOST[:PORT]]/MOUNT/keys/NAME", "BAO_TOKEN, VAULT_TOKEN or ~/.vault-token", nil, parseVault},
	{"azure-kv://", "azure-kv://VAULT/keys/NAME", "azidentity's default chain (environment, workload or managed identity, az login)", []string{"algorithm"}, parseAzure},
	{"pkcs11:", "pkcs11:token=TOKEN;object=LABEL", "the file that pin-source names", []string{"module-path", "pin-source"}, parsePKCS11},
	{"kmip://", "kmip://HOST:PORT/KEY-ID?cert=FILE", "the files that cert and key name", []string{"cert", "key", "ca", "server-iv"}, parseKMIP},
	{"file:", "file:///PATH", "the file that passphrase-source names", []string{"passphrase-source"}, parseFile},
}

// Check reports whether uri is one that Open takes. It looks at nothing else: no file,
// no environment, no network.
//
// Errors: ErrURI.
func Check(uri string) error {
	_, err := parse(uri)
	return err
}

// Open returns the provider for the KEK that uri names, as its driver makes it, with
// the driver's ID. No network is used, but where the search for credentials does so
// (Google's asks for a metadata server): whether the key can be used is seen by the
// first call.
//
// done closes the connections and sessions that the provider has. It is never nil, may
// be called more than once, and does nothing after an error.
//
// Errors: ErrURI; those of New of the driver, of package localkms and of the SDKs'
// search for credentials; fs.ErrNotExist and the like for files that the URI names.
func Open(ctx context.Context, uri string) (kms kmsprovider.Provider, done func() error, err error) {
	nothing := func() error { return nil }
	open, err := parse(uri)
	if err != nil {
		return nil, nothing, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nothing, err
	}
	kms, closing, err := open(ctx)
	if err != nil {
		return nil, nothing, fmt.Errorf("kmsurl: %w", err)
	}
	if closing == nil {
		return kms, nothing, nil
	}
	return kms, sync.OnceValue(closing), nil
}

func parse(text string) (opener, error) {
	s, u, err := split(text)
	if err != nil {
		return nil, fmt.Errorf("kmsurl: %w: %w", ErrURI, err)
	}
	open, err := s.parse(u)
	if err != nil {
		return nil, fmt.Errorf("kmsurl: %w: want %s: %w", ErrURI, s.form, err)
	}
	return open, nil
}

// prefixes lists the schemes, for errors.
func prefixes() string {
	var all []string
	for _, s := range schemes {
		all = append(all, s.prefix)
	}
	return strings.Join(all, ", ")
}
