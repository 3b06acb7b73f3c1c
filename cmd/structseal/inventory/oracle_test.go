package inventory_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/cmd/structseal/inventory"
	"github.com/structseal/structseal/cmd/structseal/inventory/testdata/bad"
	"github.com/structseal/structseal/cmd/structseal/inventory/testdata/good"
	"github.com/structseal/structseal/manifest"
)

// text writes records without their positions, in an order of their own.
func texts(t *testing.T, records []manifest.Record) []string {
	t.Helper()
	var out []string
	for _, r := range records {
		r.Position = ""
		r.Binds, r.Fields = slices.Clone(r.Binds), slices.Clone(r.Fields)
		for i := range r.Binds {
			r.Binds[i].Position = ""
		}
		for i := range r.Fields {
			r.Fields[i].Position = ""
		}
		text, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	slices.Sort(out)
	return out
}

// TestSourceIsReflection: what is read from source is what package structseal finds at
// run time, record for record.
func TestSourceIsReflection(t *testing.T) {
	inv, err := inventory.Load(t.Context(), inventory.Options{Patterns: []string{"./testdata/good"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range slices.Concat(inv.Problems, inv.Notes) {
		if !strings.Contains(p.Reason, "like") { // several instances of one generic type
			t.Error(p)
		}
	}
	var want []manifest.Record
	for i, describe := range good.All {
		r, err := describe()
		if err != nil {
			t.Fatal(i, err)
		}
		want = append(want, r)
	}
	a, b := texts(t, inv.Manifest.Records), texts(t, want)
	for _, r := range a {
		if !slices.Contains(b, r) {
			t.Errorf("only in source: %s", r)
		}
	}
	for _, r := range b {
		if !slices.Contains(a, r) {
			t.Errorf("only by reflection: %s", r)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d records in source, %d by reflection", len(a), len(b))
	}
	for _, r := range inv.Manifest.Records {
		if !strings.HasPrefix(r.Position, "inventory/testdata/good/") {
			t.Errorf("%s is at %s", r.Type, r.Position)
		}
	}
	if err := inv.Manifest.Validate(); err != nil {
		t.Error(err)
	}
}

// TestSourceRefusesWhatReflectionRefuses: the same fields for the same reasons.
func TestSourceRefusesWhatReflectionRefuses(t *testing.T) {
	inv, err := inventory.Load(t.Context(), inventory.Options{Patterns: []string{"./testdata/bad"}})
	if err != nil {
		t.Fatal(err)
	}
	if r := inv.Manifest.Records; len(r) != 1 || r[0].Label != "hidden" {
		t.Errorf("records that are refused, but for hidden: %v", r)
	}
	got := make(map[string]bool)
	for _, p := range inv.Problems {
		got[strings.Join([]string{p.Type, p.Field, p.Tag, p.Reason}, "\n\t")] = true
		if !strings.HasPrefix(p.Position, "inventory/testdata/bad/bad.go:") {
			t.Errorf("%s is at %s", p, p.Position)
		}
	}
	want := make(map[string]bool)
	for i, check := range bad.Checks {
		err := check()
		if err == nil {
			t.Errorf("check %d finds nothing", i)
			continue
		}
		for _, e := range tagErrors(err) {
			want[strings.Join([]string{e.Type, e.Field, e.Tag, e.Reason}, "\n\t")] = true
		}
	}
	for p := range got {
		if !want[p] {
			t.Errorf("only in source: %s", p)
		}
	}
	for p := range want {
		if !got[p] {
			t.Errorf("only by reflection: %s", p)
		}
	}
	if len(want) < 90 {
		t.Errorf("%d problems only", len(want))
	}
}

func tagErrors(err error) (out []*structseal.TagError) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			out = append(out, tagErrors(e)...)
		}
		return out
	}
	if e, ok := err.(*structseal.TagError); ok {
		return []*structseal.TagError{e}
	}
	return nil
}
