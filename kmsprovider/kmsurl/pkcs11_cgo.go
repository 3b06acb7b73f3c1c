//go:build cgo

package kmsurl

import (
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
)

func openPKCS11(opts pkcs11kms.Options) (kmsprovider.Provider, func() error, error) {
	p, err := pkcs11kms.New(opts)
	if err != nil {
		return nil, nil, err
	}
	return p, p.Close, nil
}
