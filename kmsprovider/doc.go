// Package kmsprovider says what a key management service must do for
// structseal: wrap a key, unwrap it, and tell failures apart.
//
//	type Provider interface {
//		ID() string
//		Wrap(ctx context.Context, secret []byte, kc Context) (wrapped []byte, err error)
//		Unwrap(ctx context.Context, wrapped []byte, kc Context) (secret []byte, err error)
//	}
//
// Programs pick a driver and hand it to package keyring. Package localkms is
// the embedded default: a key file or a passphrase, no service at all.
//
// # Writing a driver
//
// The interface stays this small. A driver that can do more implements further
// one-method interfaces, which callers find by type assertion, as package io
// finds a WriterTo; a driver without them keeps working. There is one,
// WithoutRetry() Provider, for providers that try again by themselves: package
// keyring has a budget for its own retries, and the two must not multiply.
//
// A driver must
//   - bind the [Context]: Unwrap with any other context fails with [ErrRejected].
//     A service with an encryption context of its own gets the map, so that logs
//     and policies can read it; any other authenticates [Context.AAD];
//   - wrap one of this package's errors around the service's own for every
//     failure that they describe (`%w: %w`), and never put a secret, a
//     credential or a wrapped key into the text;
//   - report its own time limits as [ErrUnavailable], and return promptly when
//     ctx ends;
//   - call it ErrUnavailable when it wasn't the service that answered (a proxy's page,
//     whatever its status), and when credentials can't be had: a ring drops its keys
//     for a refusal, and must not do so because a network is down;
//   - make one attempt: turn the SDK's own retries off, where there are some, and its
//     logs of requests and answers, and bound what is read of an answer;
//   - be safe for concurrent use, keep no slice it is given, change none, and
//     return memory that the caller may wipe.
//
// Package kmstest tests all of this, and package kmsprovider/tinkkms makes a
// provider of what Tink has a client for.
//
// # Security considerations
//
// A context is public: it stands in audit logs and in IAM conditions. It holds
// no personal data. It separates keys (a wrap moved to another ring, id or
// purpose is refused) and proves nothing about who wrapped: whoever may call the
// service's encrypt operation can make a valid wrap of a key of his own. That is
// why package keyring has pins and key check values.
package kmsprovider
