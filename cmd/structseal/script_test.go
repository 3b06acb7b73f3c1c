package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// update has the scripts write what they compare with: see CONTRIBUTING.md.
var update = os.Getenv("STRUCTSEAL_UPDATE") == "1"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"customers":  customers,
		"people":     peopleProgram,
		"structseal": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the tool in modules that the scripts bring, which take package
// structseal from this tree, and everything else from the module cache.
func TestScripts(t *testing.T) {
	if raced {
		t.Skip("hundreds of processes: they run without the race detector")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	caches, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Split(strings.TrimSpace(string(caches)), "\n")
	if len(dirs) != 3 {
		t.Fatalf("go env: %q", caches)
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		UpdateScripts:      update,
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"GOCACHE": dirs[0], "GOMODCACHE": dirs[1], "GOROOT": dirs[2],
				"GOPROXY": "off", "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0",
			} {
				env.Setenv(name, value)
			}
			return writeModule(root, env.WorkDir)
		},
	})
}

// writeModule makes dir a module that requires what the root module does, too.
func writeModule(root, dir string) error {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return err
	}
	_, rest, ok := strings.Cut(string(mod), "module github.com/structseal/structseal\n")
	if !ok {
		return fmt.Errorf("go.mod of the root module has no such line")
	}
	text := "module example.com/app\n" + rest + "\nrequire github.com/structseal/structseal v0.1.0\n\nreplace github.com/structseal/structseal => " + root + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600); err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600)
}
