package gosource_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/manifest/gosource"
)

// model writes a package in which ' stands for a backquote.
func model(name, text string) []string {
	return []string{"example.com/app/" + name, "package " + name + "\n\nimport \"github.com/structseal/structseal\"\n\nvar _ structseal.Record\n" + strings.ReplaceAll(text, "'", "`")}
}

func mustRead(t *testing.T, sources ...[]string) gosource.Result {
	t.Helper()
	result, err := read(slices.Concat(sources...)...)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func labels(records []manifest.Record) (out []string) {
	for _, r := range records {
		out = append(out, r.Label+" "+r.Type)
	}
	slices.Sort(out)
	return out
}

// TestWhatIsListed: every type with a marker, wherever it is declared, once.
func TestWhatIsListed(t *testing.T) {
	result := mustRead(t, model("a", `
type Plain struct { _ structseal.Record 'seal:"plain,unbound"'; A string 'seal:"a"' }
type Again Plain
type Alias = Plain
type Of[T any] struct { _ structseal.Record 'seal:"of,unbound"'; A structseal.Sealed[T] 'seal:"a"' }
type Uses struct { _ structseal.Record 'seal:"uses,unbound"'; A []Of[int]; B Of[int]; C Of[[]Plain2] }
type Plain2 struct { X int }
func f[T any]() { var _ Of[T]; type local struct { _ structseal.Record 'seal:"local,unbound"'; A string 'seal:"a"'; B T } }
func g() any {
	type local struct { _ structseal.Record 'seal:"local,unbound"'; A string 'seal:"a"' }
	return struct { _ structseal.Record 'seal:"unnamed,unbound"'; A string 'seal:"a"' }{}
}
`))
	want := []string{
		"local example.com/app/a.local",
		"of example.com/app/a.Of[[]a.Plain2]",
		"of example.com/app/a.Of[int]",
		"plain example.com/app/a.Again",
		"plain example.com/app/a.Plain",
		"unnamed struct",
		"uses example.com/app/a.Uses",
	}
	if got := labels(result.Records); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if len(result.Problems)+len(result.Notes) > 0 {
		t.Errorf("%v %v", result.Problems, result.Notes)
	}
}

// TestOtherPackages: a record of a package that isn't read is listed when one that is
// read reaches it, and its problems are told.
func TestOtherPackages(t *testing.T) {
	far := model("far", `
type Far struct { _ structseal.Record 'seal:"far,unbound"'; A string 'seal:"a"' }
type Part struct { A string 'seal:"a"' }
type Bad struct { _ structseal.Record 'seal:"bad"'; A int 'seal:"a"' }
`)
	near := model("near", `
type Near struct { _ structseal.Record 'seal:"near,unbound"'; Fars map[string]far.Far; Part far.Part 'seal:"part"' }
type Worse struct { _ structseal.Record 'seal:"worse,unbound"'; A string 'seal:"a"'; Bad *far.Bad }
`)
	near[1] = strings.Replace(near[1], "import ", "import \"example.com/app/far\"\nimport ", 1)
	all := mustRead(t, far, near)
	if got := labels(all.Records); !slices.Equal(got, []string{"far example.com/app/far.Far", "near example.com/app/near.Near"}) {
		t.Errorf("both packages: %q", got)
	}
	if len(all.Problems) != 1 || len(all.Notes) != 0 || !strings.HasPrefix(all.Problems[0].String(), "example.com/app/far/far.go:9:53:") {
		t.Errorf("problems %v, notes %v", all.Problems, all.Notes)
	}
	if alone := mustRead(t, far); len(alone.Notes) != 1 || !strings.Contains(alone.Notes[0].Reason, "no record that was looked at reaches it") || alone.Notes[0].Type != "far.Part" {
		t.Errorf("notes %v", alone.Notes)
	}
}

func TestNotes(t *testing.T) {
	result := mustRead(t, model("a", `
type Of[T any] struct { _ structseal.Record 'seal:"of,unbound"'; A structseal.Sealed[T] 'seal:"a"' }
type Stray struct { A string 'seal:"a"' }
type Wrong struct { A string 'seal:"a"'; B string 'seal:"b,bnid"' }
type Folded struct { ID string 'seal:"id,bind"' }
type Rec struct { _ structseal.Record 'seal:"rec"'; Folded; A string 'seal:"a"' }
func (r *Rec) TableName() string { return "t" + r.A }
type Const struct { _ structseal.Record 'seal:"const,unbound"'; A string 'seal:"a"' }
func (Const) TableName() string { return "t" }
type Said struct { _ structseal.Record 'seal:"said,unbound,table=x"'; A string 'seal:"a"' }
func (s Said) TableName() string { return s.A }
type Other struct { _ structseal.Record 'seal:"other,unbound"'; A string 'seal:"a"' }
func (Other) TableName(prefix string) string { return prefix }
`))
	var notes []string
	for _, n := range result.Notes {
		notes = append(notes, n.Type+": "+n.Reason)
	}
	want := []string{
		"a.Of: a generic record of which no instance",
		"a.Stray: it has seal tags, and no record",
		"a.Wrong: it has seal tags, and no record",
		`a.Wrong: unknown option "bnid"`,
		`a.Rec: its method TableName returns no constant, so table "recs" is a guess`,
	}
	if len(notes) != len(want) {
		t.Fatalf("notes %q", notes)
	}
	for i := range want {
		if !strings.HasPrefix(notes[i], want[i]) {
			t.Errorf("note %q, want %q", notes[i], want[i])
		}
	}
	if len(result.Problems) > 0 {
		t.Errorf("problems %v", result.Problems)
	}
	tables := map[string]string{}
	for _, r := range result.Records {
		tables[r.Label] = r.Table
	}
	if got := fmt.Sprint(tables); got != "map[const:t other:others rec:recs said:x]" {
		t.Errorf("tables %s", got)
	}
}

// TestTooMany: structs that multiply are refused instead of being listed for ever.
func TestTooMany(t *testing.T) {
	var b strings.Builder
	b.WriteString("type T0 struct { A string 'seal:\"a\"' }\n")
	for i := range 40 {
		fmt.Fprintf(&b, "type T%d struct { A, _ int; L T%d 'seal:\"l\"'; R []T%d 'seal:\"r\"' }\n", i+1, i, i)
	}
	b.WriteString("type Rec struct { _ structseal.Record 'seal:\"rec,unbound\"'; T T40 'seal:\"t\"' }\n")
	result := mustRead(t, model("a", b.String()))
	if len(result.Records) != 0 || len(result.Problems) != 1 || !strings.Contains(result.Problems[0].Reason, "too many") {
		t.Errorf("%d records, %v", len(result.Records), result.Problems)
	}
}
