package kmsurl_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/structseal/structseal/kmsprovider/kmsurl"
)

// The URIs that docs/kms.md shows are such.
func TestURIsOfDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/kms.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## URIs for tools\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1)
	if len(rows) != 10 {
		t.Errorf("%d URIs, want 10", len(rows))
	}
	for _, row := range rows {
		if err := kmsurl.Check(row[1]); err != nil {
			t.Errorf("%s: %v", row[1], err)
		}
	}
}
