package main

import (
	"crypto/fips140"
	"fmt"
	"regexp"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestKeyScripts runs the verbs about rings on file stores and SQLite. A script has
// `setenv NAME REGEXP`, which takes a value from what was printed last.
func TestKeyScripts(t *testing.T) {
	if raced {
		t.Skip("hundreds of processes: they run without the race detector")
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/keys",
		RequireUniqueNames: true,
		UpdateScripts:      update,
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"STRUCTSEAL_STORE": "file://" + env.WorkDir + "/ring", "STRUCTSEAL_RING": "app",
				"STRUCTSEAL_KMS": "file://" + env.WorkDir + "/a.kek", "STRUCTSEAL_ACTOR": "ops",
				"STRUCTSEAL_CONFIG": "",
			} {
				env.Setenv(name, value)
			}
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "fips" {
				return fips140.Enforced(), nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"setenv": setenvFromOutput},
	})
}

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
