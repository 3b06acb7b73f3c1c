//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"syscall"
	"testing"
)

// interrupt sends this process what Ctrl-C sends.
func interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// An interrupted verb ends with a code of its own, and what it had begun is there: the
// same call goes on with it.
func TestInterruptedRotation(t *testing.T) {
	ringForTest(t)
	r, w := io.Pipe()
	var stdout bytes.Buffer
	done := make(chan int)
	go func() {
		done <- run(context.Background(), []string{"keys", "rotate", "--wait"}, &stdout, w)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	// 1h5m0s, or less on a machine that took a while until here.
	if !lines.Scan() || !regexp.MustCompile(`: waiting, 1h[45]m[0-9]+s to go`).MatchString(lines.Text()) {
		t.Fatalf("said %q", lines.Text())
	}
	go io.Copy(io.Discard, r)
	interrupt(t)
	if code := <-done; code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	stdout.Reset()
	if code := run(t.Context(), []string{"keys", "list"}, &stdout, io.Discard); code != 0 || bytes.Count(stdout.Bytes(), []byte(" pending ")) != 1 {
		t.Errorf("exit code %d, %s", code, &stdout)
	}
}

// The first interrupt lets a verb that drains finish, the second aborts it. Others are
// aborted by the first.
func TestInterrupts(t *testing.T) {
	r, w := io.Pipe()
	ctx, stop := withSignals(t.Context(), w)
	defer stop()
	drain := draining(ctx)
	interrupt(t)
	if lines := bufio.NewScanner(r); !lines.Scan() {
		t.Error("nothing said")
	}
	<-drain
	if ctx.Err() != nil {
		t.Error("aborted by the first interrupt")
	}
	interrupt(t)
	<-ctx.Done()

	ctx, stop = withSignals(t.Context(), io.Discard)
	defer stop()
	interrupt(t)
	<-ctx.Done()
}
