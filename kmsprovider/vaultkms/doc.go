// Package vaultkms wraps keys with a key of the Transit engine of OpenBao or
// HashiCorp Vault.
//
//	kms, err := vaultkms.New("hcvault:///transit/keys/app", nil) // BAO_ADDR, BAO_TOKEN or VAULT_...
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
//
// The key is named by Tink's URI. One with a host,
// hcvault://vault.example.org:8200/transit/keys/app, says which server; one without
// leaves that to the environment, so that programs which reach the same server by
// different addresses agree on the KEK. docs/kms.md has the policy that is needed and
// how to make and rotate the key; package vaultapi has logins and namespaces.
//
// # How keys are wrapped
//
// Wrap and Unwrap are Transit's encrypt and decrypt, with
// [kmsprovider.Context.AAD] as associated_data; the wrapped key is Transit's own text
// (vault:v1:...), which names the version of the key. Transit's rewrap and datakey
// take no associated data, so they are never used: a ring is moved to a new version
// by unwrapping and wrapping again. Versions below min_decryption_version are
// kmsprovider.ErrDisabled.
//
// Vault before 1.13 ignores associated_data without a word. The first wrap that a
// Provider makes or opens is therefore also tried under other associated data, which
// the server must refuse; the audit log shows that one refused call. Keys that can't
// take associated data (RSA) and derived ones, which want a context of their own, are
// [ErrUnsupported].
//
// Transit makes a missing key when it is asked to encrypt with it. Wrap asks in a way
// that can't: a key that was deleted is an error and not another key.
//
// Calls are tried once: package keyring has the retries and the breaker, and a second
// budget in here would multiply them.
//
// # Security considerations
//
// Transit's answers don't name the key that was used. A keyring notices a wrong one by
// its check value.
package vaultkms
