// Package vaultapi is the part of a client of OpenBao and HashiCorp Vault that a KMS
// driver needs: calls that are answered in JSON, and tokens that stay fresh.
//
//	client, err := vaultapi.New(&vaultapi.Options{
//		Address: "https://vault.example.org:8200",
//		Login:   vaultapi.Kubernetes("", "app", ""),
//	})
//	kms, err := vaultkms.New("hcvault://vault.example.org:8200/transit/keys/app", client)
//
// It uses the standard library alone. That is less to review than the API module of
// either project, which brings twenty modules, retries of its own, and settings in
// the environment that turn off the checking of certificates.
//
// # Security considerations
//
// Redirects aren't followed: a token would go with them. Plain HTTP is refused, but
// to the machine itself, where an agent listens. Answers are read up to a megabyte,
// and one that isn't the server's own (a login page, half an answer) is
// kmsprovider.ErrUnavailable whatever its status: what stands in between must not be
// taken for the server's refusal. Tokens stand in headers alone, never in a URL or
// an error, and no printer finds them.
package vaultapi
