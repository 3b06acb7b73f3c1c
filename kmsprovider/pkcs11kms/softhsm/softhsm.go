//go:build cgo

package softhsm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
)

// The token, and who may use it. All of them are public.
const (
	Token = "app"
	PIN   = "user-0815-secret"
	SOPIN = "so-4711-secret"
)

// Library returns the path of SoftHSM's library. Without one the test is skipped, or
// fails if CI=true is set.
func Library(t testing.TB) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("SoftHSM (libsofthsm2.so) is not installed, and CI is set")
	}
	t.Skip("SoftHSM (libsofthsm2.so) is not installed")
	return ""
}

// An HSM is SoftHSM with one token. Its methods are for one goroutine at a time, also
// those that don't take a test.
type HSM struct {
	// Module is the library, for whoever uses the token.
	Module string
	// Dir is where the tokens lie. Without its files they are away.
	Dir string
	// Lib is the library as this package has it, initialized.
	Lib *pkcs11.Ctx
}

// New makes an HSM in an empty directory and sets SOFTHSM2_CONF for this process and
// those that it starts. module is what Library has returned, or a library that stands
// before it; see [Shim]. Call it once in a process.
func New(dir, module string) (*HSM, error) {
	h := &HSM{Module: module, Dir: filepath.Join(dir, "tokens")}
	conf := filepath.Join(dir, "softhsm2.conf")
	text := "directories.tokendir = " + h.Dir + "\nobjectstore.backend = file\nlog.level = ERROR\n"
	if err := errors.Join(os.Mkdir(h.Dir, 0o700), os.WriteFile(conf, []byte(text), 0o600), os.Setenv("SOFTHSM2_CONF", conf)); err != nil {
		return nil, fmt.Errorf("softhsm: %w", err)
	}
	h.Lib = pkcs11.New(module)
	if h.Lib == nil {
		return nil, fmt.Errorf("softhsm: %s can't be loaded", module)
	}
	if err := h.Lib.Initialize(); err != nil {
		return nil, fmt.Errorf("softhsm: %w", err)
	}
	if err := h.makeToken(); err != nil {
		return nil, fmt.Errorf("softhsm: token: %w", err)
	}
	return h, nil
}

func (h *HSM) makeToken() error {
	slots, err := h.Lib.GetSlotList(false)
	if err != nil {
		return err
	}
	free := slots[len(slots)-1]
	if err := h.Lib.InitToken(free, SOPIN, Token); err != nil {
		return err
	}
	return h.Session(func(session pkcs11.SessionHandle) error {
		return errors.Join(
			h.Lib.Login(session, pkcs11.CKU_SO, SOPIN),
			h.Lib.InitPIN(session, PIN),
			h.Lib.Logout(session),
		)
	})
}

// slot finds the token, which has another slot after Finalize.
func (h *HSM) slot() (uint, error) {
	slots, err := h.Lib.GetSlotList(true)
	for _, slot := range slots {
		if info, err := h.Lib.GetTokenInfo(slot); err == nil && info.Label == Token {
			return slot, nil
		}
	}
	return 0, errors.Join(err, errors.New("no such token"))
}

// Options are those of a provider with the key of a label.
func (h *HSM) Options(label string) pkcs11kms.Options {
	return pkcs11kms.Options{Module: h.Module, Token: Token, Object: label, PIN: func() (string, error) { return PIN, nil }}
}

// LogOut ends all sessions of this process, and with them the login.
func (h *HSM) LogOut() error {
	slot, err := h.slot()
	return errors.Join(err, h.Lib.CloseAllSessions(slot))
}

// Session opens a session without a login of its own, and ends it with fn.
func (h *HSM) Session(fn func(session pkcs11.SessionHandle) error) error {
	slot, err := h.slot()
	if err != nil {
		return err
	}
	session, err := h.Lib.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	return errors.Join(fn(session), h.Lib.CloseSession(session))
}

// user runs fn in a session of the user's.
func (h *HSM) user(t testing.TB, fn func(session pkcs11.SessionHandle) error) {
	t.Helper()
	err := h.Session(func(session pkcs11.SessionHandle) error {
		if err := h.Lib.Login(session, pkcs11.CKU_USER, PIN); err != nil && err != pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
			return err
		}
		return fn(session)
	})
	if err != nil {
		t.Fatalf("softhsm: %v", err)
	}
}

// MakeKey makes an AES key of 256 bits that can't leave the token; changes are
// attributes that shall have other values.
func (h *HSM) MakeKey(t testing.TB, label string, changes ...*pkcs11.Attribute) {
	t.Helper()
	template := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true), pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
	}
	for _, c := range changes {
		for i := range template {
			if template[i].Type == c.Type {
				template[i] = c
			}
		}
	}
	h.user(t, func(session pkcs11.SessionHandle) error {
		_, err := h.Lib.GenerateKey(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, template)
		return err
	})
}

// EachKey runs fn on all keys of a label, of which there is one at least.
func (h *HSM) EachKey(t testing.TB, label string, fn func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error) {
	t.Helper()
	h.user(t, func(session pkcs11.SessionHandle) error {
		if err := h.Lib.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}); err != nil {
			return err
		}
		keys, _, err := h.Lib.FindObjects(session, 10)
		if err = errors.Join(err, h.Lib.FindObjectsFinal(session)); err != nil {
			return err
		}
		if len(keys) == 0 {
			return fmt.Errorf("no key %s", label)
		}
		for _, k := range keys {
			err = errors.Join(err, fn(session, k))
		}
		return err
	})
}

// Allow says whether the key may encrypt and decrypt.
func (h *HSM) Allow(t testing.TB, label string, yes bool) {
	t.Helper()
	h.EachKey(t, label, func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		return h.Lib.SetAttributeValue(session, key, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, yes), pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, yes),
		})
	})
}

// Rename gives the key another label: for whoever looks for the old one it is gone,
// except in sessions that have found it already.
func (h *HSM) Rename(t testing.TB, from, to string) {
	t.Helper()
	h.EachKey(t, from, func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		return h.Lib.SetAttributeValue(session, key, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, to)})
	})
}

// DestroyKey destroys the key for good.
func (h *HSM) DestroyKey(t testing.TB, label string) {
	t.Helper()
	h.EachKey(t, label, func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		return h.Lib.DestroyObject(session, key)
	})
}
