package kmsprovider_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A driver of a service is under 250 lines, and docs/kms.md tells how long each one is.
func TestLinesOfDrivers(t *testing.T) {
	if _, err := os.Stat("../go.work"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("the drivers are modules of their own, and not here")
	}
	doc, err := os.ReadFile("../docs/kms.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := bytes.Cut(doc, []byte("<!-- lines of drivers -->"))
	if !found {
		t.Fatal("docs/kms.md has no such table")
	}
	listed := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\| ([0-9]+) \\|").FindAllSubmatch(table, -1) {
		dir := string(row[1])
		listed[dir] = true
		n := codeLines(t, dir)
		if strconv.Itoa(n) != string(row[2]) {
			t.Errorf("docs/kms.md: %s has %s lines; there are %d", dir, row[2], n)
		}
		if n >= 250 && dir != "localkms" && dir != "vaultkms/vaultapi" {
			t.Errorf("%s: %d lines", dir, n)
		}
	}
	dirs, _ := filepath.Glob("*kms")
	for _, dir := range append(dirs, "vaultkms/vaultapi") {
		if !listed[dir] {
			t.Errorf("docs/kms.md: the table doesn't have %s", dir)
		}
	}
}

// codeLines counts as the command in docs/kms.md does.
func codeLines(t *testing.T, dir string) (n int) {
	t.Helper()
	files, _ := filepath.Glob(dir + "/*.go")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				n++
			}
		}
	}
	return n
}
