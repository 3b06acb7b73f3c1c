//go:build cgo

package kmsurl_test

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms/softhsm"
)

const userPIN = "user-0815-secret"

// softHSM makes a token with a key, and returns the library. Package softhsm makes one
// whose label needs no escapes, and one in a process.
func softHSM(t *testing.T, token, object string) (module string) {
	t.Helper()
	module = softhsm.Library(t)
	dir := t.TempDir()
	t.Setenv("SOFTHSM2_CONF", write(t, filepath.Join(dir, "softhsm2.conf"), "directories.tokendir = "+dir+"\nlog.level = ERROR\n"))
	lib := pkcs11.New(module)
	if lib == nil {
		t.Fatalf("SoftHSM (%q) can't be loaded", module)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(lib.Initialize())
	t.Cleanup(func() { lib.Finalize() })
	slots, err := lib.GetSlotList(false)
	must(err)
	must(lib.InitToken(slots[0], "so-4711", token))
	slots, err = lib.GetSlotList(true)
	must(err)
	session, err := lib.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(err)
	defer lib.CloseSession(session)
	must(lib.Login(session, pkcs11.CKU_SO, "so-4711"))
	must(lib.InitPIN(session, userPIN))
	must(lib.Logout(session))
	must(lib.Login(session, pkcs11.CKU_USER, userPIN))
	_, err = lib.GenerateKey(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_LABEL, object),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true), pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
	})
	must(err)
	must(lib.Logout(session))
	return module
}

func TestPKCS11(t *testing.T) {
	module := softHSM(t, "an HSM", "kek;2026")
	pin := write(t, filepath.Join(t.TempDir(), "pin"), userPIN+"\n")
	driver, err := pkcs11kms.New(pkcs11kms.Options{Module: module, Token: "an HSM", Object: "kek;2026", PIN: func() (string, error) { return userPIN, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Close() })
	uri := "pkcs11:object=kek%3B2026;token=an%20HSM?module-path=" + url.PathEscape(module) + "&pin-source="
	opensRingOf(t, driver, uri+"file:"+pin)

	// The ID itself is the URI, where the environment says which library it is.
	t.Setenv("PKCS11_MODULE_PATH", module)
	opensRingOf(t, driver, driver.ID()+"?pin-source="+pin)
	t.Setenv("PKCS11_MODULE_PATH", "")
	if _, _, err := kmsurl.Open(t.Context(), driver.ID()); err == nil || !strings.Contains(err.Error(), "module-path") {
		t.Errorf("without a library: %v", err)
	}
	kms, _, err := kmsurl.Open(t.Context(), strings.Replace(uri, url.PathEscape(module), "/nonexistent.so", 1)+pin)
	if kms != nil || !errors.Is(err, pkcs11kms.ErrOptions) {
		t.Errorf("a library that isn't there: %v, %v", kms, err)
	}
}

func TestPINThatIsWrong(t *testing.T) {
	module := softHSM(t, "app", "kek")
	uri := "pkcs11:token=app;object=kek?module-path=" + url.PathEscape(module) + "&pin-source=" + write(t, filepath.Join(t.TempDir(), "pin"), "hunter2-hunter2")
	_, err := open(t, uri).Wrap(t.Context(), make([]byte, 32), kmsprovider.Context{})
	if !errors.Is(err, kmsprovider.ErrDenied) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}
