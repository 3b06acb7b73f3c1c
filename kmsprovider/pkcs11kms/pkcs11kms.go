//go:build cgo

package pkcs11kms

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"

	"github.com/miekg/pkcs11"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/tinkkms"
)

const version, ivSize, tagSize = 1, 12, 16
const maxWrap, maxIdle = 64 << 10, 8 // bytes, far above any key; sessions kept for further calls

// A Provider wraps keys with an AES key of a token. It is safe for concurrent use.
// Its ID is the key's URI (RFC 7512): "pkcs11:token=app;object=kek;type=secret-key".
//
// A call whose context ends is left, because a call into C can't be ended, and no
// more than 32 are ever under way.
//
// Errors of Wrap and Unwrap: ErrUnfit; kmsprovider.ErrRejected (of Unwrap),
// ErrNotFound, ErrDenied, ErrDisabled (the key may not encrypt or decrypt),
// ErrUnavailable, ErrThrottled (the token has no session left); the context's own.
// pkcs11.Error in them is what the token has said.
type Provider struct {
	*tinkkms.Provider
	token *token
}

// New loads the token's library. The token is first asked by the first call, so that
// a ring with several KEKs opens while one of them is away.
//
// Errors: ErrOptions.
func New(opts Options) (*Provider, error) {
	id := "pkcs11:token=" + url.PathEscape(opts.Token) + ";object=" + url.PathEscape(opts.Object) + ";type=secret-key"
	lib := pkcs11.New(opts.Module)
	if lib == nil || opts.Token == "" || opts.Object == "" || !kmsprovider.ValidID(id) {
		return nil, fmt.Errorf("pkcs11kms: %w: Token and Object must be given, and Module (%q) be a PKCS#11 library that can be loaded", ErrOptions, opts.Module)
	}
	t := &token{lib: lib, opts: opts, idle: make(chan session, maxIdle)}
	p, err := tinkkms.New(id, t, &tinkkms.Options{Classify: classify})
	return &Provider{p, t}, err
}

// Close closes the sessions that no call uses. The library stays initialized: other
// parts of the program may use it.
func (p *Provider) Close() error {
	for {
		select {
		case s := <-p.token.idle:
			p.token.lib.CloseSession(s.handle)
		default:
			return nil
		}
	}
}

// token is a token and its key: an AEAD of Tink.
type token struct {
	lib     *pkcs11.Ctx
	opts    Options
	idle    chan session
	login   sync.Mutex
	refused func(pin string) bool // a closure, where printers can't look
	tested  bool
}

// session is logged in and has found the key.
type session struct {
	handle pkcs11.SessionHandle
	key    pkcs11.ObjectHandle
	tested bool
}

// Encrypt makes a wrap.
func (t *token) Encrypt(secret, aad []byte) ([]byte, error) {
	return t.use(func(s session) ([]byte, error) { return t.encrypt(s, secret, aad) })
}

// Decrypt opens a wrap. What tokens say of a wrong tag ranges from
// CKR_ENCRYPTED_DATA_INVALID to CKR_GENERAL_ERROR, which may as well be an outage. A
// token that works, and then says the same of this wrap again, rejects it.
func (t *token) Decrypt(wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < 1+ivSize+tagSize || len(wrapped) > maxWrap || wrapped[0] != version {
		return nil, fmt.Errorf("%w: not made by this package", kmsprovider.ErrRejected)
	}
	return t.use(func(s session) ([]byte, error) {
		out, err := t.decrypt(s, wrapped, aad)
		if class := classify(err); class != kmsprovider.ErrUnavailable && class != ErrUnfit {
			return out, err
		}
		if _, err := t.test(s); err != nil {
			return nil, err
		}
		out, again := t.decrypt(s, wrapped, aad)
		if again == err {
			again = fmt.Errorf("%w: %w", kmsprovider.ErrRejected, err)
		}
		return out, again
	})
}

// use runs fn in a session. Sessions die with the token's connection, so what fails
// in a used one is tried again in a fresh one.
func (t *token) use(fn func(session) ([]byte, error)) (out []byte, err error) {
	select {
	case s := <-t.idle:
		if out, err := fn(s); t.keep(s, err) {
			return out, err
		}
	default:
	}
	s, err := t.connect()
	if err == nil {
		out, err = fn(s)
		t.keep(s, err)
	}
	return out, err
}

// keep reports whether err leaves the session sound, and closes it if not. One that
// wasn't tested isn't kept: the key may be allowed to encrypt later.
func (t *token) keep(s session, err error) bool {
	sound := err == nil || errors.Is(err, kmsprovider.ErrRejected)
	if sound && s.tested {
		select {
		case t.idle <- s:
			return true
		default:
		}
	}
	t.lib.CloseSession(s.handle)
	return sound
}

// connect opens a session, logs in, finds the key and sees, once, that it works.
func (t *token) connect() (s session, err error) {
	t.login.Lock()
	defer t.login.Unlock()
	if err := t.lib.Initialize(); err != nil && err != pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return s, err
	}
	slots, err := t.lib.GetSlotList(true)
	if err != nil {
		return s, err
	}
	slots = slices.DeleteFunc(slots, func(slot uint) bool {
		info, err := t.lib.GetTokenInfo(slot)
		return err != nil || info.Label != t.opts.Token
	})
	if len(slots) != 1 {
		return s, fmt.Errorf("%d tokens have this label: %w", len(slots), pkcs11.Error(pkcs11.CKR_TOKEN_NOT_PRESENT))
	}
	if s.handle, err = t.lib.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION); err != nil {
		return s, err
	}
	if err = t.logIn(s); err == nil {
		s.key, err = t.find(s)
	}
	if err == nil && !t.tested {
		t.tested, err = t.test(s)
	}
	s.tested = t.tested
	if err != nil {
		t.lib.CloseSession(s.handle)
	}
	return s, err
}

func (t *token) logIn(s session) error {
	if t.opts.PIN == nil {
		return nil
	}
	pin, err := t.opts.PIN()
	if err != nil || t.refused != nil && t.refused(pin) { // err is not wrapped: it may tell the PIN
		class := map[bool]error{true: kmsprovider.ErrUnavailable, false: kmsprovider.ErrDenied}[err != nil]
		return fmt.Errorf("%w: no PIN, or one that the token has refused before", class)
	}
	switch err = t.lib.Login(s.handle, pkcs11.CKU_USER, pin); {
	case err == pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN):
		return nil
	case classify(err) == kmsprovider.ErrDenied:
		t.refused = func(again string) bool { return again == pin }
	}
	return err
}

// find looks for the key among those that can't leave the token.
func (t *token) find(s session) (pkcs11.ObjectHandle, error) {
	err := t.lib.FindObjectsInit(s.handle, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.opts.Object),
	})
	if err != nil {
		return 0, err
	}
	keys, _, err := t.lib.FindObjects(s.handle, 2)
	if err = errors.Join(err, t.lib.FindObjectsFinal(s.handle)); err == nil && len(keys) == 1 {
		return keys[0], nil
	}
	return 0, cmp.Or(err, fmt.Errorf("%d AES keys that can't leave the token have this label, want 1: %w", len(keys), pkcs11.Error(pkcs11.CKR_KEY_HANDLE_INVALID)))
}

// encrypt makes a wrap. A token that makes its own IVs writes them over ours, or
// takes nothing but zeros in their place.
func (t *token) encrypt(s session, secret, aad []byte) ([]byte, error) {
	iv := make([]byte, ivSize)
	rand.Read(iv)
	if wrapped, err := t.encryptWith(s, iv, secret, aad); classify(err) != ErrUnfit {
		return wrapped, err
	}
	return t.encryptWith(s, make([]byte, ivSize), secret, aad)
}

func (t *token) encryptWith(s session, iv, secret, aad []byte) ([]byte, error) {
	out, iv, err := gcm(s, iv, aad, t.lib.EncryptInit, t.lib.Encrypt, secret)
	if err == nil && (len(out) != len(secret)+tagSize || bytes.Equal(iv, make([]byte, ivSize))) {
		err = fmt.Errorf("AES-GCM of %d bytes gave %d, or no IV: %w", len(secret), len(out), pkcs11.Error(pkcs11.CKR_MECHANISM_INVALID))
	}
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte{version}, iv, out), nil
}

func (t *token) decrypt(s session, wrapped, aad []byte) ([]byte, error) {
	out, _, err := gcm(s, wrapped[1:1+ivSize], aad, t.lib.DecryptInit, t.lib.Decrypt, wrapped[1+ivSize:])
	return out, err
}

// gcm makes the two calls of an operation. used is the IV that the token has left.
func gcm(s session, iv, aad []byte, begin func(pkcs11.SessionHandle, []*pkcs11.Mechanism, pkcs11.ObjectHandle) error,
	end func(pkcs11.SessionHandle, []byte) ([]byte, error), in []byte) (out, used []byte, err error) {
	params := pkcs11.NewGCMParams(iv, aad, 8*tagSize)
	defer params.Free()
	if err = begin(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, s.key); err == nil {
		out, err = end(s.handle, in)
	}
	return out, params.IV(), err
}

// test sees that the key opens what it makes, and under no other associated data. With
// a key that may only decrypt any more it can't, and needn't: what such a key opens was
// made by one that was tested.
func (t *token) test(s session) (tested bool, err error) {
	text, aad := []byte("structseal"), []byte("test")
	wrapped, err := t.encrypt(s, text, aad)
	if classify(err) == kmsprovider.ErrDisabled {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	out, err := t.decrypt(s, wrapped, aad)
	if _, other := t.decrypt(s, wrapped, text); err == nil && (other == nil || !bytes.Equal(out, text)) {
		err = fmt.Errorf("it ignores associated data, or does not open what it has made: %w", pkcs11.Error(pkcs11.CKR_MECHANISM_INVALID))
	}
	return err == nil, err
}

// classify says what an error of the token means: nil for other errors.
func classify(err error) error {
	code, _ := errors.AsType[pkcs11.Error](err)
	switch code {
	case pkcs11.CKR_OK:
		return nil
	case pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OBJECT_HANDLE_INVALID:
		return kmsprovider.ErrNotFound
	case pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED:
		return kmsprovider.ErrDisabled
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED,
		pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_USER_PIN_NOT_INITIALIZED, pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN:
		return kmsprovider.ErrDenied
	case pkcs11.CKR_SESSION_COUNT:
		return kmsprovider.ErrThrottled
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID, pkcs11.CKR_ARGUMENTS_BAD,
		pkcs11.CKR_KEY_TYPE_INCONSISTENT, pkcs11.CKR_KEY_SIZE_RANGE:
		return ErrUnfit
	}
	return kmsprovider.ErrUnavailable
}
