// Package pkcs11kms wraps keys with an AES key in a PKCS#11 token: a hardware
// security module, a cloud's HSM, or SoftHSM.
//
//	kms, err := pkcs11kms.New(pkcs11kms.Options{
//		Module: "/usr/lib/softhsm/libsofthsm2.so",
//		Token:  "app",
//		Object: "kek",
//		PIN:    func() (string, error) { return os.Getenv("HSM_PIN"), nil },
//	})
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
//
// The key encrypts and decrypts inside of the token, and must be one that can't
// leave it: CKA_SENSITIVE true and CKA_EXTRACTABLE false are checked. docs/kms.md
// tells how to make it and what the user of the PIN must be allowed.
//
// # Bytes
//
// A wrap is what CKM_AES_GCM makes, with the context's AAD as associated data:
//
//	offset       length  content
//	0            1       01, the version
//	1            12      the IV
//	13           n       the ciphertext, as long as the wrapped key
//	13+n         16      the tag
//
// The IV is random (96 bits: NIST SP 800-38D, section 8.2.2; at most 2^32 wraps by
// one key, of which a ring makes a handful for each rotation). Tokens in FIPS mode
// that make the IV themselves write it into the mechanism's parameters, and it is
// taken from there, whether they ignore ours or accept zeros only. A token that
// encrypts under an IV of zeros, or returns something else than ciphertext and tag,
// is ErrUnfit.
//
// # Tokens that go away
//
// Sessions are kept and used again. When one fails, the call is made once more in a
// fresh session, with the library initialized, the token looked for, the user
// logged in and the key found anew: a token that was pulled or restarted is used
// again as soon as it is back. Some network HSMs want C_Finalize before that, which
// would end the sessions of everything else in the process: restart the program.
//
// A call into a library of C can't be ended. When its context ends, it is left, and
// no more than 32 calls are under way, those left included; further ones wait.
//
// # Security considerations
//
// PKCS#11 has one login for a process and a token: once this package has logged in,
// other code of the program that loads the library may use the token without a PIN.
//
// A token has no encryption context: its audit log doesn't show for which ring a
// key was used.
//
// The library and its binding copy keys into memory of C, which nobody wipes.
//
// # Without cgo
//
// PKCS#11 is an interface of C. With CGO_ENABLED=0 a program that calls New doesn't
// compile, and the compiler names NeedsCgo; everything else builds.
package pkcs11kms
