package structseal_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// goBlocks returns the fenced Go blocks of a Markdown text.
func goBlocks(text string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// program makes a program of the README's blocks: types go to the top level,
// the rest into one function.
func program(blocks []string) string {
	var types, body strings.Builder
	for _, block := range blocks {
		inType := false
		for line := range strings.Lines(block) {
			inType = inType || strings.HasPrefix(line, "type ")
			if inType {
				types.WriteString(line)
			} else {
				body.WriteString(line)
			}
			if strings.HasPrefix(line, "}") {
				inType = false
			}
		}
	}
	return fmt.Sprintf(`package main

import (
	"context"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

%s
// readme has the README's statements, in the order that a program has them.
func readme(ctx context.Context, store keyring.Store, pin keyring.Pin, customer Customer) (err error) {
%s	_ = row
	return err
}

func main() { _ = time.Now; _ = readme }
`, types.String(), body.String())
}

// TestReadmeCompiles builds the README's Go code as it stands there.
func TestReadmeCompiles(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := goBlocks(string(text))
	if len(blocks) != 2 || !strings.Contains(blocks[0], "structseal.Encrypt(") || !strings.Contains(blocks[1], "keyring.Open(") {
		t.Fatalf("the README has %d Go blocks; this test knows one that encrypts and one that opens the ring", len(blocks))
	}
	// The ring is opened before it is used.
	source := program([]string{blocks[1], blocks[0]})
	dir, err := os.MkdirTemp(".", "_readme")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "vet", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the README's code doesn't compile: %v\n%s\n%s", err, out, source)
	}
	// The test can fail.
	broken := bytes.Replace([]byte(source), []byte("structseal.Encrypt("), []byte("structseal.Encrypted("), 1)
	if err := os.WriteFile(file, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	if exec.Command("go", "vet", file).Run() == nil {
		t.Error("code with a mistake compiles")
	}
}

// TestDocuments: the README has its size, and relative links lead somewhere.
func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal("no documents", err)
	}
	more, _ := filepath.Glob("*.md")
	links := 0
	for _, file := range append(files, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); file == "README.md" && (n < 120 || n > 180) {
			t.Errorf("README.md has %d lines", n)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllSubmatch(text, -1) {
			link := string(m[1])
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), link)); err != nil {
				t.Errorf("%s links to %s, which isn't there", file, link)
			}
		}
	}
	if links == 0 {
		t.Error("no links were found")
	}
}
