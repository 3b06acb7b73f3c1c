package gosource

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/structseal/structseal/internal/describe"
	"github.com/structseal/structseal/manifest"
)

// A Package is a type-checked package with the syntax that it was made from.
type Package struct {
	Fset  *token.FileSet
	Files []*ast.File
	Types *types.Package
	Info  *types.Info // with Defs, Types and Instances
}

// A Problem is something that was found in source.
type Problem struct {
	Position string `json:"position"`        // "model/customer.go:14:2"
	Type     string `json:"type"`            // as package structseal writes it, "model.Customer"
	Field    string `json:"field,omitempty"` // Go name, "" for the type as a whole
	Tag      string `json:"tag,omitempty"`   // the raw struct tag
	Reason   string `json:"reason"`          // what is wrong and what to do
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Position + ": " + p.Type)
	if p.Field != "" {
		b.WriteString("." + p.Field)
	}
	if p.Tag != "" {
		fmt.Fprintf(&b, " `%s`", p.Tag)
	}
	return b.String() + ": " + p.Reason
}

// A Result is what was found.
type Result struct {
	Records  []manifest.Record // by label, then by type
	Problems []Problem         // tags that package structseal refuses; records with one are left out
	Notes    []Problem         // what could not be looked at
}

// Read finds the records that the packages declare, and those that they reach in
// others. The packages must come from one run of the type checker, so that a type of
// one is the same type in another. file tells what a file is called in positions.
//
// A record that is generic is listed once for each list of type arguments that stands
// in the packages.
func Read(pkgs []Package, file func(pkg *types.Package, name string) string) Result {
	r := &reader{file: file, known: map[string][]types.Type{}, one: map[types.Type]types.Type{}, free: map[types.Type]bool{}, plans: map[types.Type]*plan{}, reached: map[types.Type]bool{}, instances: map[*types.TypeName]bool{}}
	for _, p := range pkgs {
		r.fset = p.Fset
		r.sources = append(r.sources, p)
	}
	for _, p := range pkgs {
		r.collect(p)
	}
	for i := 0; i < len(r.roots); i++ { // grows: a record may reach others
		r.record(r.roots[i])
	}
	for _, t := range r.tagged {
		r.stray(t)
	}
	for _, obj := range r.generic {
		if !r.instances[obj] {
			r.result.Notes = append(r.result.Notes, Problem{
				Position: r.position(obj.Pkg(), obj.Pos()), Type: reflectText(obj.Type()),
				Reason: "a generic record of which no instance is written out: it isn't listed",
			})
		}
	}
	byPlace := func(a, b Problem) int {
		return cmp.Or(comparePositions(a.Position, b.Position), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	}
	slices.SortStableFunc(r.result.Records, func(a, b manifest.Record) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Type, b.Type), comparePositions(a.Position, b.Position))
	})
	slices.SortFunc(r.result.Problems, byPlace)
	slices.SortFunc(r.result.Notes, byPlace)
	r.result.Problems, r.result.Notes = slices.Compact(r.result.Problems), slices.Compact(r.result.Notes)
	return r.result
}

type reader struct {
	fset    *token.FileSet
	file    func(*types.Package, string) string
	sources []Package

	known   map[string][]types.Type // types by their text, so that identical ones are one
	one     map[types.Type]types.Type
	free    map[types.Type]bool // types that hold nothing of ours
	roots   []types.Type        // struct types with a marker
	tagged  []types.Type        // struct types with tags and no marker
	plans   map[types.Type]*plan
	reached map[types.Type]bool // from a record

	generic   []*types.TypeName        // records with type parameters
	instances map[*types.TypeName]bool // those that were instantiated

	result Result
}

// collect lists the struct types of a package that have a marker or tags: declared
// ones, instances of generic ones, and those without a name.
func (r *reader) collect(p Package) {
	named := map[*ast.StructType]bool{}
	var found []types.Type
	for _, f := range p.Files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok && !n.Assign.IsValid() {
					named[s] = true
				}
				obj, _ := p.Info.Defs[n.Name].(*types.TypeName)
				if obj == nil || obj.IsAlias() {
					break
				}
				t, _ := obj.Type().(*types.Named)
				switch {
				case t == nil:
				case t.TypeParams().Len() > 0 && hasMarker(t):
					r.generic = append(r.generic, obj)
				case t.TypeParams().Len() > 0:
				default:
					found = append(found, t)
				}
			case *ast.StructType:
				if t := p.Info.Types[n].Type; !named[n] && t != nil {
					found = append(found, t)
				}
			case *ast.Ident:
				instance, ok := p.Info.Instances[n]
				t, isNamed := types.Unalias(instance.Type).(*types.Named)
				if ok && isNamed && !hasTypeParams(t, nil) {
					found = append(found, t)
					r.instances[t.Origin().Obj()] = true
				}
			}
			return true
		})
	}
	for _, t := range found {
		if hasTypeParams(t, nil) {
			continue
		}
		switch t = r.canonical(t); {
		case !isStruct(t):
		case hasMarker(t):
			r.addRoot(t)
		case hasTag(t):
			r.tagged = append(r.tagged, t)
		}
	}
}

func (r *reader) addRoot(t types.Type) {
	if !slices.Contains(r.roots, t) {
		r.roots = append(r.roots, t)
	}
}

// record judges a type with a marker as if it were encrypted by itself.
func (r *reader) record(t types.Type) {
	c := &compiler{reader: r}
	root := c.structPlan(t)
	problems := check(root)
	for _, p := range root.reach() {
		r.reached[p.typ] = true
		for _, t := range p.folded {
			r.reached[t] = true
		}
		if p.marker.Label != "" {
			r.addRoot(p.typ)
		}
	}
	if len(problems) > 0 {
		r.result.Problems = append(r.result.Problems, problems...)
		return
	}
	record, err := describe.Record(root.described)
	if err != nil {
		r.result.Problems = append(r.result.Problems, root.problem("", "", err.Error()))
		return
	}
	if root.dynamicTable {
		r.result.Notes = append(r.result.Notes, root.problem("", "", fmt.Sprintf("its method TableName returns no constant, so table %q is a guess: say table= on the marker", record.Table)))
	}
	r.result.Records = append(r.result.Records, record)
}

// stray looks at a type that has tags and no marker, and that no record reaches. It
// may be a part of a record in other packages, or have tags of somebody else's.
func (r *reader) stray(t types.Type) {
	if r.reached[t] {
		return
	}
	c := &compiler{reader: r}
	p := c.structPlan(t)
	r.result.Notes = append(r.result.Notes, p.problems...)
	r.result.Notes = append(r.result.Notes, p.problem("", "", "it has seal tags, and no record that was looked at reaches it: give it a marker, or look at the packages that use it, too"))
}

// position is where something is, with its column.
func (r *reader) position(pkg *types.Package, pos token.Pos) string {
	p := r.fset.Position(pos)
	if !p.IsValid() {
		return "-"
	}
	return fmt.Sprintf("%s:%d:%d", r.file(pkg, p.Filename), p.Line, p.Column)
}

// line is where something is, as manifests have it.
func (r *reader) line(pkg *types.Package, pos token.Pos) string {
	p := r.fset.Position(pos)
	if !p.IsValid() {
		return "-"
	}
	return fmt.Sprintf("%s:%d", r.file(pkg, p.Filename), p.Line)
}

// comparePositions sorts by file, and then by number.
func comparePositions(a, b string) int {
	split := func(s string) (file string, line, column int) {
		file, rest, _ := strings.Cut(s, ":")
		_, _ = fmt.Sscanf(rest, "%d:%d", &line, &column)
		return file, line, column
	}
	fileA, lineA, columnA := split(a)
	fileB, lineB, columnB := split(b)
	return cmp.Or(cmp.Compare(fileA, fileB), cmp.Compare(lineA, lineB), cmp.Compare(columnA, columnB))
}
