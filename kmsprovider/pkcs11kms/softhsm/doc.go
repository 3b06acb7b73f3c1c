// Package softhsm makes tokens of SoftHSM, a PKCS#11 library in software, for tests of
// programs whose keys are in an HSM.
//
//	hsm, err := softhsm.New(dir, softhsm.Library(t))
//	hsm.MakeKey(t, "kek")
//	kms, err := pkcs11kms.New(hsm.Options("kek"))
//
// [Library] skips the test where SoftHSM isn't installed (Debian: softhsm2), and fails
// it if CI=true is set. SoftHSM itself is real; its keys lie in files. PIN and SOPIN are
// no secrets. Use it in tests alone. A [Shim] stands before it and misbehaves as tokens
// do.
//
// A process can use one directory: PKCS#11 libraries are initialized once. The
// programs that it starts use the same one, by the environment variable SOFTHSM2_CONF,
// which New sets.
//
// The package needs cgo, and a Shim also a C compiler (cc) and the program go.
package softhsm
