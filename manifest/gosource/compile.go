package gosource

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/constant"
	"go/types"
	"reflect"
	"slices"
	"strings"

	"github.com/structseal/structseal/internal/describe"
	"github.com/structseal/structseal/internal/sealtag"
	"github.com/structseal/structseal/manifest"
)

// This is the second reading of the rules by which package structseal compiles struct
// types; its plan.go is the first. Tests hold the two against each other.

// A plan is what the tags of a struct type mean.
type plan struct {
	reader       *reader
	typ          types.Type
	marker       sealtag.Tag
	rowBind      bool
	subject      string // Go name of its field
	fields       []field
	binds        map[string]Problem // by label: where they are
	uses         []*plan            // of the structs in its fields
	folded       []types.Type       // structs that it embeds
	described    *describe.Struct
	dynamicTable bool
	problems     []Problem
}

type field struct {
	name string
	det  string
	leaf bool
	plan *plan // of the struct behind all containers
	at   Problem
}

func (p *plan) problem(name, tag, reason string) Problem {
	at := Problem{Position: "-", Type: reflectText(p.typ), Field: name, Tag: tag, Reason: reason}
	if n, ok := p.typ.(*types.Named); ok {
		at.Position = p.reader.position(n.Obj().Pkg(), n.Obj().Pos())
	} else if s := structOf(p.typ); numFields(s) > 0 {
		at.Position = p.reader.position(s.Field(0).Pkg(), s.Field(0).Pos())
	}
	return at
}

// problemAt is a problem of a field, which owner declares.
func (r *reader) problemAt(owner types.Type, v *types.Var, tag, reason string) Problem {
	return Problem{Position: r.position(v.Pkg(), v.Pos()), Type: reflectText(owner), Field: v.Name(), Tag: tag, Reason: reason}
}

type compiler struct {
	*reader
	open    []types.Type // containers being compiled
	parents []*plan      // structs being compiled
}

// reach lists the plans that a plan reaches, itself first.
func (p *plan) reach() []*plan {
	order := []*plan{p}
	for i := 0; i < len(order); i++ {
		for _, used := range order[i].uses {
			if !slices.Contains(order, used) {
				order = append(order, used)
			}
		}
	}
	return order
}

// check judges the plan of a record.
func check(root *plan) (problems []Problem) {
	order := root.reach()
	sealed := false
	for _, p := range order {
		problems = append(problems, p.problems...)
		sealed = sealed || len(p.fields) > 0
	}
	if !sealed && len(problems) == 0 {
		return []Problem{root.problem("", "", "no field is sealed: nothing would be encrypted")}
	}
	for _, p := range order {
		if p.marker.Label != "" && !p.marker.Unbound && !p.rowBind && needsBind(p, nil) {
			problems = append(problems, p.problem("", "", "no bind field: a ciphertext could be moved to another row. Tag the id `seal:\"id,bind\"`, or say `unbound` on the marker"))
		}
	}
	if len(problems) == 0 {
		for _, p := range order {
			if p.subject != "" {
				problems = append(problems, outside(p, p, nil)...)
			}
		}
	}
	return problems
}

// needsBind reports whether a record has a value that is bound to its row.
func needsBind(p *plan, seen []*plan) bool {
	if slices.Contains(seen, p) {
		return false
	}
	seen = append(seen, p)
	return slices.ContainsFunc(p.fields, func(f field) bool {
		return f.leaf && f.det == "" || f.plan != nil && f.plan.marker.Label == "" && needsBind(f.plan, seen)
	})
}

// outside finds fields in a record of a subject that aren't under the subject's keys.
func outside(root, p *plan, seen []*plan) (problems []Problem) {
	if slices.Contains(seen, p) {
		return nil
	}
	seen = append(seen, p)
	for _, f := range p.fields {
		at := f.at
		switch {
		case f.leaf && f.det != "":
			at.Reason = fmt.Sprintf("det in a record of subject %s: its key isn't the subject's, so forgetting would leave it readable", root.subject)
			problems = append(problems, at)
		case f.plan != nil && f.plan.marker.Label == "":
			problems = append(problems, outside(root, f.plan, seen)...)
		case f.plan != nil && f.plan.subject == "" && seals(f.plan, nil):
			at.Reason = fmt.Sprintf("%s is a record without subject inside one of subject %s: forgetting would leave it readable. Give it a field tagged subject, or encrypt it by itself", reflectText(f.plan.typ), root.subject)
			problems = append(problems, at)
		}
	}
	return problems
}

// seals reports whether a record has anything to seal.
func seals(p *plan, seen []*plan) bool {
	if slices.Contains(seen, p) {
		return false
	}
	seen = append(seen, p)
	return slices.ContainsFunc(p.fields, func(f field) bool { return f.leaf || seals(f.plan, seen) })
}

// structPlan compiles a struct type.
func (c *compiler) structPlan(t types.Type) *plan {
	t = c.canonical(t)
	p, ok := c.plans[t]
	if !ok {
		p = &plan{reader: c.reader, typ: t, binds: map[string]Problem{}, described: &describe.Struct{Name: nameOf(t), Position: "-"}}
		c.plans[t] = p
		c.parents = append(c.parents, p)
		c.compile(p)
		c.parents = c.parents[:len(c.parents)-1]
	}
	if n := len(c.parents); n > 0 {
		c.parents[n-1].uses = append(c.parents[n-1].uses, p)
	}
	return p
}

func (c *compiler) compile(p *plan) {
	t, d := p.typ, p.described
	if n, ok := t.(*types.Named); ok && n.Obj().Pkg() != nil {
		d.Path, d.Position = n.Obj().Pkg().Path(), c.line(n.Obj().Pkg(), n.Obj().Pos())
	} else if s := structOf(t); s.NumFields() > 0 {
		d.Position = c.line(s.Field(0).Pkg(), s.Field(0).Pos())
	}
	labels := map[string]string{} // label -> Go name
	c.addFields(p, t, nil, labels)
	slices.SortFunc(d.Binds, func(a, b describe.Member) int { return cmp.Compare(a.Tag.Label, b.Tag.Label) })
	for _, label := range p.marker.Require {
		if name, ok := labels[label]; ok {
			p.fail(p.problem("_", "", fmt.Sprintf("require=%s names the label of field %s; require is for the Bind option", label, name)))
		}
	}
	if p.marker.Label == "" && len(d.Binds) > 0 && !hasMarker(t) {
		at, text := p.binds[d.Binds[0].Tag.Label], reflectText(t)
		at.Reason = fmt.Sprintf("bind in %s, which has no marker of its own: tag the id of the record, or give %s a marker", text, text)
		p.fail(at)
	}
	d.Marker = p.marker
	c.nameTable(p)
}

func (p *plan) fail(problem Problem) { p.problems = append(p.problems, problem) }

// addFields adds the fields of t, which is p's type or embedded in it by outer.
func (c *compiler) addFields(p *plan, t types.Type, outer []describe.GoField, labels map[string]string) {
	s := structOf(t)
	for i := range s.NumFields() {
		v, raw := s.Field(i), s.Tag(i)
		chain := append(slices.Clone(outer), describe.GoField{Name: v.Name(), Tag: raw, Anonymous: v.Embedded()})
		fail := func(format string, args ...any) {
			p.fail(c.problemAt(t, v, raw, fmt.Sprintf(format, args...)))
		}
		value, found, err := sealtag.Lookup(raw)
		switch {
		case err != nil:
			fail("%v", err)
			continue
		case isRecord(v.Type()):
			p.addMarker(v, value, found, fail)
			continue
		case !found:
			c.addUntagged(p, v, chain, labels, fail)
			continue
		}
		tag, err := sealtag.Parse(value, false)
		switch {
		case err != nil:
			fail("%v", err)
			continue
		case v.Name() == "_":
			fail("a blank field can't be sealed; only the marker structseal.Record is named _")
			continue
		case !v.Exported():
			fail("the field is unexported: databases and encoders can't reach it. Export it")
			continue
		case labels[tag.Label] != "":
			fail("label %q is taken by field %s", tag.Label, labels[tag.Label])
			continue
		}
		labels[tag.Label] = v.Name()
		m := describe.Member{Tag: tag, Chain: chain, Type: reflectText(v.Type()), Position: c.line(v.Pkg(), v.Pos())}
		if tag.Bind || tag.Subject {
			kind, reason := bindKindOf(v.Type())
			switch {
			case reason != "":
				fail("%s", reason)
				continue
			case tag.Subject && p.subject != "":
				fail("a second subject: field %s is one", p.subject)
				continue
			case tag.Subject:
				p.subject = v.Name()
			}
			p.rowBind = p.rowBind || tag.Bind
			m.Kind = kind
			p.binds[tag.Label] = c.problemAt(t, v, "", "")
			p.described.Binds = append(p.described.Binds, m)
			continue
		}
		end, reason := c.node(&m, v.Type())
		if reason == "" && tag.Det != "" && end != nil {
			reason = "det belongs on the fields inside, not on a struct"
		}
		if reason != "" {
			fail("%s", reason)
			continue
		}
		p.add(m, field{name: v.Name(), det: tag.Det, leaf: end == nil, plan: end, at: c.problemAt(t, v, "", "")})
	}
}

func (p *plan) add(m describe.Member, f field) {
	p.described.Fields = append(p.described.Fields, m)
	p.fields = append(p.fields, f)
}

func (p *plan) addMarker(v *types.Var, value string, found bool, fail func(string, ...any)) {
	if v.Name() != "_" && !v.Embedded() {
		fail("the marker must be named _")
		return
	}
	if !found {
		fail("the marker names the record: tag it `seal:\"name\"`")
		return
	}
	if p.marker.Label != "" {
		fail("a second marker")
		return
	}
	tag, err := sealtag.Parse(value, true)
	if err != nil {
		fail("%v", err)
		return
	}
	p.marker = tag
}

// addUntagged looks into fields without a tag: what is inside may be tagged.
func (c *compiler) addUntagged(p *plan, v *types.Var, chain []describe.GoField, labels map[string]string, fail func(string, ...any)) {
	t := types.Unalias(v.Type())
	if !c.holdsSeals(t) {
		return
	}
	if v.Embedded() && isStruct(t) && !hasMarker(t) && sealedOf(t) == nil {
		p.folded = append(p.folded, c.canonical(t))
		c.addFields(p, t, chain, labels)
		return
	}
	m := describe.Member{Chain: chain, Type: reflectText(t), Position: c.line(v.Pkg(), v.Pos())}
	end, reason := c.node(&m, t)
	switch {
	case reason != "":
		fail("%s", reason)
	case m.Form != manifest.FormRecord:
		fail("%s holds sealed fields: give it a label, `seal:\"%s\"`", reflectText(t), strings.ToLower(v.Name()))
	case !v.Exported():
		fail("the field is unexported: databases and encoders can't reach it. Export it")
	default:
		p.add(m, field{name: v.Name(), plan: end, at: c.problemAt(p.typ, v, "", "")})
	}
}

// nameTable finds what the program says of the table: a method TableName that returns
// a constant, or bun's tag.
func (c *compiler) nameTable(p *plan) {
	s := structOf(p.typ)
	for i := range s.NumFields() {
		if f := s.Field(i); f.Embedded() && f.Name() == "BaseModel" {
			p.described.BunTag = reflect.StructTag(s.Tag(i)).Get("bun")
		}
	}
	f, _ := tableName.of(p.typ, true)
	if f == nil || p.marker.Label == "" || p.marker.Table != "" {
		return
	}
	name, ok := c.constantResult(f)
	p.described.TableName, p.dynamicTable = name, !ok
}

// constantResult returns the constant string that is all that a function returns, if
// its body is at hand.
func (c *compiler) constantResult(f *types.Func) (string, bool) {
	f = f.Origin()
	for _, p := range c.sources {
		if p.Types != f.Pkg() {
			continue
		}
		for _, file := range p.Files {
			for _, d := range file.Decls {
				d, ok := d.(*ast.FuncDecl)
				if !ok || p.Info.Defs[d.Name] != f || d.Body == nil || len(d.Body.List) != 1 {
					continue
				}
				ret, ok := d.Body.List[0].(*ast.ReturnStmt)
				if !ok || len(ret.Results) != 1 {
					continue
				}
				if v := p.Info.Types[ret.Results[0]].Value; v != nil && v.Kind() == constant.String {
					return constant.StringVal(v), true
				}
			}
		}
	}
	return "", false
}
