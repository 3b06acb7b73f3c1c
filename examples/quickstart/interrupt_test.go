package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// With this variable the test binary is the command. Its value says after which
// line of output it ends as if by kill -9; 0 is never.
const childVariable = "QUICKSTART_TEST_KILL_AFTER"

func TestMain(m *testing.M) {
	if value, ok := os.LookupEnv(childVariable); ok {
		n, err := strconv.Atoi(value)
		if err != nil {
			panic(err)
		}
		os.Exit(run(os.Args[1:], &afterWrites{os.Stdout, n, kill}, os.Stderr))
	}
	os.Exit(m.Run())
}

// afterWrites does something after a number of writes.
type afterWrites struct {
	io.Writer
	left int
	do   func()
}

func (w *afterWrites) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if w.left--; w.left == 0 {
		w.do()
	}
	return n, err
}

func kill() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

func child(t *testing.T, dir string, killAfter int) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-dir", dir)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", childVariable, killAfter))
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// TestKilledBetweenSteps kills the command after each write of its output, always
// in the same directory.
func TestKilledBetweenSteps(t *testing.T) {
	dir := t.TempDir()
	killed := 0
	for after := 1; ; after++ {
		cmd, out := child(t, dir, after)
		err := cmd.Run()
		if err == nil {
			break // it writes less often
		}
		if cmd.ProcessState.Exited() {
			t.Fatalf("killed after write %d: it failed before that: %v\n%s", after, err, out)
		}
		killed++
	}
	if killed < 10 {
		t.Errorf("killed %d times only", killed)
	}
	want(t, start(t, dir), "Found    Keys and ", "Those of customers.csv (300) are equal")
}

// TestKilledAnywhere kills it at random moments of its first run.
func TestKilledAnywhere(t *testing.T) {
	cmd, out := child(t, t.TempDir(), 0)
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole := time.Since(begin)
	seed := rand.Uint64()
	t.Logf("a whole run takes %v; seed %d", whole, seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var found [4]int // nothing, unfinished keys, keys only, customers
	rounds := 8
	if os.Getenv("STRUCTSEAL_LONG") != "" {
		rounds = 500
	}
	for range rounds {
		dir := t.TempDir()
		cmd, _ := child(t, dir, 0)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(r.Int64N(int64(whole))), func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()

		out := start(t, dir)
		switch {
		case strings.Contains(out, "Found    Keys and 30"):
			found[3]++
		case strings.Contains(out, "Found    Keys, and no customers"):
			found[2]++
		case strings.Contains(out, "Found    Unfinished keys"):
			found[1]++
		default:
			found[0]++
		}
		want(t, out, "Those of customers.csv (300) are equal")
	}
	t.Logf("found: nothing %d, unfinished keys %d, keys only %d, customers %d", found[0], found[1], found[2], found[3])
}

func TestUnfinished(t *testing.T) {
	// Keys without a pin.
	dir := t.TempDir()
	if err := createKeys(t.Context(), filepath.Join(dir, "keys"), t.Output()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "keys"), filepath.Join(dir, "keys.new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(pinFile(filepath.Join(dir, "keys.new"))); err != nil {
		t.Fatal(err)
	}
	want(t, start(t, dir), "Found    Unfinished keys of a run that was interrupted.", "Write    300 customers")
	wantCount(t, dir, 303)

	// Keys, and no customers.
	dir = t.TempDir()
	if err := createKeys(t.Context(), filepath.Join(dir, "keys"), t.Output()); err != nil {
		t.Fatal(err)
	}
	want(t, start(t, dir), "Found    Keys, and no customers:", "Write    300 customers")
	wantCount(t, dir, 303)
}

// TestInterrupted presses Ctrl-C.
func TestInterrupted(t *testing.T) {
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, os.Interrupt)
	defer signal.Stop(arrived)
	press := func() {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Signal(os.Interrupt)
		}
		if err != nil {
			t.Error(err)
			return
		}
		<-arrived
	}
	dir := t.TempDir()
	var errs bytes.Buffer
	exit := run([]string{"-dir", dir}, &afterWrites{t.Output(), 1, press}, &errs)
	if exit != 1 || !strings.HasPrefix(errs.String(), "quickstart: interrupted. Nothing is half written") {
		t.Errorf("exit %d, %q", exit, &errs)
	}
	want(t, start(t, dir), "Those of customers.csv (300) are equal")
}

// TestClosedPipe is `quickstart | head`: the output ends, and nothing stays behind.
func TestClosedPipe(t *testing.T) {
	temp := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd, errs := child(t, "", 0) // no directory: a temporary one
	cmd.Env = append(cmd.Env, "TMPDIR="+temp, "TMP="+temp)
	cmd.Stdout = w
	if err := cmd.Run(); err == nil || !cmd.ProcessState.Exited() || !strings.HasPrefix(errs.String(), "quickstart: interrupted.") {
		t.Errorf("%v, %s", err, errs)
	}
	if left, err := os.ReadDir(temp); len(left) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
