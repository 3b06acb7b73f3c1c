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
// One Encrypt for a Wrap, one Decrypt for an Unwrap, on the client's connections and
// without its methods: those try again until the context ends, where package keyring
// has a budget for that, and write keys into the log when
// GOOGLE_SDK_GO_LOGGING_LEVEL is set. Without a keyring, see kmsprovider.Resilient. An
// answer is read up to 1 MiB. A call whose context has no deadline ends after a minute.
//
// # Errors
//
// What doesn't come from the service itself is kmsprovider.ErrUnavailable: a proxy's
// page of any status, and a credential that gets no token, whatever the reason. Its
// errors don't tell a lost permission from a token service that is down, and a ring must
// not drop its keys for the second.
package gcpkms
