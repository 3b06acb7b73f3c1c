// Package inventory loads Go packages and reads the records that they declare. It is
// what `structseal inventory` does before it writes a file. Nothing of the packages is
// run, but for the go command that finds them and their dependencies.
package inventory

import (
	"cmp"
	"context"
	"fmt"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"

	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/manifest/gosource"
)

// Options say what to load.
type Options struct {
	Dir      string   // where patterns are relative to; "" is the working directory
	Patterns []string // as the go command takes them; none is the package in Dir
	Tags     string   // build tags, separated by commas
	Env      []string // of the go command; nil is that of the process
}

// An Inventory is what was found.
type Inventory struct {
	Manifest *manifest.Manifest
	Problems []gosource.Problem // tags that package structseal refuses
	Notes    []gosource.Problem // what was not looked at
	Packages int
}

// A LoadError says why packages can't be read: they aren't there, or don't compile.
type LoadError struct {
	Errors []SourceError // at least one
}

// A SourceError is an error at a place in source.
type SourceError struct {
	Position string `json:"position"` // "model/customer.go:12:3", or "-"
	Message  string `json:"message"`
}

func (e *LoadError) Error() string {
	lines := make([]string, len(e.Errors))
	for i, s := range e.Errors {
		lines[i] = s.Position + ": " + s.Message
	}
	return strings.Join(lines, "\n")
}

// Load reads packages. Test files are left out. Files that build constraints leave out
// aren't read; there is a note for those with seal tags.
//
// Positions start at the root of the Go module around Options.Dir; those in other
// modules start with the package's import path.
//
// Errors: *[LoadError]; the context's error.
func Load(ctx context.Context, o Options) (*Inventory, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	config := &packages.Config{
		Context: ctx,
		Dir:     dir,
		Env:     o.Env,
		Mode:    packages.LoadSyntax | packages.NeedModule,
	}
	if o.Tags != "" {
		config.BuildFlags = []string{"-tags=" + o.Tags}
	}
	loaded, err := packages.Load(config, o.Patterns...)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("inventory: %w", ctx.Err())
	}
	if err != nil {
		return nil, &LoadError{[]SourceError{{"-", err.Error()}}}
	}
	if len(loaded) == 0 {
		return nil, &LoadError{[]SourceError{{"-", fmt.Sprintf("no packages match %s", strings.Join(o.Patterns, " "))}}}
	}
	slices.SortFunc(loaded, func(a, b *packages.Package) int { return cmp.Compare(a.PkgPath, b.PkgPath) })
	place := places{root: moduleRoot(dir)}
	if errs := place.loadErrors(loaded); errs != nil {
		return nil, &LoadError{errs}
	}
	inv := &Inventory{Packages: len(loaded)}
	var sources []gosource.Package
	for _, p := range loaded {
		sources = append(sources, gosource.Package{Fset: p.Fset, Files: p.Syntax, Types: p.Types, Info: p.TypesInfo})
	}
	result := gosource.Read(sources, func(pkg *types.Package, name string) string { return place.file(pkg.Path(), name) })
	inv.Manifest = &manifest.Manifest{Format: manifest.Format, Records: result.Records}
	inv.Problems = result.Problems
	inv.Notes = slices.Concat(result.Notes, place.ignored(loaded), disagreements(inv.Manifest))
	return inv, nil
}

// places tells what files are called in positions.
type places struct{ root string }

// moduleRoot is the nearest directory with a go.mod.
func moduleRoot(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return dir
		}
	}
}

func (p places) file(pkg, name string) string {
	if rel, err := filepath.Rel(p.root, name); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return pkg + "/" + filepath.Base(name)
}

// loadErrors collects what the go command and the type checker found, also in
// packages that these ones import.
func (p places) loadErrors(loaded []*packages.Package) (errs []SourceError) {
	packages.Visit(loaded, nil, func(pkg *packages.Package) {
		located := slices.ContainsFunc(pkg.Errors, func(e packages.Error) bool { return e.Pos != "" && e.Pos != "-" })
		for _, e := range pkg.Errors {
			position := e.Pos
			if located && (position == "" || position == "-") {
				continue // the compiler's words for what has a place already
			}
			if file, rest, ok := cutPosition(position); ok {
				position = p.file(pkg.PkgPath, file) + rest
			}
			errs = append(errs, SourceError{cmp.Or(position, "-"), e.Msg})
		}
	})
	slices.SortFunc(errs, func(a, b SourceError) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(errs)
}

// cutPosition cuts "file:line:column" behind the file.
func cutPosition(s string) (file, rest string, ok bool) {
	end := len(s)
	for range 2 {
		i := strings.LastIndexByte(s[:end], ':')
		if i < 0 || strings.Trim(s[i+1:end], "0123456789") != "" {
			break
		}
		end = i
	}
	return s[:end], s[end:], end < len(s) && filepath.IsAbs(s[:end])
}

// ignored notes files with seal tags that build constraints leave out.
func (p places) ignored(loaded []*packages.Package) (notes []gosource.Problem) {
	for _, pkg := range loaded {
		for _, name := range pkg.IgnoredFiles {
			if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err == nil && !strings.Contains(string(text), `seal:"`) {
				continue
			}
			notes = append(notes, gosource.Problem{Position: p.file(pkg.PkgPath, name) + ":1:1", Type: pkg.Name,
				Reason: "the file has seal tags, and its build constraint leaves it out: name its tags with --tags, or set GOOS and GOARCH"})
		}
	}
	return notes
}
