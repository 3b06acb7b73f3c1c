package localkms

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// keySize is the length of a KEK in bytes.
const keySize = 32

// A Provider wraps keys with a KEK that it holds in memory. It is safe for
// concurrent use and never prints its key. The zero Provider is unusable.
type Provider struct {
	id string
	// crypto.Key keeps its bytes behind a closure, where printers that walk
	// unexported fields can't look.
	key *crypto.Key
}

var _ kmsprovider.Provider = (*Provider)(nil)

// New returns a provider over 32 bytes of key, which it copies; the caller wipes
// its own. It is meant for tests and for programs that get the key from
// elsewhere. Equal keys have equal IDs.
//
// Errors: crypto.ErrInvalidKey (length, all-zero bytes).
func New(secret []byte) (*Provider, error) {
	if len(secret) != keySize {
		return nil, fmt.Errorf("localkms: %w: a key-encryption key has %d bytes, not %d", crypto.ErrInvalidKey, keySize, len(secret))
	}
	check, err := crypto.Check("localkms", secret)
	if err != nil {
		return nil, fmt.Errorf("localkms: %w", err)
	}
	// The ID is a piece of the key's public check value: it tells keys apart,
	// and a file whose ID and key don't belong together is found out.
	kid := binary.BigEndian.Uint32(check[:])
	if kid == 0 {
		kid = 1
	}
	key, err := crypto.NewKey(crypto.Default, kid, secret)
	if err != nil {
		return nil, fmt.Errorf("localkms: %w", err)
	}
	return &Provider{id: "local:" + hex.EncodeToString(check[:8]), key: key}, nil
}

// NewRandom returns a provider over a fresh random key that is gone when the
// process ends. It is meant for tests.
func NewRandom() *Provider {
	secret := newSecret()
	defer clear(secret)
	p, err := New(secret)
	if err != nil {
		panic(err) // 32 random bytes are a key
	}
	return p
}

func newSecret() []byte {
	secret := make([]byte, keySize)
	rand.Read(secret)
	return secret
}

// ID returns "local:" and 16 hexadecimal digits.
func (p *Provider) ID() string {
	if p == nil {
		return ""
	}
	return p.id
}

// Wrap seals secret for kc with XAES-256-GCM.
//
// Errors: ctx's own.
func (p *Provider) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	wrapped, err := p.key.Seal(nil, secret, kc.AAD())
	if err != nil {
		return nil, fmt.Errorf("localkms: %s: %w", p.id, err)
	}
	return wrapped, nil
}

// Unwrap opens what Wrap made for the same context.
//
// Errors: kmsprovider.ErrRejected; ctx's own.
func (p *Provider) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	secret, err := p.key.Open(nil, wrapped, kc.AAD())
	if err != nil {
		return nil, fmt.Errorf("localkms: %s: %w: %w", p.id, kmsprovider.ErrRejected, err)
	}
	return secret, nil
}

func (p *Provider) ready(ctx context.Context) error {
	if p == nil || p.key == nil {
		return fmt.Errorf("localkms: %w: the zero Provider has no key", kmsprovider.ErrNotFound)
	}
	return ctx.Err()
}

// String returns the type and the ID.
func (p Provider) String() string { return "localkms.Provider(" + p.id + ")" }

// GoString is String.
func (p Provider) GoString() string { return p.String() }

// Format writes String for every verb.
func (p Provider) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		fmt.Fprintf(f, "%q", p.String())
		return
	}
	fmt.Fprint(f, p.String())
}

// LogValue logs String.
func (p Provider) LogValue() slog.Value { return slog.StringValue(p.String()) }
