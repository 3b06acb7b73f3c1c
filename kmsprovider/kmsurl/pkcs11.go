package kmsurl

import (
	"cmp"
	"context"
	"errors"
	"os"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
)

// parsePKCS11 takes the attributes of RFC 7512 by which the driver finds a key. With
// others left aside, it could find another one than was meant.
func parsePKCS11(u uri) (opener, error) {
	attributes, err := u.pairs("attribute", u.body, ";", []string{"token", "object", "type"})
	if err != nil {
		return nil, err
	}
	opts := pkcs11kms.Options{Token: attributes["token"], Object: attributes["object"]}
	if opts.Token == "" || opts.Object == "" {
		return nil, errors.New("token and object must be given")
	}
	if cmp.Or(attributes["type"], "secret-key") != "secret-key" {
		return nil, errors.New("type is not secret-key")
	}
	if opts.Module, err = u.path("module-path"); err != nil {
		return nil, err
	}
	source, err := u.path("pin-source")
	if err != nil {
		return nil, err
	}
	if source != "" {
		opts.PIN = func() (string, error) {
			pin, err := readSecret(source)
			defer clear(pin)
			return string(pin), err
		}
	}
	return func(context.Context) (kmsprovider.Provider, func() error, error) {
		opts := opts
		opts.Module = cmp.Or(opts.Module, os.Getenv("PKCS11_MODULE_PATH"))
		if opts.Module == "" {
			return nil, nil, errors.New("which library the token has is not said: give the parameter module-path, or set PKCS11_MODULE_PATH")
		}
		return openPKCS11(opts)
	}, nil
}
