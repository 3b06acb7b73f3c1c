package structseal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The modules that the root module may require, and why. What a user imports is
// what a user gets: a cloud SDK, a database driver or a CLI library belongs into
// a module of its own.
var allowedModules = map[string]string{
	"github.com/tink-crypto/tink-go/v2":  "AES-SIV and the keysets that a ring exports as",
	"golang.org/x/crypto":                "Argon2id for passphrases",
	"github.com/gofrs/flock":             "locks of the file store",
	"github.com/hashicorp/golang-lru/v2": "the bounded cache of subjects",
	"golang.org/x/sys":                   "of flock and x/crypto",
	"google.golang.org/protobuf":         "of Tink keysets; only the export packages link it",
}

// The packages that every user links, and the modules that may come with them.
var frontDoor = []string{".", "./crypto", "./keyring"}

var linkedModules = []string{
	"github.com/structseal/structseal",
	"github.com/tink-crypto/tink-go/v2",
	"golang.org/x/crypto",
	"github.com/gofrs/flock",
	"github.com/hashicorp/golang-lru/v2",
	"golang.org/x/sys",
}

func TestRequirements(t *testing.T) {
	file, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range checkRequirements(file) {
		t.Error(problem)
	}
}

func TestLinkedModules(t *testing.T) {
	for _, pkg := range frontDoor {
		t.Run(pkg, func(t *testing.T) {
			list := goCommand(t, "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", pkg)
			for _, problem := range checkLinked(string(list)) {
				t.Error(problem)
			}
		})
	}
}

// TestOnlyToolsOpenURIs: whoever imports package kmsurl links the SDKs of every cloud.
// Tools may; libraries, all that a program imports, may not.
func TestOnlyToolsOpenURIs(t *testing.T) {
	for _, problem := range checkImports(os.DirFS(".")) {
		t.Error(problem)
	}
}

// TestDependencyChecksFail proves that the checks can fail, above all on input
// that isn't there.
func TestDependencyChecksFail(t *testing.T) {
	const whole = "module github.com/structseal/structseal\n\ngo 1.26.0\n\n"
	for name, file := range map[string]string{
		"empty":                   "",
		"nothing required":        whole,
		"another module":          "module example.com/m\nrequire golang.org/x/crypto v0.58.0\n",
		"not a go.mod":            "requires golang.org/x/crypto",
		"unlisted":                whole + "require golang.org/x/text v0.30.0\n",
		"unlisted, indirect":      whole + "require (\n\tgolang.org/x/crypto v0.58.0\n\tgolang.org/x/text v0.30.0 // indirect\n)\n",
		"another major version":   whole + "require github.com/tink-crypto/tink-go v1.7.0\n",
		"replaced":                whole + "require golang.org/x/crypto v0.58.0\nreplace golang.org/x/crypto => ../crypto\n",
		"with a tool of its own":  whole + "tool example.com/tool\nrequire golang.org/x/crypto v0.58.0\n",
		"excluding what is built": whole + "require golang.org/x/crypto v0.58.0\nexclude golang.org/x/crypto v0.57.0\n",
	} {
		if checkRequirements([]byte(file)) == nil {
			t.Errorf("go.mod %s: no problem found", name)
		}
	}
	for name, list := range map[string]string{
		"empty":        "",
		"blank":        "\n\n",
		"only others":  "golang.org/x/crypto\n",
		"protobuf":     "github.com/structseal/structseal\ngoogle.golang.org/protobuf\n",
		"unlisted":     "github.com/structseal/structseal\n\ngolang.org/x/text\n",
		"own, by name": "github.com/structseal/structsealed\n",
	} {
		if checkLinked(list) == nil {
			t.Errorf("modules %s: no problem found", name)
		}
	}
}

func TestImportCheckFails(t *testing.T) {
	const kmsurl = "package p\n\nimport _ \"github.com/structseal/structseal/kmsprovider/kmsurl\"\n"
	of := func(path, text string) fs.FS {
		return fstest.MapFS{path: {Data: []byte(text)}, "kmsprovider/kmsurl/kmsurl.go": {Data: []byte("package kmsurl\n")}}
	}
	for name, tree := range map[string]fs.FS{
		"empty":            fstest.MapFS{},
		"without kmsurl":   fstest.MapFS{"structseal.go": {Data: []byte("package structseal\n")}},
		"the root":         of("structseal.go", kmsurl),
		"a package":        of("rotate/plan.go", kmsurl),
		"a driver":         of("kmsprovider/awskms/awskms.go", kmsurl),
		"only in a test":   of("keyring/open_test.go", kmsurl),
		"not really a cmd": of("commands/x.go", kmsurl),
		"no Go":            of("structseal.go", "packag"),
	} {
		if checkImports(tree) == nil {
			t.Errorf("%s: no problem found", name)
		}
	}
	for _, path := range []string{"cmd/structseal/main.go", "kmsprovider/kmsurl/example_test.go"} {
		if problems := checkImports(of(path, kmsurl)); problems != nil {
			t.Errorf("%s: %v", path, problems)
		}
	}
}

// checkImports returns which files that are no tool's import package kmsurl.
func checkImports(tree fs.FS) (problems []string) {
	seen := false
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		if strings.HasPrefix(path, "kmsprovider/kmsurl/") {
			seen = true
			return nil
		}
		if strings.HasPrefix(path, "cmd/") {
			return nil
		}
		text, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			if i.Path.Value == `"github.com/structseal/structseal/kmsprovider/kmsurl"` {
				problems = append(problems, path+" imports kmsprovider/kmsurl, which is for tools: take a kmsprovider.Provider instead")
			}
		}
		return nil
	})
	if err != nil {
		problems = append(problems, err.Error())
	}
	if !seen {
		problems = append(problems, "kmsprovider/kmsurl isn't there: the check has no input")
	}
	return problems
}

// checkRequirements returns what is wrong with the root's go.mod.
func checkRequirements(file []byte) (problems []string) {
	var mod struct {
		Module                 struct{ Path string }
		Require                []struct{ Path string }
		Replace, Exclude, Tool []any
	}
	out, err := modJSON(file)
	if err == nil {
		err = json.Unmarshal(out, &mod)
	}
	switch {
	case err != nil:
		return []string{err.Error()}
	case mod.Module.Path != "github.com/structseal/structseal":
		return []string{fmt.Sprintf("go.mod is of module %q", mod.Module.Path)}
	case len(mod.Require) == 0:
		return []string{"go.mod requires nothing: the check has no input"}
	}
	for _, r := range mod.Require {
		if allowedModules[r.Path] == "" {
			problems = append(problems, fmt.Sprintf("go.mod requires %s, which is not on the list: give the code that needs it a module of its own, or add it with a reason", r.Path))
		}
	}
	if len(mod.Replace)+len(mod.Exclude)+len(mod.Tool) > 0 {
		problems = append(problems, "go.mod replaces, excludes or has tools: users don't get the same build")
	}
	return problems
}

// checkLinked returns what is wrong with the modules of a package's dependencies.
func checkLinked(list string) (problems []string) {
	modules := slices.Compact(slices.Sorted(strings.FieldsSeq(list)))
	if !slices.Contains(modules, "github.com/structseal/structseal") {
		return []string{fmt.Sprintf("the package isn't in its own dependencies: %q", modules)}
	}
	for _, m := range modules {
		if !slices.Contains(linkedModules, m) {
			problems = append(problems, fmt.Sprintf("links module %s", m))
		}
	}
	return problems
}

func modJSON(file []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "structseal")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/go.mod", file, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "mod", "edit", "-json", dir+"/go.mod")
	return output(cmd)
}

// goCommand runs the go command as a user would: without the workspace.
func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GODEBUG=")
	out, err := output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func output(cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("%v: %w: %s", cmd.Args, err, exit.Stderr)
	}
	return out, err
}
