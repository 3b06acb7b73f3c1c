package crypto

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The specification's worked example and its names are the vectors'.
func TestFormatDocument(t *testing.T) {
	data, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	vectors := readVectors(t)

	_, example, ok := strings.Cut(doc, "Example (`context-field.json`)")
	if !ok {
		t.Fatal("no worked example")
	}
	var got string
	for _, line := range strings.Split(example, "\n")[1:] {
		if strings.HasPrefix(line, "#") {
			break
		}
		if code, ok := strings.CutPrefix(line, "    "); ok {
			bytes, _, _ := strings.Cut(code, "  ")
			got += strings.ReplaceAll(bytes, " ", "")
		}
	}
	i := slices.IndexFunc(vectors, func(v vector) bool { return v.name == "context-field.json" })
	if i < 0 || got == "" || got != vectors[i].ContextHex {
		t.Errorf("the worked example is %s", got)
	}
	if _, err := hex.DecodeString(got); err != nil {
		t.Error(err)
	}

	// Patterns of file names match, and every op and failure is explained.
	for _, m := range regexp.MustCompile("`([a-z*-]+\\.json)`").FindAllStringSubmatch(doc, -1) {
		if files, _ := filepath.Glob(vectorDir + "/" + m[1]); len(files) == 0 {
			t.Errorf("the document names %s, which is not there", m[1])
		}
	}
	for _, v := range vectors {
		if !strings.Contains(doc, "`"+v.Op+"`") {
			t.Fatalf("op %q is not explained", v.Op)
		}
		if !strings.Contains(doc, "*"+v.Expect+"*") && !strings.Contains(strings.ReplaceAll(doc, "\n   ", ""), "*"+v.Expect+"*") &&
			!strings.Contains(doc, "`"+v.Expect+"`") {
			t.Fatalf("expectation %q is not explained", v.Expect)
		}
	}
	for s := Default; s <= Deterministic; s++ {
		if !strings.Contains(doc, "`"+s.String()+"`") {
			t.Errorf("suite %s is not there", s)
		}
	}
}
