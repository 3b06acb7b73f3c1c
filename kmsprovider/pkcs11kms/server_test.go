//go:build cgo

package pkcs11kms_test

import (
	"os"
	"sync"
	"testing"

	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms/softhsm"
)

// A site is a SoftHSM with tokens of its own, behind a library that can misbehave.
// There is one for the process: PKCS#11 libraries are initialized once.
type site struct {
	*softhsm.HSM
	*softhsm.Shim
}

var theSite struct {
	sync.Once
	site
	dir string
	err error
}

func start(t testing.TB) *site {
	t.Helper()
	library := softhsm.Library(t)
	theSite.Do(func() { theSite.err = startSite(library) })
	if theSite.err != nil {
		t.Fatal(theSite.err)
	}
	t.Cleanup(func() { theSite.Set("") })
	return &theSite.site
}

func startSite(library string) (err error) {
	if theSite.dir, err = os.MkdirTemp("", "pkcs11kms"); err != nil {
		return err
	}
	if theSite.Shim, err = softhsm.BuildShim(theSite.dir, library); err != nil {
		return err
	}
	theSite.HSM, err = softhsm.New(theSite.dir, theSite.Shim.Module)
	return err
}

func TestMain(m *testing.M) {
	code := m.Run()
	if theSite.dir != "" {
		os.RemoveAll(theSite.dir)
	}
	os.Exit(code)
}

// open returns a provider with sessions of its own.
func (s *site) open(t testing.TB, label string) *pkcs11kms.Provider {
	t.Helper()
	p, err := pkcs11kms.New(s.Options(label))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
