package gosource

import (
	"fmt"
	"go/types"
	"maps"
	"slices"
	"strings"

	"github.com/structseal/structseal/internal/describe"
	"github.com/structseal/structseal/internal/sealtag"
	"github.com/structseal/structseal/manifest"
)

// holdsSeals reports whether there is something of ours in t, at any depth.
func (c *compiler) holdsSeals(t types.Type) bool {
	seen := map[types.Type]bool{}
	found := c.reachesSeals(t, seen)
	if !found {
		maps.Copy(c.free, seen) // asked for again and again: what a server's types reach is a lot
	}
	return found
}

func (c *compiler) reachesSeals(t types.Type, seen map[types.Type]bool) bool {
	t = c.canonical(t)
	if seen[t] || c.free[t] {
		return false
	}
	seen[t] = true
	switch u := t.Underlying().(type) {
	case *types.Pointer:
		return c.reachesSeals(u.Elem(), seen)
	case *types.Slice:
		return c.reachesSeals(u.Elem(), seen)
	case *types.Array:
		return c.reachesSeals(u.Elem(), seen)
	case *types.Map:
		return c.reachesSeals(u.Key(), seen) || c.reachesSeals(u.Elem(), seen)
	case *types.Struct:
		if sealedOf(t) != nil || hasMarker(t) {
			return true
		}
		for i := range u.NumFields() {
			if _, found, err := sealtag.Lookup(u.Tag(i)); found || err != nil || c.reachesSeals(u.Field(i).Type(), seen) {
				return true
			}
		}
	}
	return false
}

// node says how values of type t are sealed, or why they can't be. It returns the plan
// of the struct behind all containers, if there is one.
func (c *compiler) node(m *describe.Member, t types.Type) (end *plan, reason string) {
	t = types.Unalias(t)
	if inner := sealedOf(t); inner != nil {
		m.Form = manifest.FormSealed
		if problem := codecProblem(c.reader, inner); problem != "" {
			return nil, fmt.Sprintf("%s: %s", reflectText(t), problem)
		}
		return nil, ""
	}
	if n, ok := t.(*types.Named); ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == "database/sql" && strings.HasPrefix(n.Obj().Name(), "Null") {
		return c.nullNode(m, n)
	}
	var elem types.Type
	switch u := t.Underlying().(type) {
	case *types.Basic:
		if u.Kind() != types.String {
			return nil, useSealed(t)
		}
		m.Form = manifest.FormString
		return nil, ownEncoding(t)
	case *types.Slice:
		m.Nullable = true
		if isByte(u.Elem()) {
			m.Form = manifest.FormBytes
			return nil, ownEncoding(t)
		}
		m.Containers += "[]"
		elem = u.Elem()
	case *types.Pointer:
		m.Nullable = true
		elem = u.Elem()
	case *types.Array:
		if isByte(u.Elem()) {
			return nil, useSealed(t)
		}
		m.Containers += "[]"
		elem = u.Elem()
	case *types.Map:
		if c.holdsSeals(u.Key()) {
			return nil, fmt.Sprintf("map keys stay readable, so %s can't hold sealed fields", reflectText(u.Key()))
		}
		if !mapKeyOK(u.Key()) {
			return nil, fmt.Sprintf("map keys of type %s can't be bound; use strings, integers or an encoding.TextMarshaler", reflectText(u.Key()))
		}
		m.Containers += "{}"
		m.Nullable = true
		elem = u.Elem()
	case *types.Struct:
		if !c.holdsSeals(t) {
			return nil, useSealed(t)
		}
		p := c.structPlan(t)
		m.Inner = p.described
		if hasMarker(t) {
			m.Form = manifest.FormRecord
		}
		return p, ""
	default:
		return nil, useSealed(t)
	}
	canonical := c.canonical(t)
	if slices.Contains(c.open, canonical) {
		return nil, fmt.Sprintf("%s contains itself with no struct in between", reflectText(t))
	}
	c.open = append(c.open, canonical)
	defer func() { c.open = c.open[:len(c.open)-1] }()
	return c.node(m, elem)
}

func (c *compiler) nullNode(m *describe.Member, t *types.Named) (*plan, string) {
	m.Nullable = true
	s := structOf(t)
	valid := slices.ContainsFunc(slices.Collect(s.Fields()), func(f *types.Var) bool { return f.Name() == "Valid" })
	value := s.Field(0)
	if t.Obj().Name() != "NullString" && value.Name() != "V" || !valid {
		return nil, fmt.Sprintf("%s can't hold ciphertext; use *structseal.Sealed[%s]", reflectText(t), reflectText(value.Type()))
	}
	inner := describe.Member{}
	_, reason := c.node(&inner, value.Type())
	m.Form = inner.Form
	if reason == "" && (inner.Containers != "" || inner.Inner != nil || inner.Form == "" || isPointer(value.Type()) || isNull(value.Type())) {
		reason = fmt.Sprintf("%s: sql.Null holds a string, []byte or Sealed", reflectText(t))
	}
	return nil, reason
}

func isNull(t types.Type) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == "database/sql"
}

// useSealed is the way out for types that can't hold their own ciphertext.
func useSealed(t types.Type) string {
	if isInterface(t) {
		return fmt.Sprintf("%s can't be sealed; use a concrete type", reflectText(t))
	}
	return fmt.Sprintf("%s can't hold ciphertext; use structseal.Sealed[%s]", reflectText(t), reflectText(t))
}

// ownEncoding refuses strings and bytes that encode themselves.
func ownEncoding(t types.Type) string {
	for _, m := range []method{marshalText, marshalJSON, valuer} {
		if m.has(t) {
			return fmt.Sprintf("%s encodes itself (%s) and would meet ciphertext; use structseal.Sealed[%s]", reflectText(t), m.iface, reflectText(t))
		}
	}
	return ""
}

func mapKeyOK(t types.Type) bool {
	return kindOf(t) == types.String || isInteger(t) || !isInterface(t) && !isPointer(t) && marshalText.implements(t)
}

// bindKindOf says how a type binds, or why it can't.
func bindKindOf(t types.Type) (manifest.BindKind, string) {
	t = types.Unalias(t)
	switch {
	case convertsToTime(t):
		return "", "databases round times, so a time can't bind; bind an id"
	case kindOf(t) == types.Float32 || kindOf(t) == types.Float64:
		return "", "databases round floats, so a float can't bind; bind an id"
	case marshalText.has(t):
		if a, ok := t.Underlying().(*types.Array); ok && a.Len() == 16 && isByte(a.Elem()) && strings.EqualFold(nameOf(t), "uuid") {
			return manifest.BindUUID, ""
		}
		return manifest.BindText, ""
	case kindOf(t) == types.String:
		return manifest.BindText, ""
	case isInteger(t):
		return manifest.BindInteger, ""
	}
	switch u := t.Underlying().(type) {
	case *types.Slice:
		if isByte(u.Elem()) {
			return manifest.BindBytes, ""
		}
	case *types.Array:
		if isByte(u.Elem()) {
			return manifest.BindBytes, ""
		}
	}
	return "", fmt.Sprintf("%s can't bind; use a string, []byte, [N]byte, an integer or an encoding.TextMarshaler", reflectText(t))
}
