package keyring

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// The test binary starts itself as a child that rotates a ring in a file store.
const (
	childDir    = "STRUCTSEAL_TEST_DIR"    // holds app.kek and keys/
	childPin    = "STRUCTSEAL_TEST_PIN"    //
	childCount  = "STRUCTSEAL_TEST_COUNT"  // rotations to do; 0 for ever
	childAnchor = "STRUCTSEAL_TEST_ANCHOR" // file of an anchor, whose steps are meant then
	childStep   = "STRUCTSEAL_TEST_STEP"   // step of the file store's write, or of a subject's change, to die at
	childAt     = "STRUCTSEAL_TEST_AT"     // ... when it comes for the nth time
	childWork   = "STRUCTSEAL_TEST_WORK"   // operation to do once; none: rotations
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child rotates and prints each id when Rotate has returned it.
func child(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	count, _ := strconv.Atoi(os.Getenv(childCount))
	at, _ := strconv.Atoi(os.Getenv(childAt))
	var opts OpenOptions
	hooks := []*func(string){&fileStoreHook, &subjectHook}
	if path := os.Getenv(childAnchor); path != "" {
		anchor, err := NewFileAnchor(path)
		if err != nil {
			return err
		}
		opts.Anchor, hooks = anchor, []*func(string){&fileAnchorHook}
	}
	if step := os.Getenv(childStep); step != "" {
		var mu sync.Mutex
		for _, hook := range hooks {
			*hook = func(s string) {
				mu.Lock()
				defer mu.Unlock()
				if s != step {
					return
				}
				if at--; at == 0 {
					self, _ := os.FindProcess(os.Getpid())
					self.Kill() // -9
					select {}
				}
			}
		}
	}
	if name := os.Getenv(childWork); name != "" {
		return operate(ctx, dir, name)
	}
	pin, err := ParsePin(os.Getenv(childPin))
	if err != nil {
		return err
	}
	kms, err := localkms.OpenKeyFile(filepath.Join(dir, "app.kek"))
	if err != nil {
		return err
	}
	store, err := NewFileStore(filepath.Join(dir, "keys"))
	if err != nil {
		return err
	}
	ring, err := Open(ctx, "app", store, kms, pin, &opts)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for n := 0; count == 0 || n < count; n++ {
		id, err := ring.Rotate(ctx, Data, &RotateOptions{Now: true})
		if err != nil {
			return err
		}
		// What is told is in use: seal with it, as a program would.
		if _, err := ring.Primary(ctx, Data); err != nil {
			return err
		}
		fmt.Printf("%08x\n", id)
	}
	return nil
}

// site is a directory with a KEK and a ring.
type site struct {
	dir  string
	kms  *localkms.Provider
	pin  Pin
	told map[uint32]bool // ids that a child has returned
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), told: make(map[uint32]bool)}
	s.kms = must[*localkms.Provider](t)(localkms.CreateKeyFile(filepath.Join(s.dir, "app.kek")))
	store := must[*FileStore](t)(NewFileStore(filepath.Join(s.dir, "keys")))
	ring, pin := mustCreate(t, "app", store, s.kms)
	s.pin = pin
	for _, k := range ring.Keys() {
		if k.Purpose == Data {
			s.told[k.ID] = true
		}
	}
	return s
}

func (s *site) start(t *testing.T, env ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+s.dir, childPin+"="+s.pin.String())
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// note remembers an id that the child printed in full.
func (s *site) note(t *testing.T, line string) {
	t.Helper()
	id, err := strconv.ParseUint(line, 16, 32)
	if err != nil || len(line) != 8 {
		return // "ready", or a line that the kill cut
	}
	s.told[uint32(id)] = true
}

// check opens the ring after a crash and finds every key that was told.
func (s *site) check(t *testing.T, what string) *Keyring {
	t.Helper()
	ctx := t.Context()
	store := must[*FileStore](t)(NewFileStore(filepath.Join(s.dir, "keys")))
	ring, err := Open(ctx, "app", store, s.kms, s.pin, nil)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Cleanup(func() { ring.Close() })
	for id := range s.told {
		if _, err := ring.Key(ctx, Data, id); err != nil {
			t.Fatalf("%s: key %08x was in use: %v", what, id, err)
		}
	}
	if ring.Revision() != uint64(len(ring.Keys()))-6+1 {
		t.Fatalf("%s: revision %d with %d keys", what, ring.Revision(), len(ring.Keys()))
	}
	must[*crypto.Key](t)(ring.Primary(ctx, Data))
	return ring
}

// P7: kill -9 at every named step of a write.
func TestP7_KillAtEveryStep(t *testing.T) {
	var steps []string
	store := must[*FileStore](t)(NewFileStore(filepath.Join(t.TempDir(), "keys")))
	fileStoreHook = func(step string) { steps = append(steps, step) }
	err := store.CompareAndSwap(t.Context(), "app", 0, Record{1, []byte("x")})
	fileStoreHook = func(string) {}
	if err != nil || len(steps) < 7 {
		t.Fatalf("steps %q, %v", steps, err)
	}
	for _, step := range steps {
		s := newSite(t)
		cmd, out := s.start(t, childStep+"="+step, childAt+"=3")
		lines := 0
		for out.Scan() {
			s.note(t, out.Text())
			lines++
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("%s: child ended with %v", step, err)
		}
		if lines != 3 { // ready and two ids
			t.Errorf("%s: %d lines", step, lines)
		}
		ring := s.check(t, step)
		// The third rotation is there as soon as it was renamed, and only then.
		want := uint64(3)
		if strings.HasPrefix(step, "renamed") || strings.HasPrefix(step, "directory") {
			want = 4
		}
		if ring.Revision() != want {
			t.Errorf("%s: revision %d, want %d", step, ring.Revision(), want)
		}
		// And the next writer isn't in the way of anything.
		must[uint32](t)(ring.Rotate(t.Context(), Data, &RotateOptions{Now: true}))
		if _, err := os.Stat(filepath.Join(s.dir, "keys", "app.tmp")); !os.IsNotExist(err) {
			t.Errorf("%s: temporary file: %v", step, err)
		}
	}
}

// P7: kill -9 at random moments of a process that rotates without end: 20, or
// 200 with STRUCTSEAL_LONG=1.
func TestP7_KillAtRandom(t *testing.T) {
	kills := 20
	if os.Getenv("STRUCTSEAL_LONG") != "" {
		kills = 200
	}
	s := newSite(t)
	rotations := 0
	for n := range kills {
		if len(s.told) > MaxKeys/2 {
			s = newSite(t)
		}
		cmd, out := s.start(t)
		if !out.Scan() { // ready
			t.Fatalf("kill %d: the child said nothing", n)
		}
		if n%2 == 1 && out.Scan() { // every other one lives to see its first rotation
			s.note(t, out.Text())
			rotations++
		}
		timer := time.AfterFunc(rand.N(40*time.Millisecond), func() { cmd.Process.Kill() })
		for out.Scan() {
			s.note(t, out.Text())
			rotations++
		}
		timer.Stop()
		cmd.Wait()
		s.check(t, fmt.Sprintf("kill %d", n))
	}
	t.Logf("%d kills, %d rotations", kills, rotations)
	if rotations == 0 {
		t.Error("no child rotated")
	}
}

// P8: eight goroutines and four processes rotate one ring.
func TestManyProcessesRotate(t *testing.T) {
	const processes, each, goroutines, rounds = 4, 10, 8, 4
	s := newSite(t)
	store := must[*FileStore](t)(NewFileStore(filepath.Join(s.dir, "keys")))
	ring := must[*Keyring](t)(Open(t.Context(), "app", store, s.kms, s.pin, nil))
	defer ring.Close()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range processes {
		cmd, out := s.start(t, fmt.Sprintf("%s=%d", childCount, each))
		wg.Go(func() {
			for out.Scan() {
				mu.Lock()
				s.note(t, out.Text())
				mu.Unlock()
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				id, err := ring.Rotate(t.Context(), Data, &RotateOptions{Now: true})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				s.told[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	const total = processes*each + goroutines*rounds
	final := s.check(t, "contention")
	if final.Revision() != 1+total || len(s.told) != 1+total {
		t.Errorf("revision %d, %d keys told, %d rotations", final.Revision(), len(s.told), total)
	}
}
