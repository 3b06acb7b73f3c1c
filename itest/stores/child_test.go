package stores

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// The test binary starts itself as a child that works on a ring.
const (
	childDriver  = "STRUCTSEAL_TEST_DRIVER"
	childDSN     = "STRUCTSEAL_TEST_DSN"
	childDialect = "STRUCTSEAL_TEST_DIALECT"
	childKEKs    = "STRUCTSEAL_TEST_KEKS" // a list of key files
	childRing    = "STRUCTSEAL_TEST_RING"
	childPin     = "STRUCTSEAL_TEST_PIN"
	childWork    = "STRUCTSEAL_TEST_WORK"  // workRotate, workSeal or the name of an operation
	childCount   = "STRUCTSEAL_TEST_COUNT" // rotations to do; 0 for ever
	childArg     = "STRUCTSEAL_TEST_ARG"   // of an operation
	childPoint   = "STRUCTSEAL_TEST_POINT" // where in an operation to die
)

const (
	workRotate = "rotations"
	workSeal   = "seal"
)

// child does its work when it has said "ready" and read a line.
func child() error {
	ctx, cancel := context.WithTimeout(context.Background(), childTimeout)
	defer cancel()
	dialect, err := strconv.Atoi(os.Getenv(childDialect))
	if err != nil {
		return err
	}
	e := site{sqlstore.Dialect(dialect), os.Getenv(childDriver), os.Getenv(childDSN)}
	db, err := e.connect()
	if err != nil {
		return err
	}
	defer db.close()
	r := &shared{site: e, name: os.Getenv(childRing), stores: db}
	if r.pin, err = keyring.ParsePin(os.Getenv(childPin)); err != nil {
		return err
	}
	for _, path := range filepath.SplitList(os.Getenv(childKEKs)) {
		kms, err := localkms.OpenKeyFile(path)
		if err != nil {
			return err
		}
		r.keks = append(r.keks, kms)
	}
	stdin := bufio.NewReader(os.Stdin)
	switch work := os.Getenv(childWork); work {
	case workRotate:
		return rotations(ctx, r, stdin)
	case workSeal:
		return seal(ctx, r, stdin)
	default:
		return operate(ctx, r, stdin, work)
	}
}

// childTimeout ends a child whose parent was killed.
const childTimeout = 30 * time.Minute

// rotations rotates and prints each key with its revision when Rotate has
// returned, says "done" and waits for another line, and prints what it knows of
// the ring then.
func rotations(ctx context.Context, r *shared, stdin *bufio.Reader) error {
	count, err := strconv.Atoi(os.Getenv(childCount))
	if err != nil {
		return err
	}
	if err := r.stores.migrate(ctx); err != nil {
		return err
	}
	ring, err := r.ring(ctx)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := stdin.ReadString('\n'); err != nil {
		return err
	}
	for n := 0; count == 0 || n < count; n++ {
		id, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
		if errors.Is(err, keyring.ErrTooLarge) && count == 0 {
			break
		}
		if err != nil {
			return err
		}
		// What is told is in use: a program would seal with it now.
		key, err := ring.Primary(ctx, keyring.Data)
		if err != nil {
			return err
		}
		if key.ID() != id {
			return fmt.Errorf("primary %08x after rotation to %08x", key.ID(), id)
		}
		fmt.Printf("key %08x %d\n", id, ring.Revision())
	}
	fmt.Println("done")
	if _, err := stdin.ReadString('\n'); err != nil {
		return err
	}
	if err := ring.Refresh(ctx); err != nil {
		return err
	}
	fmt.Println("knows", describe(ring))
	return nil
}

// describe lists the ring's keys in the order in which they were added.
func describe(ring *keyring.Keyring) string {
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d:", ring.Revision())
	for _, k := range ring.Keys() {
		fmt.Fprintf(&b, " %08x/%s/%s", k.ID, k.Purpose, k.State)
	}
	return b.String()
}

// A shared ring is one that several processes use.
type shared struct {
	site
	name   string
	stores stores // of this process
	files  []string
	keks   []*localkms.Provider
	pin    keyring.Pin
	told   map[uint32]uint64 // keys that a process has returned, and their revisions
}

// share makes a ring under the first of two key-encryption keys.
func share(t *testing.T, s site) *shared {
	t.Helper()
	r := &shared{site: s, name: random(), stores: s.stores(t), told: make(map[uint32]uint64)}
	for range 2 {
		path := filepath.Join(t.TempDir(), "app.kek")
		kms, err := localkms.CreateKeyFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r.files, r.keks = append(r.files, path), append(r.keks, kms)
	}
	ring, pin, err := keyring.Create(t.Context(), r.name, r.stores.ring, r.keks[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	r.pin = pin
	return r
}

// ring opens the ring as a fresh process would, under its first key-encryption key.
func (r *shared) ring(ctx context.Context) (*keyring.Keyring, error) {
	return keyring.Open(ctx, r.name, r.stores.ring, r.keks[0], r.pin, nil)
}

// process is a running child.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start starts a child with further lines of environment.
func (r *shared) start(t *testing.T, work string, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(),
		childDriver+"="+r.driver, childDSN+"="+r.dsn, childDialect+"="+strconv.Itoa(int(r.dialect)),
		childKEKs+"="+strings.Join(r.files, string(filepath.ListSeparator)), childRing+"="+r.name, childPin+"="+r.pin.String(), childWork+"="+work)
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	p.out.Buffer(nil, 1<<20)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // does nothing when it has ended
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	return p
}

// goOn tells the child to go on.
func (p *process) goOn() { p.say("") }

func (p *process) say(line string) { io.WriteString(p.in, line+"\n") }

// until reads lines up to the one that begins with word, and returns it; false
// if the child ended before.
func (p *process) until(word string, each func(line string)) (string, bool) {
	for p.out.Scan() {
		line := p.out.Text()
		if strings.HasPrefix(line, word) {
			return line, true
		}
		each(line)
	}
	return "", false
}

// parse reads what a child tells of a key; false for a line that a kill cut.
func parse(line string) (id uint32, revision uint64, ok bool) {
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != "key" || len(f[1]) != 8 {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(f[1], 16, 32)
	if err != nil {
		return 0, 0, false
	}
	revision, err = strconv.ParseUint(f[2], 10, 64)
	return uint32(n), revision, err == nil
}

// check opens the ring as a fresh process would and finds every key that was
// told, in the place of the revision that made it.
func (r *shared) check(t *testing.T, when string) *keyring.Keyring {
	t.Helper()
	ring, err := r.ring(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	t.Cleanup(func() { ring.Close() })
	keys := ring.Keys()
	if got, want := ring.Revision(), uint64(1+len(keys)-firstKeys); got != want {
		t.Errorf("%s: revision %d with %d keys", when, got, len(keys))
	}
	primaries := make(map[keyring.Purpose]int)
	for i, k := range keys {
		if k.State == keyring.Primary {
			primaries[k.Purpose]++
		}
		if revision, ok := r.told[k.ID]; ok && i != firstKeys+int(revision)-2 {
			t.Errorf("%s: key %08x is number %d, and was told at revision %d", when, k.ID, i, revision)
		}
	}
	for p := keyring.Data; p <= keyring.MAC; p++ {
		if primaries[p] != 1 {
			t.Errorf("%s: %d primaries of %s", when, primaries[p], p)
		}
	}
	for id := range r.told {
		if _, err := ring.Key(t.Context(), keyring.Data, id); err != nil {
			t.Errorf("%s: key %08x was in use: %v", when, id, err)
		}
	}
	return ring
}

// firstKeys is how many keys a new ring has.
const firstKeys = 6
