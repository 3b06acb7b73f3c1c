package structseal_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the README's code may use without importing it.
var readmeImports = []string{
	"context", "log", "strings", "time",
	"github.com/structseal/structseal",
	"github.com/structseal/structseal/keyring",
	"github.com/structseal/structseal/kmsprovider/localkms",
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadmeCompiles vets each Go block of the README as the body of a function
// that has what the text around it takes for granted.
func TestReadmeCompiles(t *testing.T) {
	for i, block := range goBlocks(t, readme(t)) {
		if err := vet(t, function(block)); err != nil {
			t.Errorf("Go block %d: %v", i+1, err)
		}
	}
}

// TestReadmeRuns makes one program of the two blocks, the keys first, and runs it.
func TestReadmeRuns(t *testing.T) {
	blocks := goBlocks(t, readme(t))
	if len(blocks) != 2 {
		t.Fatalf("%d Go blocks: say here how they are run", len(blocks))
	}
	// A function of its own, so that what the blocks declare is all that they use.
	program := overlay(t, file("main", `
func main() {
	log.SetFlags(0)
	if err := readme(context.Background(), once(), time.Date(1987, 3, 14, 0, 0, 0, 0, time.UTC)); err != nil {
		log.Fatal(err)
	}
}

// once does what the README's program has behind it.
func once() keyring.Pin {
	kms, err := localkms.CreateKeyFile("customers.kek")
	if err != nil {
		log.Fatal(err)
	}
	store, err := keyring.NewFileStore("ring")
	if err != nil {
		log.Fatal(err)
	}
	ring, pin, err := keyring.Create(context.Background(), "customers", store, kms, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	return pin
}

func readme(ctx context.Context, pin keyring.Pin, born time.Time) error {
`+blocks[1]+blocks[0]+`
	if err != nil {
		return err
	}
	if row.ID != "c-1" || !strings.HasPrefix(row.Email, "s1.") || !row.Born.IsSealed() {
		log.Fatal("the row isn't sealed")
	}
	if got, err := customer.Born.Get(); err != nil || !got.Equal(born) || customer.Email != "zofia@example.net" {
		log.Fatal("not what was encrypted: ", err)
	}
	return nil
}`))
	binary := filepath.Join(t.TempDir(), "readme.exe")
	goCommand(t, "build", "-o", binary, "-overlay", program, "./docs")
	cmd := exec.Command(binary)
	cmd.Dir = t.TempDir()
	if _, err := output(cmd); err != nil {
		t.Error(err)
	}
}

func TestReadmeChecksFail(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          "",
		"no Go":          "# x\n\n```sh\ngo test work\n```\n",
		"not closed":     "```go\nx := 1\n",
		"an empty block": "```go\n```\n",
	} {
		if blocks, err := findGoBlocks(text); err == nil {
			t.Errorf("%s: %q", name, blocks)
		}
	}
	for block, want := range map[string]string{
		"id, err := ring.Rotate(ctx, keyring.Data, nil)": "declared and not used: id",
		"_, err = structseal.Encrpyt(ctx, ring, 1)":      "undefined: structseal.Encrpyt",
		"type T struct {\n\tA string `seal: \"a\"`\n}":   "struct field tag",
	} {
		if err := vet(t, function(block)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v", block, err)
		}
	}
}

func TestReadmeLength(t *testing.T) {
	if n := strings.Count(readme(t), "\n"); n < 120 || n > 180 {
		t.Errorf("README.md has %d lines", n)
	}
}

// TestLinks follows the links of the documents within the repository.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	total := 0
	for _, file := range append(files, "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		n, problems := checkLinks(file, string(text))
		for _, problem := range problems {
			t.Errorf("%s: %s", file, problem)
		}
		if total += n; file == "README.md" && n < 5 {
			t.Errorf("README.md: %d links found", n)
		}
	}
	t.Logf("%d links", total)
	for _, bad := range []string{"[x](docs/nothing.md)", "[x](/README.md)", "[x](#nowhere)", "[x](docs/format.md#nowhere)", "[x]: nothing.md", "[x](../main.go)", "![x](x.png)"} {
		if n, problems := checkLinks("README.md", "# Here\n\n"+bad+"\n"); n != 1 || len(problems) != 1 {
			t.Errorf("%s: %d links, %q", bad, n, problems)
		}
	}
}

func goBlocks(t *testing.T, text string) []string {
	t.Helper()
	blocks, err := findGoBlocks(text)
	if err != nil {
		t.Fatal("README.md: ", err)
	}
	return blocks
}

func findGoBlocks(text string) (blocks []string, err error) {
	for i, part := range strings.Split("\n"+text, "\n```go\n")[1:] {
		block, _, closed := strings.Cut("\n"+part, "\n```")
		if !closed || strings.TrimSpace(block) == "" {
			return nil, fmt.Errorf("Go block %d is empty or not closed", i+1)
		}
		blocks = append(blocks, block+"\n")
	}
	if blocks == nil {
		return nil, fmt.Errorf("no Go block")
	}
	return blocks, nil
}

// function wraps a block. What the block declares shadows the parameters.
func function(block string) string {
	return file("readme", `
func readme(ctx context.Context, pin keyring.Pin, ring *keyring.Keyring, born time.Time) (err error) {
	{
`+block+`
		_, _ = ring, err
	}
	return err
}`)
}

// file adds the clauses that a block leaves out.
func file(pkg, code string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n\n", pkg)
	for _, path := range readmeImports {
		name := path[strings.LastIndex(path, "/")+1:]
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(code) {
			fmt.Fprintf(&b, "import %q\n", path)
		}
	}
	b.WriteString(code + "\n")
	return b.String()
}

// overlay shows code to the go command as package ./docs, a directory that has no
// other and must exist, without writing into the source tree. It returns the
// argument of -overlay.
func overlay(t *testing.T, code string) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	source, list := filepath.Join(dir, "readme.go"), filepath.Join(dir, "overlay.json")
	files := map[string]map[string]string{"Replace": {filepath.Join(root, "docs", "readme.go"): source}}
	text, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{source: []byte(code), list: text} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func vet(t *testing.T, code string) error {
	t.Helper()
	cmd := exec.Command("go", "vet", "-overlay", overlay(t, code), "./docs")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GODEBUG=")
	_, err := output(cmd)
	return err
}

var (
	fenced     = regexp.MustCompile("(?ms)^```.*?^```")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	link       = regexp.MustCompile(`(?m)\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)`)
	heading    = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	notInASlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// checkLinks returns how many links a document has, and what is wrong with those
// that stay in the repository.
func checkLinks(file, text string) (n int, problems []string) {
	prose := fenced.ReplaceAllString(text, "")
	for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(prose, "code"), -1) {
		n++
		target := m[1] + m[2]
		if strings.HasPrefix(target, "https://") {
			continue
		}
		path, anchor, hasAnchor := strings.Cut(target, "#")
		content := text
		if path != "" {
			absolute := strings.HasPrefix(path, "/")
			path = filepath.Join(filepath.Dir(file), path)
			if absolute || !filepath.IsLocal(path) {
				problems = append(problems, target+" leads out of the repository")
				continue
			}
			if _, err := os.Stat(path); err != nil {
				problems = append(problems, err.Error())
				continue
			}
			if hasAnchor {
				b, err := os.ReadFile(path)
				if err != nil {
					problems = append(problems, err.Error())
					continue
				}
				content = string(b)
			}
		}
		if hasAnchor && !slices.Contains(anchors(content), anchor) {
			problems = append(problems, target+": no such heading")
		}
	}
	return n, problems
}

// anchors are the names that code hosts give to headings.
func anchors(text string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		names = append(names, strings.ReplaceAll(notInASlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}
