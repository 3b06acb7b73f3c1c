// Package kmipkms wraps keys with an AES key of a server that speaks KMIP, the
// OASIS protocol of key managers.
//
//	kms, err := kmipkms.New(kmipkms.Options{
//		Addr:  "kms.example.org:5696",
//		KeyID: "2e1fd0f0-5a5e-44fd-a07c-3ae4d4d2f9a6",
//		TLS:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}},
//	})
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
//
// The key encrypts and decrypts inside of the server (operations Encrypt and
// Decrypt, AES in GCM mode, KMIP 1.4 or a server that still speaks it). docs/kms.md
// tells how to make it and what the client must be allowed.
//
// # Bytes
//
// A wrap is
//
//	offset       length  content
//	0            1       01, the version
//	1            1       v, the length of the IV: 12 to 16
//	2            v       the IV
//	2+v          32+n    the ciphertext of SHA-256(AAD || key) || key
//	34+v+n       16      the tag
//
// AAD is the context's, and given to the server as Authenticated Encryption
// Additional Data as well. The hash is there because servers exist that ignore what
// they don't know, associated data and even tags: it is checked here, so that
// such a server still opens no wrap under another context and no changed one. (The
// AAD tells its own length, so the hash has one reading.)
//
// The IV is random, 12 bytes (NIST SP 800-38D, section 8.2.2; at most 2^32 wraps by
// one key, of which a ring makes a handful for each rotation). With Options.ServerIV
// the server makes it.
//
// # Connections
//
// TLS is version 1.2 or later, with the server's name checked and a client
// certificate that tells the server who asks. A few connections are kept; a call on
// one that the server has closed is made again on a fresh one. Answers above 1 MiB
// are not read. Only the codec of the KMIP library is used and not its client, which
// reads answers of any size and ends the program on malformed ones.
//
// # Errors
//
// What a server says is reachable as [*Error]. Servers that have no word of their
// own for a wrong tag say "general failure", which may as well be an outage: a server
// that then opens a wrap of its own, and fails for this one once more, has rejected
// it. For a key that may not be used the State attribute is looked up, which tells
// "denied" and "not active" apart.
//
// # Security considerations
//
// Who holds the client certificate's key may unwrap everything. The server's log
// shows the client and the key, but not the context.
package kmipkms
