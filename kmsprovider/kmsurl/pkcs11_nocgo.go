//go:build !cgo

package kmsurl

import (
	"errors"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
)

// A tool without cgo still opens everything else.
func openPKCS11(pkcs11kms.Options) (kmsprovider.Provider, func() error, error) {
	return nil, nil, errors.New("this program was built without cgo, which PKCS#11 needs: build it with CGO_ENABLED=1 and a C compiler")
}
