//go:build cgo

package softhsm

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/miekg/pkcs11"

	"github.com/structseal/structseal/kmsprovider/kmstest"
)

//go:embed testdata/shim.c
var source []byte

// A Shim is a library that hands every call to another one, until it is told to
// misbehave. It is one for all processes that load it. It is safe for concurrent use.
type Shim struct {
	// Module is the path of the library.
	Module string

	control []uint32
}

// A Flaw is what tokens do that are sound otherwise. A code says more.
type Flaw uint32

// What testdata/shim.c knows.
const (
	Refuse    Flaw = iota + 1 // EncryptInit and DecryptInit return the code
	Down                      // and so do OpenSession and Login
	Silent                    // EncryptInit and DecryptInit do not return
	OwnIV                     // the token writes its own IV over the caller's
	OnlyOwnIV                 // and refuses one that is not zero
	NoIV                      // refuses one that is not zero, and writes none
	NoAAD                     // the associated data is ignored
	Lie                       // Decrypt returns other bytes (0), zeros (1), or a length (2 more)
	OddTag                    // a wrong tag is CKR_ENCRYPTED_DATA_INVALID
	Appends                   // Encrypt returns something behind the tag
)

// A Counter is what a Shim counts.
type Counter int

// The counters.
const (
	Logins   Counter = 2 + iota // calls of Login
	Blocked                     // calls that do not return just now
	Encrypts                    // calls of EncryptInit
)

// BuildShim compiles one in dir that stands before a library.
func BuildShim(dir, library string) (*Shim, error) {
	headers, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	if err != nil {
		return nil, fmt.Errorf("softhsm: go list: %w", err)
	}
	code, path := filepath.Join(dir, "shim.c"), filepath.Join(dir, "control")
	for name, data := range map[string][]byte{code: source, path: make([]byte, 4096)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return nil, fmt.Errorf("softhsm: %w", err)
		}
	}
	s := &Shim{Module: filepath.Join(dir, "shim.so")}
	cc := exec.Command("cc", "-shared", "-fPIC", "-O1", "-I", strings.TrimSpace(string(headers)),
		fmt.Sprintf("-DREAL=%q", library), fmt.Sprintf("-DCONTROL=%q", path), "-o", s.Module, code, "-ldl")
	if out, err := cc.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("softhsm: cc: %w\n%s", err, out)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("softhsm: %w", err)
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("softhsm: %w", err)
	}
	s.control = unsafe.Slice((*uint32)(unsafe.Pointer(&page[0])), 1024)
	return s, nil
}

// Misbehave begins a flaw; 0 ends all.
func (s *Shim) Misbehave(f Flaw, code uint32) {
	atomic.StoreUint32(&s.control[1], code)
	atomic.StoreUint32(&s.control[0], uint32(f))
}

// Count returns a counter.
func (s *Shim) Count(c Counter) uint32 { return atomic.LoadUint32(&s.control[c]) }

var modes = map[kmstest.Mode]struct {
	flaw Flaw
	code uint32
}{
	kmstest.Denied:      {Refuse, pkcs11.CKR_USER_NOT_LOGGED_IN},
	kmstest.Unavailable: {Down, pkcs11.CKR_DEVICE_ERROR},
	kmstest.Throttled:   {Down, pkcs11.CKR_SESSION_COUNT},
	kmstest.HungUp:      {Down, pkcs11.CKR_DEVICE_REMOVED},
	kmstest.Silent:      {Silent, 0},
	kmstest.OtherBytes:  {Lie, 0},
	kmstest.ZeroBytes:   {Lie, 1},
	kmstest.Length0:     {Lie, 2 + 0},
	kmstest.Length16:    {Lie, 2 + 16},
	kmstest.Length31:    {Lie, 2 + 31},
	kmstest.Length33:    {Lie, 2 + 33},
}

// Set makes the token be in the mode; "" and modes that the shim doesn't know are
// sound. Keys that are gone or switched off are made with [HSM.Rename] and
// [HSM.Allow].
func (s *Shim) Set(m kmstest.Mode) { s.Misbehave(modes[m].flaw, modes[m].code) }

// Faults are the modes that the shim knows, for [kmstest.Run].
func (s *Shim) Faults() []kmstest.Option {
	return kmstest.Faults(s.Set, slices.Collect(maps.Keys(modes))...)
}
