package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Change is what one manifest says and an older one doesn't, or the other way round.
type Change struct {
	// Breaking: ciphertexts that were written before can't be opened any more.
	Breaking bool   `json:"breaking"`
	Label    string `json:"label"`    // "customer.email", or "customer"
	Position string `json:"position"` // in the newer manifest, or, of what is gone, the older one
	What     string `json:"what"`
	Do       string `json:"do,omitempty"` // how to mend it
}

func (c Change) String() string {
	s := fmt.Sprintf("%s: %s: %s", c.Position, c.Label, c.What)
	if c.Do != "" {
		s += ". " + c.Do
	}
	return s
}

// Compare tells what changed from an older manifest to a newer one: breaking changes
// first, then by label. Positions and the order of fields are no changes.
//
// Breaking are labels that are gone, because ciphertexts are bound to them, and labels
// that mean something else: another form, domain, subject or set of bind fields.
// A label may move between the types that share a record.
func Compare(older, newer *Manifest) []Change {
	c := new(comparison)
	for i := range older.Records {
		c.record(i, older, newer)
	}
	for i := range newer.Records {
		r := &newer.Records[i]
		switch {
		case older.Record(r.Label) == nil:
			c.add(false, r.Label, r.Position, "", "record added: %s", r.Type)
		case !slices.ContainsFunc(older.Records, func(o Record) bool { return o.Label == r.Label && (o.Type == r.Type || c.peers[o.Type] == r) }):
			c.add(false, r.Label, r.Position, "", "another type of this record added: %s", r.Type)
		}
		c.added(r, older)
	}
	slices.SortStableFunc(c.changes, func(a, b Change) int {
		if a.Breaking != b.Breaking {
			return map[bool]int{true: -1, false: 1}[a.Breaking]
		}
		return cmp.Compare(a.Label, b.Label)
	})
	return slices.Compact(c.changes)
}

type comparison struct {
	changes []Change
	peers   map[string]*Record // by the older type's name: what it is called now
}

func (c *comparison) add(breaking bool, label, position, do, what string, args ...any) {
	c.changes = append(c.changes, Change{breaking, label, position, fmt.Sprintf(what, args...), do})
}

// peer returns the record that the i-th of the older ones is now: the one of its label
// and type, else one of its label that is new, else any of its label, which is another
// one. Of several with one label and type, as functions may declare them, the n-th is
// the n-th.
func peer(i int, older, newer *Manifest) (found *Record, another bool) {
	r := &older.Records[i]
	same := func(o Record) bool { return o.Label == r.Label && o.Type == r.Type }
	twins := 0
	for _, o := range older.Records[:i] {
		if same(o) {
			twins++
		}
	}
	var twin *Record
	for j := range newer.Records {
		n := &newer.Records[j]
		switch {
		case n.Label != r.Label:
		case same(*n):
			if twins--; twin == nil || twins >= -1 {
				twin = n
			}
		default:
			isNew := !slices.ContainsFunc(older.Records, func(o Record) bool { return o.Label == n.Label && o.Type == n.Type })
			if found == nil || isNew {
				found, another = n, !isNew
			}
		}
	}
	if twin != nil {
		return twin, false
	}
	return found, another
}

func (c *comparison) record(i int, older, newer *Manifest) {
	r := &older.Records[i]
	now, another := peer(i, older, newer)
	if now == nil {
		do := "Put it back. If no ciphertext of it is left, in backups neither, accept the change"
		if i := slices.IndexFunc(newer.Records, func(n Record) bool { return n.Type == r.Type }); i >= 0 {
			do = fmt.Sprintf("%s is now labelled %q: put the old label back", r.Type, newer.Records[i].Label)
		}
		c.add(true, r.Label, r.Position, do, "the record is gone: its ciphertexts can't be opened any more")
		return
	}
	switch {
	case another:
		c.add(false, r.Label, r.Position, "", "the type %s is gone, and %s is left of this record", r.Type, now.Type)
	case now.Type != r.Type:
		if c.peers == nil {
			c.peers = make(map[string]*Record)
		}
		c.peers[r.Type] = now
		c.add(false, r.Label, now.Position, "", "the type was renamed from %s to %s", r.Type, now.Type)
	}
	if !another {
		c.bindings(r, now)
		if r.Table != now.Table {
			c.add(false, r.Label, now.Position, "The rows must move with it", "the table was %q and is %q", r.Table, now.Table)
		}
		if r.Category != now.Category {
			c.add(false, r.Label, now.Position, "", "the category was %q and is %q", r.Category, now.Category)
		}
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		found := now.field(f)
		for j := 0; found == nil && j < len(newer.Records); j++ {
			if newer.Records[j].Label == r.Label { // another type has it
				found = newer.Records[j].field(f)
			}
		}
		c.field(r, f, now, found)
	}
}

// bindings compares what the context of every field says.
func (c *comparison) bindings(r, now *Record) {
	const again = "Take the change back, or decrypt the rows with the old program and encrypt them with the new one"
	bind := func(r *Record, label string) *Bind {
		if i := slices.IndexFunc(r.Binds, func(b Bind) bool { return b.Label == label }); i >= 0 {
			return &r.Binds[i]
		}
		return nil
	}
	for _, b := range r.Binds {
		label := r.Label + "." + b.Label
		switch n := bind(now, b.Label); {
		case n == nil && slices.Contains(now.Require, b.Label):
			c.add(false, label, now.Position, "", "the bind field is gone, and Bind(%q) is required instead", b.Label)
		case n == nil:
			c.add(true, label, now.Position, again, "the bind field is gone: what was bound to it doesn't open without it")
		default:
			if b.Kind != n.Kind && !sameText(b.Kind, n.Kind) {
				c.add(true, label, n.Position, again, "the bind field was %s and is %s: its text isn't the same any more", b.Kind, n.Kind)
			}
			if b.Column != n.Column {
				c.add(false, label, n.Position, "The rows must move with it", "the column was %q and is %q", b.Column, n.Column)
			}
			if b.Category != n.Category {
				c.add(false, label, n.Position, "", "the category was %q and is %q", b.Category, n.Category)
			}
		}
	}
	for _, n := range now.Binds {
		switch {
		case bind(r, n.Label) != nil:
		case slices.Contains(r.Require, n.Label):
			c.add(false, r.Label+"."+n.Label, n.Position, "", "Bind(%q) was required and is a bind field now", n.Label)
		default:
			c.add(true, r.Label+"."+n.Label, n.Position, again, "the bind field is new: what was sealed without it doesn't open with it")
		}
	}
	for _, label := range r.Require {
		if !slices.Contains(now.Require, label) && bind(now, label) == nil {
			c.add(true, r.Label+"."+label, now.Position, again, "Bind(%q) isn't required any more: what was bound to it doesn't open without it", label)
		}
	}
	for _, label := range now.Require {
		if !slices.Contains(r.Require, label) && bind(r, label) == nil {
			c.add(true, r.Label+"."+label, now.Position, again, "Bind(%q) is required now: what was sealed without it doesn't open with it", label)
		}
	}
	if was, is := r.subject(), now.subject(); was != is {
		c.add(true, r.Label, now.Position, again, "the subject was %s and is %s: other keys are used", was, is)
	}
	if r.Unbound != now.Unbound {
		c.add(false, r.Label, now.Position, "", "unbound was %t and is %t", r.Unbound, now.Unbound)
	}
}

// sameText reports kinds whose values have the same text, so that a field may change
// from one to the other.
func sameText(a, b BindKind) bool {
	return a == BindText && b == BindUUID || a == BindUUID && b == BindText
}

func (r *Record) subject() string {
	for _, b := range r.Binds {
		switch {
		case b.Subject && b.SubjectKind != "":
			return fmt.Sprintf("%s of kind %s", b.Label, b.SubjectKind)
		case b.Subject:
			return b.Label
		}
	}
	return "nobody"
}

// field returns the field that is f in another manifest.
func (r *Record) field(f *Field) *Field {
	for i := range r.Fields {
		n := &r.Fields[i]
		// A record inside isn't bound to the path; it may have none.
		if slices.Equal(n.Path, f.Path) && (len(f.Path) > 0 || n.Field == f.Field) {
			return n
		}
	}
	return nil
}

func (c *comparison) field(r *Record, f *Field, now *Record, n *Field) {
	label := strings.TrimSuffix(r.FieldLabel(f), ".")
	if n == nil && f.Form == FormRecord {
		c.add(false, label, r.Position, "", "field %s with records %s is gone", f.Field, f.Record)
		return
	}
	if n == nil {
		do := "Put it back. If no ciphertext of it is left, in backups neither, accept the change"
		i := slices.IndexFunc(now.Fields, func(n Field) bool { return n.Field == f.Field })
		if i >= 0 {
			do = fmt.Sprintf("Field %s is now labelled %q: put the old label back; the Go name may change, the label not", f.Field, strings.Join(now.Fields[i].Path, "."))
		}
		c.add(true, label, f.Position, do, "the label is gone: its ciphertexts can't be opened any more")
		return
	}
	const again = "Take the change back, or give the new meaning a new label"
	switch {
	case f.Form != n.Form:
		c.add(true, label, n.Position, again, "the form was %s and is %s", f.Form, n.Form)
	case f.Form == FormSealed && sealedType(f.Type) != sealedType(n.Type):
		c.add(true, label, n.Position, again+". If the old values have the form of the new type, accept the change", "the type was %s and is %s", f.Type, n.Type)
	case f.Form == FormRecord && f.Record != n.Record:
		c.add(true, label, n.Position, again, "records %s were inside and now %s", f.Record, n.Record)
	case f.Shape != n.Shape && f.Form != FormRecord: // a record isn't bound to the way to it
		c.add(true, label, n.Position, again, "the containers were %q and are %q", f.containers(), n.containers())
	case f.Many != n.Many && f.Form != FormRecord:
		c.add(false, label, n.Position, "The rows must be written anew", "the column held %s and holds %s", f.content(), n.content())
	}
	if f.Det != n.Det {
		c.add(true, label, n.Position, again, "the domain was %q and is %q", f.Det, n.Det)
	}
	if f.Column != n.Column {
		c.add(false, label, n.Position, "The rows must move with it", "the column was %q and is %q", f.Column, n.Column)
	}
	if f.Category != n.Category {
		c.add(false, label, n.Position, "", "the category was %q and is %q", f.Category, n.Category)
	}
}

func (f *Field) containers() string {
	if f.Shape == "" {
		return strings.Join(f.Path, ".")
	}
	return f.Shape
}

func (f *Field) content() string {
	if f.Many {
		return "several values"
	}
	return "one ciphertext"
}

// sealedType returns the T of what is a Sealed[T], in pointers and containers or not.
func sealedType(text string) string {
	_, inner, ok := strings.Cut(text, "structseal.Sealed[")
	if !ok {
		return text
	}
	depth := 0
	for i, r := range inner {
		switch {
		case r == '[':
			depth++
		case r == ']' && depth == 0:
			return inner[:i]
		case r == ']':
			depth--
		}
	}
	return inner
}

// added lists the fields that no type of the record had.
func (c *comparison) added(r *Record, older *Manifest) {
	was := older.Record(r.Label)
	if was == nil {
		return
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		if !slices.ContainsFunc(was, func(o Record) bool { return o.field(f) != nil }) {
			c.add(false, strings.TrimSuffix(r.FieldLabel(f), "."), f.Position, "", "added: %s", f.Field)
		}
	}
}
