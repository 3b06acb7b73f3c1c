package main

import (
	"bytes"
	"strings"
	"testing"
)

// Exit code 1 is a finding or a failure, 2 a command line that makes no sense. The
// latter says nothing on standard output, where programs read.
func TestCommandLines(t *testing.T) {
	t.Chdir(t.TempDir())
	for args, want := range map[string]int{
		"version":                     0,
		"--help":                      0,
		"inventory --help":            0,
		"":                            2,
		"nothing":                     2,
		"--nothing":                   2,
		"inventory --nothing":         2,
		"inventory --json --check=x":  2,
		"version of":                  2,
		"inventory ./nothing":         1,
		"inventory --json ./nothing":  1,
		"inventory --check ./nothing": 1,
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), strings.Fields(args), &stdout, &stderr); got != want {
			t.Errorf("structseal %s: exit code %d, want %d; %s", args, got, want, stderr.String())
		}
		if want == 2 && (stdout.Len() > 0 || !strings.Contains(stderr.String(), "See structseal --help")) {
			t.Errorf("structseal %s: %q, %q", args, stdout.String(), stderr.String())
		}
	}
}
