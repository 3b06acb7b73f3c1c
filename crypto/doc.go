// Package crypto seals bytes: three suites, one frame, no knobs.
//
//	key, err := crypto.NewKey(crypto.Default, id, secret)
//	ct, err := key.Seal(nil, plaintext, context)
//	pt, err := key.Open(nil, ct, context)
//
// The suite is a property of the key, never of the ciphertext, so there is
// nothing that an attacker could downgrade. Ciphertexts are standard Tink AEAD
// ciphertexts: 0x01, the key id (4 bytes, big endian), and what the suite makes.
//
//	Default        XAES-256-GCM, key-committing   salt(12) nonce(12) AES-GCM(32 zero bytes, value) tag(16)
//	Compact        AES-256-GCM                    nonce(12) AES-GCM(value) tag(16)
//	Deterministic  AES-256-SIV                    siv(16) AES-CTR(value)
//
// The package does no I/O and holds no global state. Most programs use it
// through package structseal, which makes the context of each field.
//
// # Security considerations
//
// Default commits to its key: no ciphertext opens under two keys, because the
// sealed text starts with 32 zero bytes that are checked on the way out
// (Albertini et al., "How to Abuse and Fix Authenticated Encryption Without Key
// Commitment", USENIX Security 2022). Compact and Deterministic don't commit.
//
// Default needs no message counting. A salt and its derived subkey are kept for
// at most 1,024 messages and one second; every message has 12 fresh random
// bytes of nonce. Compact must be rotated long before 2^32 messages.
//
// Under GODEBUG=fips140=only the same bytes are made by the constructors that
// the mode allows; Deterministic is refused with [ErrNotApproved].
//
// Wipe clears what this package owns. The AES key schedules of the standard
// library can't be cleared from outside: they are dropped for the garbage
// collector.
package crypto
