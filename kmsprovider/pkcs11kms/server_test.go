//go:build cgo

package pkcs11kms_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/miekg/pkcs11"

	"github.com/structseal/structseal/kmsprovider/pkcs11kms"
)

const soPIN, userPIN = "so-4711-secret", "user-0815-secret"

// A site is a SoftHSM with tokens of its own, behind a library that can misbehave.
// There is one for the process: PKCS#11 libraries are initialized once.
type site struct {
	module  string
	control []uint32
	lib     *pkcs11.Ctx
	dir     string
}

// What testdata/shim.c knows.
const (
	mode, code, logins, blocked, encrypts = 0, 1, 2, 3, 4

	sound, refuse, down, silent, ownIV, onlyOwnIV, noIV, noAAD, lie, oddTag, appends = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
)

func (s *site) set(m, c uint32) {
	atomic.StoreUint32(&s.control[code], c)
	atomic.StoreUint32(&s.control[mode], m)
}

func (s *site) get(what int) uint32 { return atomic.LoadUint32(&s.control[what]) }

var errMissing = errors.New("not installed")

var theSite = sync.OnceValues(startSite)

func start(t testing.TB) *site {
	t.Helper()
	s, err := theSite()
	switch {
	case errors.Is(err, errMissing) && os.Getenv("CI") != "true":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { s.set(sound, 0) })
	return s
}

var siteDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if siteDir != "" {
		os.RemoveAll(siteDir)
	}
	os.Exit(code)
}

func softHSM() (string, error) {
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("SoftHSM (libsofthsm2.so): %w", errMissing)
}

func startSite() (*site, error) {
	real, err := softHSM()
	if err != nil {
		return nil, err
	}
	s := &site{}
	if s.dir, err = os.MkdirTemp("", "pkcs11kms"); err != nil {
		return nil, err
	}
	siteDir = s.dir
	conf := filepath.Join(s.dir, "softhsm2.conf")
	text := "directories.tokendir = " + s.dir + "/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
	if err := errors.Join(os.Mkdir(filepath.Join(s.dir, "tokens"), 0o700), os.WriteFile(conf, []byte(text), 0o600)); err != nil {
		return nil, err
	}
	os.Setenv("SOFTHSM2_CONF", conf)
	if err := s.build(real); err != nil {
		return nil, err
	}
	s.lib = pkcs11.New(s.module)
	if s.lib == nil {
		return nil, errors.New("the library of the test can't be loaded")
	}
	if err := s.lib.Initialize(); err != nil {
		return nil, err
	}
	return s, s.makeToken("app")
}

// build compiles the library between.
func (s *site) build(real string) error {
	headers, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	path := filepath.Join(s.dir, "control")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		return err
	}
	s.module = filepath.Join(s.dir, "shim.so")
	cc := exec.Command("cc", "-shared", "-fPIC", "-O1", "-I", strings.TrimSpace(string(headers)),
		fmt.Sprintf("-DREAL=%q", real), fmt.Sprintf("-DCONTROL=%q", path), "-o", s.module, "testdata/shim.c", "-ldl")
	if out, err := cc.CombinedOutput(); err != nil {
		return fmt.Errorf("cc: %w\n%s", err, out)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	s.control = unsafe.Slice((*uint32)(unsafe.Pointer(&page[0])), 1024)
	return nil
}

// makeToken makes a token with the user's PIN, and logs in.
func (s *site) makeToken(label string) error {
	slots, err := s.lib.GetSlotList(false)
	if err != nil {
		return err
	}
	free := slots[len(slots)-1]
	if err := s.lib.InitToken(free, soPIN, label); err != nil {
		return err
	}
	slot, err := s.slot(label)
	if err != nil {
		return err
	}
	session, err := s.lib.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	defer s.lib.CloseSession(session)
	return errors.Join(
		s.lib.Login(session, pkcs11.CKU_SO, soPIN),
		s.lib.InitPIN(session, userPIN),
		s.lib.Logout(session),
	)
}

// slot finds a token, which has another slot after Finalize.
func (s *site) slot(label string) (uint, error) {
	slots, err := s.lib.GetSlotList(true)
	for _, slot := range slots {
		if info, err := s.lib.GetTokenInfo(slot); err == nil && info.Label == label {
			return slot, nil
		}
	}
	return 0, errors.Join(err, errors.New("no such token"))
}

// logOut ends all sessions, and with them the login.
func (s *site) logOut() error {
	slot, err := s.slot("app")
	return errors.Join(err, s.lib.CloseAllSessions(slot))
}

// admin runs fn in a session of the user's that may write.
func (s *site) admin(t testing.TB, fn func(session pkcs11.SessionHandle) error) {
	t.Helper()
	slot, err := s.slot("app")
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.lib.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer s.lib.CloseSession(session)
	if err := s.lib.Login(session, pkcs11.CKU_USER, userPIN); err != nil && err != pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		t.Fatal(err)
	}
	if err := fn(session); err != nil {
		t.Fatal(err)
	}
}

// makeKey makes a key that can't leave the token; changes are attributes besides.
func (s *site) makeKey(t testing.TB, label string, changes ...*pkcs11.Attribute) {
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
	s.admin(t, func(session pkcs11.SessionHandle) error {
		_, err := s.lib.GenerateKey(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, template)
		return err
	})
}

// eachKey runs fn on all keys with a label.
func (s *site) eachKey(t testing.TB, label string, fn func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error) {
	t.Helper()
	s.admin(t, func(session pkcs11.SessionHandle) error {
		if err := s.lib.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}); err != nil {
			return err
		}
		keys, _, err := s.lib.FindObjects(session, 10)
		if err = errors.Join(err, s.lib.FindObjectsFinal(session)); err != nil {
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

func (s *site) options(label string) pkcs11kms.Options {
	return pkcs11kms.Options{Module: s.module, Token: "app", Object: label, PIN: func() (string, error) { return userPIN, nil }}
}

// open returns a provider with sessions of its own.
func (s *site) open(t testing.TB, label string) *pkcs11kms.Provider {
	t.Helper()
	p, err := pkcs11kms.New(s.options(label))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
