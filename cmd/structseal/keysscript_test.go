package main

import (
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// setenvFromOutput is the command `setenv NAME REGEXP` of scripts: NAME becomes what the
// first group matched in what was printed last.
func setenvFromOutput(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: setenv NAME REGEXP")
	}
	m := regexp.MustCompile(`(?m)` + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}
