// Package tinkkms makes a [kmsprovider.Provider] of any Tink AEAD: a key of a KMS
// that Tink has a client for, or a Tink keyset that the program holds itself.
//
//	kms, err := tinkkms.NewWithContext("gcp-kms://projects/p/...", kekAEAD, nil)
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
//
// Where structseal has a driver of its own, prefer it: it passes the context on
// as the service's own encryption context, which logs and policies can read, checks
// more of the answer, and knows the service's errors. Here the context is
// [kmsprovider.Context.AAD], the associated data.
//
// # Errors
//
// Tink has one error for everything. What fails is told apart like this: an error
// that already wraps one of package kmsprovider's is left as it is; then
// Options.Classify decides, when there is one; errors of the network and its time
// limits are kmsprovider.ErrUnavailable; and whatever else Decrypt returns is
// kmsprovider.ErrRejected. An AEAD that calls a service needs a Classify: without it
// "permission denied" is called rejected, and an outage that isn't an error of the
// network is taken for a refusal, which makes a ring drop its keys at once.
//
// # Security considerations
//
// The associated data must be authenticated. Every AEAD of Tink does that, but some
// KMS keys have none (RSA, and Vault's Transit before it knew associated data); run
// package kmstest on what you build.
//
// The name of the key isn't checked in answers, because Tink's interface doesn't
// return it. A keyring notices a wrong key by its check value.
//
// Tink's own AES-GCM doesn't run under GODEBUG=fips140=only.
package tinkkms
