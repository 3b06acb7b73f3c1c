//go:build cgo

package kms

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if text := os.Getenv(childErrand); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if theHSM.dir != "" {
		os.RemoveAll(theHSM.dir)
	}
	os.Exit(code)
}

// childErrand is the variable of the environment that makes the test binary a child
// with this errand.
const childErrand = "STRUCTSEAL_TEST_ERRAND"

// An errand is to move the ring in a directory from one key-encryption key to another.
type errand struct {
	Dir      string
	Pin      string
	From, To place
	Renew    bool   // every wrap is made anew on the way
	Last     bool   // RemoveKEK alone: the others are done
	Point    string // where to die
}

// child says what it does, line by line: "phase ..." and "event ...", and "done" at the
// end.
func child(text string) error {
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // its parent may be dead
	defer cancel()
	pin, err := keyring.ParsePin(e.Pin)
	if err != nil {
		return err
	}
	store, err := keyring.NewFileStore(e.Dir)
	if err != nil {
		return err
	}
	kms, closeAll, err := openAll([]place{e.From, e.To})
	if err != nil {
		return err
	}
	defer closeAll()
	wire := &tripwire{point: e.Point, seen: make(map[string]int)}
	from, to := wiredKMS{kms[0], wire}, wiredKMS{kms[1], wire}
	ring, err := keyring.Open(ctx, ringName, wiredStore{store, wire}, from, pin, &keyring.OpenOptions{Also: []kmsprovider.Provider{to}})
	if err != nil {
		return err
	}
	defer ring.Close()
	// With Renew each step is by itself. Without it, Rewrap takes the old one away, too.
	target := keyring.RewrapTarget{KEKs: []string{to.ID()}}
	if e.Renew {
		target = keyring.RewrapTarget{Renew: true}
	}
	if !e.Last {
		wire.enter("add")
		if err := ring.AddKEK(ctx, to, nil); err != nil {
			return err
		}
		wire.enter("rewrap")
		if _, err := ring.Rewrap(ctx, target); err != nil {
			return err
		}
	}
	wire.enter("remove")
	if err := ring.RemoveKEK(ctx, from.ID(), nil); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// A tripwire tells of all calls to the KMSs and writes to the store, from when the first
// phase begins, and kills the process at one of them: "rewrap write 3 after".
type tripwire struct {
	point string

	mu    sync.Mutex
	phase string
	seen  map[string]int
}

func (w *tripwire) enter(phase string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = phase
	fmt.Println("phase", phase)
}

func (w *tripwire) around(kind string, call func()) {
	w.mu.Lock()
	if w.phase == "" {
		w.mu.Unlock()
		call()
		return
	}
	kind = w.phase + " " + kind
	w.seen[kind]++
	at := fmt.Sprint(kind, " ", w.seen[kind])
	w.mu.Unlock()
	w.pass(at + " before")
	call()
	w.pass(at + " after")
}

func (w *tripwire) pass(at string) {
	if at == w.point {
		self, _ := os.FindProcess(os.Getpid())
		self.Kill() // -9
		select {}
	}
	fmt.Println("event", at)
}

// wiredKMS is a provider with a tripwire.
type wiredKMS struct {
	kmsprovider.Provider
	wire *tripwire
}

func (k wiredKMS) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) (out []byte, err error) {
	k.wire.around("wrap", func() { out, err = k.Provider.Wrap(ctx, secret, kc) })
	return out, err
}

func (k wiredKMS) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) (out []byte, err error) {
	k.wire.around("unwrap", func() { out, err = k.Provider.Unwrap(ctx, wrapped, kc) })
	return out, err
}

// wiredStore is a store with a tripwire.
type wiredStore struct {
	*keyring.FileStore
	wire *tripwire
}

func (s wiredStore) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) (err error) {
	s.wire.around("write", func() { err = s.FileStore.CompareAndSwap(ctx, name, old, next) })
	return err
}

// send lets a child do an errand, and kills it when it has told of so many events; 0:
// never. It returns the number of events, and whether the child was done.
func (e errand) send(t *testing.T, killAt int) (events int, done bool) {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childErrand+"="+string(text))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "done":
			done = true
		case strings.HasPrefix(line, "event "):
			if events++; events == killAt {
				cmd.Process.Kill()
			}
		}
	}
	io.Copy(io.Discard, out)
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case err == nil && done:
	case errors.As(err, &exit) && exit.Error() == "signal: killed" && (killAt > 0 || e.Point != ""):
	default:
		t.Fatalf("the child ended with %v\n%s", err, stderr.String())
	}
	return events, done
}
