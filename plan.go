package structseal

import (
	"cmp"
	"database/sql"
	"database/sql/driver"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/structseal/structseal/internal/aad"
	"github.com/structseal/structseal/internal/sealtag"
	"github.com/structseal/structseal/keyring"
)

// A plan is what the tags of one struct type mean, worked out once and cached.
// Offsets are relative to the struct; embedded structs are folded in.
type plan struct {
	typ     reflect.Type
	record  string // label given by the marker, "" if there is none
	marker  sealtag.Tag
	binds   []bindField  // sorted by label; the subject's field, too
	rowBind bool         // a bind field ties the record to its row
	flat    bool         // see flat.go
	quick   []quickField // see quick.go
	texts   bool         // some of a quick record's values are strings
	mixed   bool         // and some are bytes
	// A bind field is a []byte, which may lie in a buffer that is to be written to.
	bytesBind bool
	subject   *bindField // the one of binds that says whose keys to seal with, if any
	fields    []field    // in declaration order
	errs      []error    // *TagErrors of this type and of what it embeds

	// opening is the start of the path encoding for a record: the record label.
	opening []byte
}

type bindField struct {
	label   string
	encoded []byte // the label in a context
	offset  uintptr
	kind    bindKind
	typ     reflect.Type
	owner   reflect.Type
	name    string

	subject     bool
	subjectKind string

	source source
}

// A source says where a field is declared, for [Describe].
type source struct {
	tag   sealtag.Tag
	chain []reflect.StructField // the embedded structs on the way, and the field
}

// A field is sealed itself, or holds structs with sealed fields.
type field struct {
	owner  reflect.Type // struct type that declares it, for errors
	name   string       // Go name
	label  string       // "" only for a record of its own without a tag
	offset uintptr
	det    string // domain of a deterministic field
	node   *node
	step   []byte // path element of the label
	// path is the encoded path of a field of the record itself: record label,
	// number of elements, elements. Deeper ones are put together when walked.
	path   []byte
	source source
}

// purpose is what the keys of the field are for.
func (f *field) purpose() keyring.Purpose {
	if f.det != "" {
		return keyring.Deterministic
	}
	return keyring.Data
}

// A node says how to get from a memory location to the values to seal.
type node struct {
	kind kind
	typ  reflect.Type
	elem *node // pointer, slice, array, map, null
	plan *plan // structs
	size uintptr
	// valid is the offset of the Valid flag of sql.NullString and sql.Null.
	valid uintptr
}

type kind uint8

const (
	kindString  kind = iota // any type of kind string
	kindBytes               // any type of kind []byte
	kindSealed              // Sealed[T]
	kindNull                // sql.NullString, sql.Null[T]
	kindPointer             // and the containers
	kindSlice
	kindArray
	kindMap
	kindStruct // belongs to the parent's path
	kindRecord // has a marker: starts a context of its own
)

func (k kind) leaf() bool { return k <= kindSealed }

var (
	recordType     = reflect.TypeFor[Record]()
	nullStringType = reflect.TypeFor[sql.NullString]()
	valuerType     = reflect.TypeFor[driver.Valuer]()
)

var plans struct {
	sync.Mutex // held while compiling
	done       sync.Map
	recent     [64]atomic.Pointer[compiled] // some of done, by the address of their types
}

// planOf returns the plan of a struct type that is a record, or every error in
// its tags and in the types it reaches.
func planOf(t reflect.Type) (*plan, error) {
	// A map that all share takes as long to ask as a value to encrypt.
	at := reflect.ValueOf(t).Pointer()
	recent := &plans.recent[at/64%uintptr(len(plans.recent))]
	if c := recent.Load(); c != nil && c.at == at {
		return c.plan, c.err
	}
	if p, ok := plans.done.Load(t); ok {
		recent.Store(p.(*compiled))
		return p.(*compiled).plan, p.(*compiled).err
	}
	plans.Lock()
	defer plans.Unlock()
	if p, ok := plans.done.Load(t); ok {
		return p.(*compiled).plan, p.(*compiled).err
	}
	c := compiler{plans: map[reflect.Type]*plan{}}
	p := c.structPlan(t)
	p.flat = p.isFlat()
	p.quick = p.quickFields()
	p.bytesBind = slices.ContainsFunc(p.binds, func(b bindField) bool { return b.kind == bindBytes })
	r := &compiled{at, p, c.check(p)}
	plans.done.Store(t, r)
	return r.plan, r.err
}

type compiled struct {
	at   uintptr // of the type, which done keeps
	plan *plan
	err  error
}

// compiler builds the plans of all struct types that a record reaches. Types
// may be recursive: a plan is in the map before its fields are known.
type compiler struct {
	plans map[reflect.Type]*plan
	order []*plan
	open  []reflect.Type // container types being compiled
}

// check judges the plan of a root record.
func (c *compiler) check(root *plan) error {
	var errs []error
	sealed := false
	for _, p := range c.order {
		errs = append(errs, p.errs...)
		sealed = sealed || len(p.fields) > 0
	}
	tagged := len(errs) > 0 || sealed || root.record != "" || len(root.binds) > 0
	switch {
	case !tagged:
		return &TagError{Type: typeName(root.typ), Err: ErrNoFields,
			Reason: "no seal tags: nothing would be encrypted"}
	case root.record == "" && !hasMarker(root.typ):
		errs = append(errs, &TagError{Type: typeName(root.typ),
			Reason: "no marker: add a field  _ structseal.Record `seal:\"name\"`  that names the record for ever"})
	case !sealed && len(errs) == 0:
		return &TagError{Type: typeName(root.typ), Err: ErrNoFields,
			Reason: "no field is sealed: nothing would be encrypted"}
	}
	for _, p := range c.order {
		if p.record != "" && !p.marker.Unbound && !p.rowBind && c.needsBind(p, nil) {
			errs = append(errs, &TagError{Type: typeName(p.typ),
				Reason: "no bind field: a ciphertext could be moved to another row. Tag the id `seal:\"id,bind\"`, or say `unbound` on the marker"})
		}
	}
	if len(errs) == 0 {
		for _, p := range c.order {
			if p.subject != nil {
				errs = append(errs, c.outside(p, p, nil)...)
			}
		}
	}
	return errors.Join(errs...)
}

// needsBind reports whether a record has a value that is bound to its row.
func (c *compiler) needsBind(p *plan, seen []*plan) bool {
	if slices.Contains(seen, p) {
		return false
	}
	seen = append(seen, p)
	for _, f := range p.fields {
		n := f.node.end()
		if n.kind.leaf() && f.det == "" || n.kind == kindStruct && c.needsBind(n.plan, seen) {
			return true
		}
	}
	return false
}

// outside finds what Forget would miss in a record that has a subject: fields
// under keys that aren't the subject's.
func (c *compiler) outside(root, p *plan, seen []*plan) (errs []error) {
	if slices.Contains(seen, p) {
		return nil
	}
	seen = append(seen, p)
	for _, f := range p.fields {
		n := f.node.end()
		switch {
		case n.kind.leaf() && f.det != "":
			errs = append(errs, &TagError{Type: typeName(f.owner), Field: f.name,
				Reason: fmt.Sprintf("det in a record of subject %s: its key isn't the subject's, so forgetting would leave it readable", root.subject.name)})
		case n.kind == kindStruct:
			errs = append(errs, c.outside(root, n.plan, seen)...)
		case n.kind == kindRecord && n.plan.subject == nil && c.seals(n.plan, nil):
			errs = append(errs, &TagError{Type: typeName(f.owner), Field: f.name,
				Reason: fmt.Sprintf("%s is a record without subject inside one of subject %s: forgetting would leave it readable. Give it a field tagged subject, or encrypt it by itself", n.plan.typ, root.subject.name)})
		}
	}
	return errs
}

// seals reports whether a record has anything to seal.
func (c *compiler) seals(p *plan, seen []*plan) bool {
	if slices.Contains(seen, p) {
		return false
	}
	seen = append(seen, p)
	for _, f := range p.fields {
		n := f.node.end()
		if n.kind.leaf() || c.seals(n.plan, seen) {
			return true
		}
	}
	return false
}

func hasMarker(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Type == recordType {
			return true
		}
	}
	return false
}

// structPlan compiles a struct type.
func (c *compiler) structPlan(t reflect.Type) *plan {
	if p, ok := c.plans[t]; ok {
		return p
	}
	p := &plan{typ: t}
	c.plans[t] = p
	c.order = append(c.order, p)
	labels := map[string]string{} // label -> Go name
	c.addFields(p, t, 0, nil, labels)
	slices.SortFunc(p.binds, func(a, b bindField) int { return cmp.Compare(a.label, b.label) })
	if i := p.subjectIndex(); i >= 0 {
		p.subject = &p.binds[i]
	}
	for _, label := range p.marker.Require {
		if name, ok := labels[label]; ok {
			p.fail(t, "_", "", fmt.Sprintf("require=%s names the label of field %s; require is for the Bind option", label, name))
		}
	}
	if p.record != "" {
		p.opening = aad.AppendString(nil, p.record)
	} else if len(p.binds) > 0 && !hasMarker(t) {
		b := p.binds[0]
		p.fail(b.owner, b.name, "", fmt.Sprintf("bind in %s, which has no marker of its own: tag the id of the record, or give %s a marker", t, t))
	}
	for i := range p.fields {
		f := &p.fields[i]
		if f.label != "" {
			f.step = aad.AppendLabel(nil, f.label)
			f.path = append(aad.AppendCount(slices.Clone(p.opening), 1), f.step...)
		}
	}
	return p
}

func (p *plan) subjectIndex() int {
	return slices.IndexFunc(p.binds, func(b bindField) bool { return b.subject })
}

func (p *plan) fail(owner reflect.Type, name, tag, reason string) {
	p.errs = append(p.errs, &TagError{Type: typeName(owner), Field: name, Tag: tag, Reason: reason})
}

// addFields adds the fields of t, which is p's type or embedded in it at base, by
// the fields outer.
func (c *compiler) addFields(p *plan, t reflect.Type, base uintptr, outer []reflect.StructField, labels map[string]string) {
	for i := range t.NumField() {
		sf := t.Field(i)
		chain := append(slices.Clone(outer), sf)
		raw := string(sf.Tag)
		fail := func(format string, args ...any) { p.fail(t, sf.Name, raw, fmt.Sprintf(format, args...)) }
		value, found, err := sealtag.Lookup(raw)
		switch {
		case err != nil:
			fail("%v", err)
			continue
		case sf.Type == recordType:
			p.addMarker(sf, value, found, fail)
			continue
		case !found:
			c.addUntagged(p, sf, base, chain, labels, fail)
			continue
		}
		tag, err := sealtag.Parse(value, false)
		switch {
		case err != nil:
			fail("%v", err)
			continue
		case sf.Name == "_":
			fail("a blank field can't be sealed; only the marker structseal.Record is named _")
			continue
		case !sf.IsExported():
			fail("the field is unexported: databases and encoders can't reach it. Export it")
			continue
		case labels[tag.Label] != "":
			fail("label %q is taken by field %s", tag.Label, labels[tag.Label])
			continue
		}
		labels[tag.Label] = sf.Name
		if tag.Bind || tag.Subject {
			kind, reason := bindKindOf(sf.Type)
			if kind == bindInvalid {
				fail("%s", reason)
				continue
			}
			if i := p.subjectIndex(); tag.Subject && i >= 0 {
				fail("a second subject: field %s is one", p.binds[i].name)
				continue
			}
			p.rowBind = p.rowBind || tag.Bind
			p.binds = append(p.binds, bindField{tag.Label, aad.AppendString(nil, tag.Label), base + sf.Offset, kind, sf.Type, t, sf.Name, tag.Subject, tag.SubjectKind, source{tag, chain}})
			continue
		}
		n, reason := c.node(sf.Type)
		if reason == "" && tag.Det != "" && !n.end().kind.leaf() {
			reason = "det belongs on the fields inside, not on a struct"
		}
		if reason != "" {
			fail("%s", reason)
			continue
		}
		p.fields = append(p.fields, field{owner: t, name: sf.Name, label: tag.Label, offset: base + sf.Offset, det: tag.Det, node: n, source: source{tag, chain}})
	}
}

func (p *plan) addMarker(sf reflect.StructField, value string, found bool, fail func(string, ...any)) {
	if sf.Name != "_" && !sf.Anonymous {
		fail("the marker must be named _")
		return
	}
	if !found {
		fail("the marker names the record: tag it `seal:\"name\"`")
		return
	}
	if p.record != "" {
		fail("a second marker")
		return
	}
	tag, err := sealtag.Parse(value, true)
	if err != nil {
		fail("%v", err)
		return
	}
	p.record, p.marker = tag.Label, tag
}

// addUntagged looks into fields without a tag: what is inside may be tagged, and
// a tag that is not reached is plaintext.
func (c *compiler) addUntagged(p *plan, sf reflect.StructField, base uintptr, chain []reflect.StructField, labels map[string]string, fail func(string, ...any)) {
	if !holdsSeals(sf.Type) {
		return
	}
	if sf.Anonymous && sf.Type.Kind() == reflect.Struct && !hasMarker(sf.Type) && !isSealed(sf.Type) {
		c.addFields(p, sf.Type, base+sf.Offset, chain, labels)
		return
	}
	n, reason := c.node(sf.Type)
	switch {
	case reason != "":
		fail("%s", reason)
	case n.end().kind != kindRecord:
		fail("%s holds sealed fields: give it a label, `seal:\"%s\"`", sf.Type, strings.ToLower(sf.Name))
	case !sf.IsExported():
		fail("the field is unexported: databases and encoders can't reach it. Export it")
	default:
		p.fields = append(p.fields, field{owner: p.typ, name: sf.Name, offset: base + sf.Offset, node: n, source: source{chain: chain}})
	}
}

// isSealed reports whether t is a Sealed[T]. A struct that embeds one has its
// methods too, but also other fields, which must not be overlooked.
func isSealed(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == recordType.PkgPath() &&
		strings.HasPrefix(t.Name(), "Sealed[") && reflect.PointerTo(t).Implements(sealedCellType)
}

// holdsSeals reports whether there is something of ours in t, at any depth.
func holdsSeals(t reflect.Type) bool { return reachesSeals(t, map[reflect.Type]bool{}) }

func reachesSeals(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return reachesSeals(t.Elem(), seen)
	case reflect.Map:
		return reachesSeals(t.Key(), seen) || reachesSeals(t.Elem(), seen)
	case reflect.Struct:
		if isSealed(t) || hasMarker(t) {
			return true
		}
		for i := range t.NumField() {
			sf := t.Field(i)
			if _, found, err := sealtag.Lookup(string(sf.Tag)); found || err != nil || reachesSeals(sf.Type, seen) {
				return true
			}
		}
	}
	return false
}

// end is the node behind all pointers and containers.
func (n *node) end() *node {
	for n.elem != nil {
		n = n.elem
	}
	return n
}

// node says how values of type t are sealed, or why they can't be.
func (c *compiler) node(t reflect.Type) (*node, string) {
	n := &node{typ: t, size: t.Size()}
	if isSealed(t) {
		n.kind = kindSealed
		if _, err := reflect.New(t).Interface().(sealedCell).codec(); err != nil {
			return nil, fmt.Sprintf("%s: %v", t, err)
		}
		return n, ""
	}
	if t.PkgPath() == nullStringType.PkgPath() && strings.HasPrefix(t.Name(), "Null") {
		return c.nullNode(n)
	}
	switch t.Kind() {
	case reflect.String:
		n.kind = kindString
		return n, ownEncoding(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			n.kind = kindBytes
			return n, ownEncoding(t)
		}
		n.kind = kindSlice
	case reflect.Pointer:
		n.kind = kindPointer
	case reflect.Array:
		n.kind = kindArray
		if t.Elem().Kind() == reflect.Uint8 {
			return nil, useSealed(t)
		}
	case reflect.Map:
		n.kind = kindMap
		if holdsSeals(t.Key()) {
			return nil, fmt.Sprintf("map keys stay readable, so %s can't hold sealed fields", t.Key())
		}
		if !mapKeyOK(t.Key()) {
			return nil, fmt.Sprintf("map keys of type %s can't be bound; use strings, integers or an encoding.TextMarshaler", t.Key())
		}
	case reflect.Struct:
		if !holdsSeals(t) {
			return nil, useSealed(t)
		}
		n.kind = kindStruct
		if hasMarker(t) {
			n.kind = kindRecord
		}
		n.plan = c.structPlan(t)
		return n, ""
	default:
		return nil, useSealed(t)
	}
	if slices.Contains(c.open, t) {
		return nil, fmt.Sprintf("%s contains itself with no struct in between", t)
	}
	c.open = append(c.open, t)
	defer func() { c.open = c.open[:len(c.open)-1] }()
	elem, reason := c.node(t.Elem())
	n.elem = elem
	return n, reason
}

func (c *compiler) nullNode(n *node) (*node, string) {
	n.kind = kindNull
	valid, ok := n.typ.FieldByName("Valid")
	value := n.typ.Field(0)
	if n.typ != nullStringType && value.Name != "V" || !ok || value.Offset != 0 {
		return nil, fmt.Sprintf("%s can't hold ciphertext; use *structseal.Sealed[%s]", n.typ, value.Type)
	}
	elem, reason := c.node(value.Type)
	if reason == "" && !elem.kind.leaf() {
		reason = fmt.Sprintf("%s: sql.Null holds a string, []byte or Sealed", n.typ)
	}
	n.elem, n.valid = elem, valid.Offset
	return n, reason
}

// useSealed is the way out for types that can't hold their own ciphertext.
func useSealed(t reflect.Type) string {
	if t.Kind() == reflect.Interface {
		return fmt.Sprintf("%s can't be sealed; use a concrete type", t)
	}
	return fmt.Sprintf("%s can't hold ciphertext; use structseal.Sealed[%s]", t, t)
}

// ownEncoding refuses strings and bytes that encode themselves: their methods
// would meet ciphertext where they expect a value (json.RawMessage, net.IP).
func ownEncoding(t reflect.Type) string {
	for _, m := range []reflect.Type{textMarshalerType, jsonMarshalerType, valuerType} {
		if reflect.PointerTo(t).Implements(m) {
			return fmt.Sprintf("%s encodes itself (%s) and would meet ciphertext; use structseal.Sealed[%s]", t, m, t)
		}
	}
	return ""
}

func mapKeyOK(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer && t.Implements(textMarshalerType)
}

// mapKeyText is the text that a map key is bound as.
func mapKeyText(k reflect.Value) (string, error) {
	if m, ok := k.Interface().(encoding.TextMarshaler); ok && k.Kind() != reflect.String {
		text, err := m.MarshalText()
		return string(text), err
	}
	if k.Kind() == reflect.String {
		return k.String(), nil
	}
	return integerText(k), nil
}

func integerText(k reflect.Value) string {
	if k.CanInt() {
		return strconv.FormatInt(k.Int(), 10)
	}
	return strconv.FormatUint(k.Uint(), 10)
}
