// Package insecuretink moves keys between rings and cleartext Tink keysets.
//
// It is insecure because a cleartext keyset opens everything: whoever sees the
// output has the keys. Use it to leave structseal, to come from Tink, or to read
// data in another language, and encrypt or destroy the file at once.
//
//	err := insecuretink.Export(ctx, ring, w)                // data keys: an AEAD keyset
//	err := insecuretink.ExportDeterministic(ctx, ring, w)   // a DeterministicAead keyset
//	ring, pin, err := insecuretink.Import(ctx, "app", store, kms, aeadJSON, nil)
//
// A Tink keyset holds keys of one primitive, hence the two exports. The other
// purposes (subject-wrap, index, mac) have no use outside a ring and are never
// exported. Nor are the keys of subjects.
//
// # What another language must do
//
// The bytes of every suite are standard Tink ciphertexts with the TINK prefix:
//
//	suite          Tink key type            what Tink decrypts to
//	default        XAesGcmKey, salt_size 12 32 zero bytes and the value
//	compact        AesGcmKey, 32 bytes      the value
//	deterministic  AesSivKey, 64 bytes      the value
//
// A reader of the default suite must check, in constant time, that the first 32
// bytes are zero, and strip them; a writer must put them in front. They are the
// key commitment: a reader that only strips gives it up. Associated data is the
// field's context; docs/format.md has its encoding. Text columns hold "s1." and
// unpadded base64url of the ciphertext.
//
// # Coming from Tink
//
// Ciphertexts that Tink made with AesGcmKey and AesSivKey open under the imported
// keys with the associated data they were made with. Those of XAesGcmKey open
// only if the value was written with the 32 zero bytes in front; other ones are
// crypto.ErrTampered, because they commit to no key.
package insecuretink
