// Package gcpkms wraps keys with a symmetric key of Google Cloud KMS.
//
//	client, err := kms.NewKeyManagementClient(ctx)   // Application Default Credentials
//	provider, err := gcpkms.New(client, "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k")
//	ring, err := keyring.Open(ctx, "app", store, provider, pin, nil)
//
// The context of a wrap is the additional authenticated data of the call, in the
// encoding of [kmsprovider.Context.AAD].
//
// A key is named without a version: the service encrypts with the primary version and
// finds the right one to decrypt.
//
// # Checks
//
// Every request carries the CRC32C of all that it has, and the service must say that
// it has compared them; the CRC32C of every answer is computed and compared. The
// client library does neither. What doesn't fit was damaged on its way and is
// kmsprovider.ErrUnavailable. The key's name is in the answer of Encrypt, and must be
// the right one; the answer of Decrypt has none, and there a ring notices by its
// key check values.
//
// # Calls
//
// One Encrypt for a Wrap, one Decrypt for an Unwrap. The client library's own retries
// are off for these calls: they would go on until the context ends, and package
// keyring has a budget for its own. Without a keyring, see kmsprovider.Resilient. An
// answer is read up to 1 MiB.
package gcpkms
