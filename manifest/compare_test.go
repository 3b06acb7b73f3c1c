package manifest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal/manifest"
)

// TestCompare changes one thing at a time, forward and back.
func TestCompare(t *testing.T) {
	const harmless, breaking = false, true
	for name, c := range map[string]struct {
		change func(*manifest.Record)
		is     bool
		label  string
		what   string // forward
		back   string
		backIs bool
	}{
		"label gone":      {func(r *manifest.Record) { r.Fields = r.Fields[1:] }, breaking, "customer.email", "the label is gone", "added: Email", harmless},
		"label changed":   {func(r *manifest.Record) { r.Fields[0].Path = []string{"mail"} }, breaking, "customer.email", "the label is gone", "", breaking},
		"parent's label":  {func(r *manifest.Record) { r.Fields[3].Path = []string{"house", "tags"} }, breaking, "customer.home.tags", "the label is gone", "", breaking},
		"form":            {func(r *manifest.Record) { r.Fields[0].Form = manifest.FormBytes }, breaking, "customer.email", "the form was string and is bytes", "was bytes and is string", breaking},
		"sealed type":     {func(r *manifest.Record) { r.Fields[2].Type = "structseal.Sealed[map[string]bool]" }, breaking, "customer.born", "and is structseal.Sealed[map[string]bool]", "", breaking},
		"sealed pointer":  {func(r *manifest.Record) { r.Fields[2].Type = "sql.Null[structseal.Sealed[map[string]int]]" }, harmless, "", "", "", harmless},
		"containers":      {func(r *manifest.Record) { r.Fields[3].Shape = "home.tags{}{}" }, breaking, "customer.home.tags", `were "home.tags{}[]" and are "home.tags{}{}"`, "", breaking},
		"a container":     {func(r *manifest.Record) { r.Fields[0].Shape, r.Fields[0].Many = "email[]", true }, breaking, "customer.email", `were "email" and are "email[]"`, "", breaking},
		"flattened":       {func(r *manifest.Record) { r.Fields[3].Shape, r.Fields[3].Many = "home.tags{}[]", false }, harmless, "customer.home.tags", "several values and holds one ciphertext", "one ciphertext and holds several", harmless},
		"domain":          {func(r *manifest.Record) { r.Fields[0].Det = "mail" }, breaking, "customer.email", `the domain was "" and is "mail"`, "", breaking},
		"inner record":    {func(r *manifest.Record) { r.Fields[4].Record = "memo" }, breaking, "customer", "records note were inside and now memo", "", breaking},
		"no inner record": {func(r *manifest.Record) { r.Fields = r.Fields[:4] }, harmless, "customer", "field Notes with records note is gone", "added: Notes", harmless},
		"bind gone":       {func(r *manifest.Record) { r.Binds = r.Binds[:1] }, breaking, "customer.tenant", "the bind field is gone", "the bind field is new", breaking},
		"bind required": {func(r *manifest.Record) { r.Binds, r.Require = r.Binds[:1], []string{"region", "tenant"} }, harmless, "customer.tenant",
			`Bind("tenant") is required instead`, `was required and is a bind field now`, harmless},
		"require gone":  {func(r *manifest.Record) { r.Require = nil }, breaking, "customer.region", "isn't required any more", "is required now", breaking},
		"bind kind":     {func(r *manifest.Record) { r.Binds[1].Kind = manifest.BindBytes }, breaking, "customer.tenant", "was integer and is bytes", "", breaking},
		"no UUID's":     {func(r *manifest.Record) { r.Binds[0].Kind = manifest.BindBytes }, breaking, "customer.id", "was uuid and is bytes", "was bytes and is uuid", breaking},
		"a number's":    {func(r *manifest.Record) { r.Binds[1].Kind = manifest.BindText }, breaking, "customer.tenant", "was integer and is text", "was text and is integer", breaking},
		"a UUID's text": {func(r *manifest.Record) { r.Binds[0].Kind = manifest.BindText }, harmless, "", "", "", harmless},
		"subject":       {func(r *manifest.Record) { r.Binds[0].Subject, r.Binds[0].SubjectKind = false, "" }, breaking, "customer", "the subject was id of kind person and is nobody", "was nobody and is id", breaking},
		"subject kind":  {func(r *manifest.Record) { r.Binds[0].SubjectKind = "" }, breaking, "customer", "was id of kind person and is id: other", "", breaking},
		"column":        {func(r *manifest.Record) { r.Fields[0].Column = "mail" }, harmless, "customer.email", `the column was "email" and is "mail"`, "", harmless},
		"bind column":   {func(r *manifest.Record) { r.Binds[1].Column = "owner" }, harmless, "customer.tenant", `the column was "tenant" and is "owner"`, "", harmless},
		"table":         {func(r *manifest.Record) { r.Table = "people" }, harmless, "customer", `the table was "customers" and is "people"`, "", harmless},
		"category":      {func(r *manifest.Record) { r.Category = "" }, harmless, "customer", `the category was "contact" and is ""`, "", harmless},
		"field's":       {func(r *manifest.Record) { r.Fields[0].Category = "x" }, harmless, "customer.email", `the category was "" and is "x"`, "", harmless},
		"bind's":        {func(r *manifest.Record) { r.Binds[0].Category = "x" }, harmless, "customer.id", `the category was "" and is "x"`, "", harmless},
		"unbound":       {func(r *manifest.Record) { r.Unbound = true }, harmless, "customer", "unbound was false and is true", "", harmless},
		"type renamed":  {func(r *manifest.Record) { r.Type = "example.com/app.Client" }, harmless, "customer", "renamed from example.com/app.Customer to example.com/app.Client", "", harmless},
		"Go name":       {func(r *manifest.Record) { r.Fields[0].Field = "Mail" }, harmless, "", "", "", harmless},
		"named type":    {func(r *manifest.Record) { r.Fields[0].Type = "*app.Mail"; r.Fields[0].Nullable = true }, harmless, "", "", "", harmless},
		"moved": {func(r *manifest.Record) {
			r.Position, r.Fields[0].Position = "b.go:1", "b.go:2"
			slices.Reverse(r.Fields)
			slices.Reverse(r.Binds)
		}, harmless, "", "", "", harmless},
	} {
		was, is := customer(), customer()
		c.change(&is)
		check := func(older, newer manifest.Record, wantBreaking bool, want string) {
			t.Helper()
			changes := manifest.Compare(of(older, note()), of(newer, note()))
			if c.what == "" {
				if len(changes) > 0 {
					t.Errorf("%s: %v", name, changes)
				}
				return
			}
			if len(changes) == 0 {
				t.Errorf("%s: no change, want %q", name, want)
				return
			}
			if first := changes[0]; first.Breaking != wantBreaking || !strings.Contains(first.What, want) || first.Label == "" || first.Breaking && first.Do == "" {
				t.Errorf("%s: %t %s, want %t %q", name, first.Breaking, first, wantBreaking, want)
			}
			if changes[0].Label != c.label && want == c.what {
				t.Errorf("%s: at %s, want %s", name, changes[0].Label, c.label)
			}
		}
		check(was, is, c.is, c.what)
		check(is, was, c.backIs, c.back)
	}
}

func TestCompareRecords(t *testing.T) {
	all := of(customer(), note())
	if changes := manifest.Compare(all, all); len(changes) > 0 {
		t.Errorf("with itself: %v", changes)
	}
	gone := manifest.Compare(all, of(customer()))
	if len(gone) != 1 || !gone[0].Breaking || gone[0].Label != "note" || gone[0].Position != "app.go:40" {
		t.Errorf("a record is gone: %v", gone)
	}
	if added := manifest.Compare(of(customer()), all); len(added) != 1 || added[0].Breaking || added[0].Label != "note" {
		t.Errorf("a record was added: %v", added)
	}
	renamed := note()
	renamed.Label = "memo"
	if changes := manifest.Compare(all, of(customer(), renamed)); len(changes) != 2 || !changes[0].Breaking || !strings.Contains(changes[0].Do, `labelled "memo"`) {
		t.Errorf("another label on the type: %v", changes)
	}

	relabelled := customer()
	relabelled.Fields[1].Path = []string{"picture"}
	if changes := manifest.Compare(of(customer()), of(relabelled)); len(changes) != 2 || !strings.Contains(changes[0].Do, `Field Photo is now labelled "picture"`) {
		t.Errorf("another label on the field: %v", changes)
	}
	dropped := customer()
	dropped.Fields = dropped.Fields[1:]
	if changes := manifest.Compare(of(customer()), of(dropped)); len(changes) != 1 || !strings.HasPrefix(changes[0].Do, "Put it back") {
		t.Errorf("no label on the field: %v", changes)
	}

	// Several types share a record: a label may move between them.
	part := customer()
	part.Type, part.Fields = "example.com/app.Part", slices.Clone(part.Fields[:2])
	if changes := manifest.Compare(of(customer()), of(customer(), part)); len(changes) != 1 || changes[0].Breaking || !strings.Contains(changes[0].What, "another type") {
		t.Errorf("a second type: %v", changes)
	}
	less := part
	less.Fields = part.Fields[:1]
	if changes := manifest.Compare(of(customer(), part), of(customer(), less)); len(changes) > 0 {
		t.Errorf("one of two types has less: %v", changes)
	}
	whole := customer()
	whole.Fields = whole.Fields[1:]
	if changes := manifest.Compare(of(customer(), less), of(whole, less)); len(changes) > 0 {
		t.Errorf("a label is in the other type only: %v", changes)
	}
	fewer := part
	fewer.Binds = part.Binds[:1]
	if changes := manifest.Compare(of(customer(), fewer), of(customer())); len(changes) != 1 || changes[0].Breaking || !strings.Contains(changes[0].What, "Part is gone") {
		t.Errorf("a type is gone whose labels the other one has: %v", changes)
	}
	if changes := manifest.Compare(of(customer(), part), of(part)); len(changes) == 0 || !changes[0].Breaking {
		t.Errorf("the whole type is gone: %v", changes)
	}

	// Two functions may each declare a type of one name.
	local, twin := note(), note()
	twin.Fields[0].Form = manifest.FormBytes
	if changes := manifest.Compare(of(local, twin), of(local, twin)); len(changes) > 0 {
		t.Errorf("two types of one name: %v", changes)
	}
	if changes := manifest.Compare(of(local, twin), of(local, local)); len(changes) != 1 || !changes[0].Breaking {
		t.Errorf("one of two types of one name: %v", changes)
	}

	c := manifest.Change{Breaking: true, Label: "customer.email", Position: "a.go:1", What: "what", Do: "do"}
	if got := c.String(); got != "a.go:1: customer.email: what. do" {
		t.Error(got)
	}
}
