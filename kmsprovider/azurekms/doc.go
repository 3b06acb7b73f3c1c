// Package azurekms wraps keys with a key of Azure Key Vault or of a Managed HSM.
//
//	credential, err := azidentity.NewDefaultAzureCredential(nil)
//	kms, err := azurekms.New("https://myvault.vault.azure.net/keys/app", credential, nil)
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
//
// docs/kms.md has the role that is needed and how to make and rotate the key.
//
// # How keys are wrapped
//
// Azure's wrapKey takes no associated data, and under RSA-OAEP-256 no more than 190
// bytes with a key of 2,048 bits. So each wrap has a random key of its own, used
// once: Azure wraps that key, and it seals the secret, bound to
// [kmsprovider.Context.AAD], with package crypto's default suite (XAES-256-GCM with
// key commitment, as Tink defines it). That is hybrid encryption as in HPKE's or
// Tink's: a key encapsulation that resists chosen ciphertexts (RSA-OAEP; RFC 8017,
// section 7.1) and an AEAD, with the context as label (Cramer and Shoup, "Design and
// analysis of practical public-key encryption schemes secure against adaptive chosen
// ciphertext attack", section 7). Nobody who can't unwrap can change a byte of it or
// the context.
//
// A wrapped key is: one byte for the algorithm (1 RSA-OAEP-256, 2 A256KW), the version
// of Azure's key in 32 hexadecimal digits, the length of what Azure returned in two
// bytes, that, and the sealed secret. All of it before the secret is authenticated
// with it. Unwrap asks for that version, and the answer must name it.
//
// # Retries
//
// The SDK's are turned off, whatever Options.Client says: package keyring has the
// retries and the breaker, and a second budget in here would multiply them. (The
// first call of all is made twice: Key Vault says in a refusal which tokens it
// takes.)
//
// # Security considerations
//
// Whoever has the public half of an RSA key can make a wrap, of a key of his own and
// under any context: Azure isn't even asked. That is why rings have pins: open rings
// with one. A symmetric key of a Managed HSM (A256KW) has no public half.
//
// A credential that gets no token is kmsprovider.ErrUnavailable, whatever the reason:
// its errors don't tell a lost permission from a sign-in service that is down, and a
// ring must not drop its keys for the second. Access is refused by Key Vault itself,
// at the latest when the token ends.
//
// Answers are read up to a megabyte, refusals up to 4 KB. Errors show Azure's codes and the beginning of
// its message, never a body or a header; the SDK's own *azcore.ResponseError is
// reachable with errors.As, and holds them all.
package azurekms
