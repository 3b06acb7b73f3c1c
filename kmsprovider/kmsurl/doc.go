// Package kmsurl opens the key-encryption key that a URI names. It is for tools that
// are told their KEK by a flag or a configuration file; a program that knows its KMS
// imports that driver alone, and links no other cloud's SDK.
//
//	kms, done, err := kmsurl.Open(ctx, "aws-kms://arn:aws:kms:eu-west-1:111122223333:key/1234abcd-...")
//	defer done()
//	ring, err := keyring.Open(ctx, "customers", store, kms, pin, nil)
//
// # URIs
//
//	aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID
//	gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K
//	hcvault://[HOST[:PORT]]/MOUNT/keys/NAME
//	azure-kv://VAULT/keys/NAME[?algorithm=A256KW]
//	pkcs11:token=TOKEN;object=LABEL[?module-path=/LIBRARY.so&pin-source=/FILE]
//	kmip://HOST:PORT/KEY-ID?cert=/FILE[&key=/FILE&ca=/FILE&server-iv=true]
//	file:///PATH[?passphrase-source=/FILE]
//
// The first three are Tink's, and pkcs11 is RFC 7512's. The provider is the driver's
// own, with the same ID, so a tool opens the ring that a program has made. The ID has
// no parameters: what they name may be another file on each machine.
//
// Names are written as in any URI: what is no letter, digit or one of -._~ as %XX where
// it could be misread. Files are named by absolute paths, /PATH or file:/PATH. What is
// unknown, given twice or empty is an error and never left aside.
//
// # Credentials
//
// No URI holds one: URIs end up in logs, in the history of shells and in tables of
// processes. A user or password, pin-value and everything else that looks like a
// credential is refused, by an error that doesn't repeat it.
//
//   - aws-kms: the SDK's default chain. The Region is the ARN's.
//   - gcp-kms: the Application Default Credentials.
//   - hcvault: BAO_TOKEN or VAULT_TOKEN, or else ~/.vault-token, where a login leaves
//     it; BAO_ADDR or VAULT_ADDR where the URI has no host; BAO_CACERT, BAO_NAMESPACE
//     and Vault's names for them.
//   - azure-kv: azidentity's DefaultAzureCredential.
//   - pkcs11: the PIN is what the file pin-source has, read anew at every login.
//     Without it there is none. PKCS11_MODULE_PATH is the library where module-path isn't
//     given.
//   - kmip: cert and key are files in PEM, of one file if key isn't given; ca has the
//     authorities of the server, or else the system's count.
//   - file: a key file; with passphrase-source, which is a file too, a passphrase file.
//
// Of a file with a PIN or a passphrase, the line break at its end isn't part of it.
//
// # Security considerations
//
// A URI is configuration. Whoever chooses it chooses to whom credentials are shown
// (hcvault, kmip), which files are read, and, with module-path, which code is run in
// the process. Take none from somebody who may not do all that.
package kmsurl
