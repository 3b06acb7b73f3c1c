//go:build !cgo

package pkcs11kms

// NeedsCgo: PKCS#11 is an interface of C. Build with CGO_ENABLED=1 and a C compiler.
type NeedsCgo struct{}

// New can't be called: the program is being built without cgo.
func New(NeedsCgo) {}
