package pkcs11kms

import "errors"

// ErrOptions: an option is missing or invalid, or the library can't be loaded.
var ErrOptions = errors.New("invalid option")

// ErrUnfit: the token has no AES-GCM with associated data as this package needs it.
var ErrUnfit = errors.New("token is not fit")

// Options say which key to use and how to reach it.
type Options struct {
	Module string // path of the token's PKCS#11 library
	Token  string // label of the token
	Object string // label (CKA_LABEL) of the AES key
	// PIN returns the user's PIN. It is asked at every login, by one goroutine at a
	// time. A PIN that the token has refused isn't tried again: tokens lock after a
	// few. An error of PIN is kmsprovider.ErrUnavailable, and its text isn't shown. nil:
	// the token needs no login.
	PIN func() (string, error)
}
