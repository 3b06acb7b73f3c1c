package kmsprovider

import (
	"context"
	"maps"
	"slices"

	"github.com/structseal/structseal/internal/aad"
)

// A Provider wraps keys with a key-encryption key (KEK) that never leaves it.
// Implementations are safe for concurrent use.
type Provider interface {
	// ID names the KEK; see [ValidID]. It is stored with every wrap and shown in errors, so it holds
	// no credentials, and it must stay the same for as long as the KEK does.
	ID() string

	// Wrap encrypts secret and binds it to kc. It changes neither.
	//
	// Errors: ErrNotFound, ErrDenied, ErrDisabled, ErrWrongAnswer, ErrUnavailable,
	// ErrThrottled; ctx's own.
	Wrap(ctx context.Context, secret []byte, kc Context) (wrapped []byte, err error)

	// Unwrap returns the secret in memory that the caller wipes.
	//
	// Errors: those of Wrap; ErrRejected when wrapped was changed, was made by
	// another KEK, or was bound to another context.
	Unwrap(ctx context.Context, wrapped []byte, kc Context) (secret []byte, err error)
}

// Context is what a wrap is bound to. It is readable in the service's audit log
// and holds no personal data.
type Context map[string]string

// Magic opens every encoded context.
const Magic = "structseal/v1/kek"

// AAD returns the canonical encoding of c: [Magic], the number of entries, and
// then, sorted by key, each key and value with its length (numbers are LEB128, as
// in docs/format.md). Different contexts have different encodings; nil and the
// empty context are the same.
func (c Context) AAD() []byte {
	out := aad.AppendCount([]byte(Magic), len(c))
	for _, k := range slices.Sorted(maps.Keys(c)) {
		out = aad.AppendString(out, k)
		out = aad.AppendString(out, c[k])
	}
	return out
}

// maxID bounds the ID of a KEK.
const maxID = 2048

// ValidID reports whether id may be the ID of a KEK: 1 to 2,048 printable ASCII
// characters other than space, '"' and '\'.
func ValidID(id string) bool {
	if len(id) == 0 || len(id) > maxID {
		return false
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
