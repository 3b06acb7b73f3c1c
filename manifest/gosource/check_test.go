package gosource_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"strings"

	"github.com/structseal/structseal/manifest/gosource"
)

// stub stands for package structseal, of which only the names matter here. The tests of
// `structseal inventory` read the real one.
const stub = "package structseal\n\ntype Record struct{}\n\ntype Sealed[T any] struct{ ct []byte }\n"

// checker type-checks sources that import nothing but package structseal and each other.
type checker struct {
	fset *token.FileSet
	done map[string]*types.Package
	pkgs []gosource.Package
}

func (c *checker) Import(name string) (*types.Package, error) {
	if p, ok := c.done[name]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("no package %s", name)
}

func (c *checker) add(name, source string) error {
	file, err := parser.ParseFile(c.fset, "/src/"+name+"/"+path.Base(name)+".go", source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}, Instances: map[*ast.Ident]types.Instance{}}
	config := types.Config{Importer: c}
	p, err := config.Check(name, c.fset, []*ast.File{file}, info)
	if err != nil {
		return err
	}
	c.done[name] = p
	if name != "github.com/structseal/structseal" {
		c.pkgs = append(c.pkgs, gosource.Package{Fset: c.fset, Files: []*ast.File{file}, Types: p, Info: info})
	}
	return nil
}

// read type-checks sources, each a pair of import path and text, in their order.
func read(sources ...string) (gosource.Result, error) {
	c := &checker{fset: token.NewFileSet(), done: map[string]*types.Package{}}
	sources = append([]string{"github.com/structseal/structseal", stub}, sources...)
	for i := 0; i < len(sources); i += 2 {
		if err := c.add(sources[i], sources[i+1]); err != nil {
			return gosource.Result{}, err
		}
	}
	return gosource.Read(c.pkgs, func(_ *types.Package, name string) string { return strings.TrimPrefix(name, "/src/") }), nil
}
