package structseal_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/structsealtest"
)

// wide is a record in which everything can go wrong, late.
type wide struct {
	_     structseal.Record                 `seal:"wide"`
	ID    string                            `seal:"id,bind"`
	Text  string                            `seal:"text"`
	Blob  []byte                            `seal:"blob"`
	Ptr   *string                           `seal:"ptr"`
	Lines []string                          `seal:"lines"`
	Map   map[string][]byte                 `seal:"map"`
	Num   structseal.Sealed[int]            `seal:"num"`
	Deep  wideNest                          `seal:"deep"`
	Kids  []wideKid                         `seal:"kids"`
	Last  string                            `seal:"last"`
	Cells map[int]structseal.Sealed[string] `seal:"cells"`
	Plain string
}

type wideNest struct {
	Street string    `seal:"street"`
	Next   *wideNest `seal:"next"`
}

type wideKid struct {
	_    structseal.Record `seal:"kid"`
	ID   int64             `seal:"id,bind"`
	Name string            `seal:"name"`
}

func newWide() wide {
	p := "pointed"
	return wide{
		ID: "w-1", Text: "text", Blob: []byte{1, 2, 3}, Ptr: &p, Lines: []string{"a", "", "c"},
		Map: map[string][]byte{"x": []byte("1"), "y": {}, "z": nil}, Num: structseal.Of(-7),
		Deep: wideNest{"s", &wideNest{"t", nil}}, Kids: []wideKid{{ID: 1, Name: "k1"}, {ID: 2, Name: "k2"}, {ID: 3, Name: "k3"}},
		Last: "last", Cells: map[int]structseal.Sealed[string]{1: structseal.Of("c1"), 2: structseal.Of("c2")}, Plain: "plain",
	}
}

// refused runs a verb on v, by value, by pointer and in place, wants the error
// each time, and that nothing changed and nothing came out.
func refused[T any](t *testing.T, what string, v T, want error, by func(T) (T, error), byPointer func(*T) (*T, error), inPlace func(*T) error) {
	t.Helper()
	before := deepCopy(v)
	got, err := by(v)
	wantErr(t, what, err, want)
	var zero T
	if d := difference(got, zero); d != "" {
		t.Errorf("%s: output with an error: %s", what, d)
	}
	if p, err := byPointer(&v); p != nil || !errors.Is(err, want) {
		t.Errorf("%s, by pointer: %v, %v", what, p, err)
	}
	wantErr(t, what+", in place", inPlace(&v), want)
	if d := difference(before, v); d != "" {
		t.Errorf("%s: the value was changed: %s", what, d)
	}
	for _, plain := range []string{"pointed", "k1", "c1"} {
		if err != nil && strings.Contains(err.Error(), plain) {
			t.Errorf("%s: the error holds a value: %v", what, err)
		}
	}
}

// TestP5_DecryptAllOrNothing breaks one value at a time in a stored record.
func TestP5_DecryptAllOrNothing(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	row := must(structseal.Encrypt(ctx, ring, newWide()))(t)
	flip := func(b []byte, at int) []byte {
		b = append([]byte(nil), b...)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
	flipText := func(s string) string {
		at, other := len(s)-3, "A"
		if s[at] == 'A' {
			other = "B"
		}
		return s[:at] + other + s[at+1:]
	}
	sealed := func(s string) (c structseal.Sealed[string]) {
		if err := c.Scan(s); err != nil {
			t.Fatal(err)
		}
		return c
	}
	text := func(v any) string {
		return string(must(v.(interface{ MarshalText() ([]byte, error) }).MarshalText())(t))
	}
	cases := map[string]struct {
		change func(v *wide)
		want   error
		label  string
	}{
		"flipped, first":              {func(v *wide) { v.Text = flipText(v.Text) }, structseal.ErrTampered, "wide.text"},
		"flipped, last":               {func(v *wide) { v.Last = flipText(v.Last) }, structseal.ErrTampered, "wide.last"},
		"plaintext last":              {func(v *wide) { v.Last = "plain" }, structseal.ErrNotEncrypted, "wide.last"},
		"empty last":                  {func(v *wide) { v.Last = "" }, structseal.ErrNotEncrypted, "wide.last"},
		"prefix only":                 {func(v *wide) { v.Last = "s1." }, structseal.ErrTampered, "wide.last"},
		"not base64":                  {func(v *wide) { v.Last = "s1.!!" }, structseal.ErrTampered, "wide.last"},
		"padded":                      {func(v *wide) { v.Last += "=" }, structseal.ErrTampered, "wide.last"},
		"line break":                  {func(v *wide) { v.Last += "\n" }, structseal.ErrTampered, "wide.last"},
		"space before":                {func(v *wide) { v.Last = " " + v.Last }, structseal.ErrNotEncrypted, "wide.last"},
		"upper-case prefix":           {func(v *wide) { v.Last = "S" + v.Last[1:] }, structseal.ErrNotEncrypted, "wide.last"},
		"cut":                         {func(v *wide) { v.Last = v.Last[:40] }, structseal.ErrTampered, "wide.last"},
		"short":                       {func(v *wide) { v.Last = v.Last[:20] }, structseal.ErrTampered, "wide.last"},
		"text of something else":      {func(v *wide) { v.Last = "s1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }, structseal.ErrTampered, "wide.last"},
		"unknown key":                 {func(v *wide) { v.Last = withID(t, v.Last, 99) }, structseal.ErrUnknownKey, "wide.last"},
		"another field's":             {func(v *wide) { v.Last = v.Text }, structseal.ErrTampered, "wide.last"},
		"blob flipped":                {func(v *wide) { v.Blob = flip(v.Blob, -1) }, structseal.ErrTampered, "wide.blob"},
		"blob start":                  {func(v *wide) { v.Blob = flip(v.Blob, 0) }, structseal.ErrNotEncrypted, "wide.blob"},
		"blob empty":                  {func(v *wide) { v.Blob = []byte{} }, structseal.ErrNotEncrypted, "wide.blob"},
		"blob one byte":               {func(v *wide) { v.Blob = []byte{1} }, structseal.ErrTampered, "wide.blob"},
		"blob holds text":             {func(v *wide) { v.Blob = []byte(v.Text) }, structseal.ErrNotEncrypted, "wide.blob"},
		"pointed":                     {func(v *wide) { s := flipText(*v.Ptr); v.Ptr = &s }, structseal.ErrTampered, "wide.ptr"},
		"in a slice":                  {func(v *wide) { v.Lines[2] = flipText(v.Lines[2]) }, structseal.ErrTampered, "wide.lines[2/3]"},
		"in a map":                    {func(v *wide) { v.Map["y"] = flip(v.Map["y"], -1) }, structseal.ErrTampered, "wide.map{}"},
		"plaintext in a map":          {func(v *wide) { v.Map["y"] = []byte("plain") }, structseal.ErrNotEncrypted, "wide.map{}"},
		"in a map of Sealed":          {func(v *wide) { v.Cells[2] = sealed(flipText(text(v.Cells[2]))) }, structseal.ErrTampered, "wide.cells{}"},
		"unsealed in a map of Sealed": {func(v *wide) { v.Cells[2] = structseal.Of("x") }, structseal.ErrNotEncrypted, "wide.cells{}"},
		"Sealed of plaintext":         {func(v *wide) { v.Cells[2] = sealed("x") }, structseal.ErrNotEncrypted, "wide.cells{}"},
		"Sealed, zero":                {func(v *wide) { v.Num = structseal.Sealed[int]{} }, structseal.ErrNotEncrypted, "wide.num"},
		"Sealed of another T":         {func(v *wide) { v.Cells[1] = sealed(text(v.Num)) }, structseal.ErrTampered, "wide.cells{}"},
		"nested":                      {func(v *wide) { v.Deep.Next.Street = flipText(v.Deep.Next.Street) }, structseal.ErrTampered, "wide.deep.next.street"},
		"nested, from one level up":   {func(v *wide) { v.Deep.Next.Street = v.Deep.Street }, structseal.ErrTampered, "wide.deep.next.street"},
		"nth nested record":           {func(v *wide) { v.Kids[2].Name = flipText(v.Kids[2].Name) }, structseal.ErrTampered, "kid.name"},
		"nested record's id":          {func(v *wide) { v.Kids[2].ID = 1 }, structseal.ErrTampered, "kid.name"},
		"nested record's empty id":    {func(v *wide) { v.Kids[2].ID = 0 }, structseal.ErrUnbound, "id"},
		"id":                          {func(v *wide) { v.ID = "w-2" }, structseal.ErrTampered, ""},
		"empty id":                    {func(v *wide) { v.ID = "" }, structseal.ErrUnbound, "id"},
	}
	for name, c := range cases {
		v := deepCopy(row)
		c.change(&v)
		refused(t, name, v, c.want,
			func(v wide) (wide, error) { return structseal.Decrypt(ctx, ring, v) },
			func(v *wide) (*wide, error) { return structseal.Decrypt(ctx, ring, v) },
			func(v *wide) error { return structseal.DecryptInPlace(ctx, ring, v) })
		_, err := structseal.Decrypt(ctx, ring, v)
		var fe *structseal.FieldError
		if !errors.As(err, &fe) || c.label != "" && fe.Label != c.label || fe.Op != "decrypt" {
			t.Errorf("%s: located at %+v, want %s", name, fe, c.label)
		}
		// As the nth of many.
		all := []wide{deepCopy(row), deepCopy(row), v, deepCopy(row)}
		before := deepCopy(all)
		out, err := structseal.DecryptAll(ctx, ring, all)
		var re *structseal.RecordError
		if out != nil || !errors.As(err, &re) || re.Index != 2 || !errors.Is(err, c.want) {
			t.Errorf("%s, third of four: %d records, %v", name, len(out), err)
		}
		if d := difference(before, all); d != "" {
			t.Errorf("%s, third of four: the slice was changed: %s", name, d)
		}
	}
	// And whole it opens, leaving the row alone.
	before := deepCopy(row)
	back := must(structseal.Decrypt(ctx, ring, row))(t)
	if d := difference(back, newWide()); d != "" {
		t.Errorf("round trip: %s", d)
	}
	if d := difference(before, row); d != "" {
		t.Errorf("the row was changed: %s", d)
	}
}

type failing struct{ N int }

func (failing) MarshalText() ([]byte, error)  { return nil, errors.New("value: pointed") }
func (*failing) UnmarshalText(b []byte) error { return nil }

type wideFailing struct {
	_    structseal.Record                     `seal:"wide"`
	ID   string                                `seal:"id,bind"`
	Text string                                `seal:"text"`
	List []string                              `seal:"list"`
	Num  structseal.Sealed[int]                `seal:"num"`
	Last map[string]structseal.Sealed[failing] `seal:"last"`
}

// TestP5_EncryptAllOrNothing gives values that can't be sealed, after many that
// can.
func TestP5_EncryptAllOrNothing(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	row := must(structseal.Encrypt(ctx, ring, newWide()))(t)
	foreign := fixedRing(t, "other")
	otherRow := must(structseal.Encrypt(ctx, foreign, newWide()))(t)
	shared := "pointed"
	for name, c := range map[string]struct {
		change func(v *wide)
		want   error
	}{
		"last again":             {func(v *wide) { v.Last = row.Last }, structseal.ErrEncrypted},
		"blob again":             {func(v *wide) { v.Blob = row.Blob }, structseal.ErrEncrypted},
		"element again":          {func(v *wide) { v.Lines[2] = row.Lines[2] }, structseal.ErrEncrypted},
		"map value again":        {func(v *wide) { v.Map["y"] = row.Map["y"] }, structseal.ErrEncrypted},
		"Sealed again":           {func(v *wide) { v.Cells[2] = row.Cells[2] }, structseal.ErrEncrypted},
		"nested record again":    {func(v *wide) { v.Kids[2].Name = row.Kids[2].Name }, structseal.ErrEncrypted},
		"another field's":        {func(v *wide) { v.Last = row.Text }, structseal.ErrForeignCiphertext},
		"another element's":      {func(v *wide) { v.Lines[2] = row.Lines[1] }, structseal.ErrForeignCiphertext},
		"of another ring's name": {func(v *wide) { v.Last = otherRow.Last }, structseal.ErrForeignCiphertext},
		"blob of another field":  {func(v *wide) { v.Map["y"] = row.Blob }, structseal.ErrForeignCiphertext},
		"Sealed of another":      {func(v *wide) { v.Cells[2] = row.Cells[1] }, structseal.ErrForeignCiphertext},
		"id changed":             {func(v *wide) { *v = deepCopy(row); v.ID = "w-2" }, structseal.ErrForeignCiphertext},
		"everything again":       {func(v *wide) { *v = deepCopy(row) }, structseal.ErrEncrypted},
		"empty id":               {func(v *wide) { v.ID = "" }, structseal.ErrUnbound},
		"nested record's id":     {func(v *wide) { v.Kids[2].ID = 0 }, structseal.ErrUnbound},
		"cycle":                  {func(v *wide) { v.Deep.Next.Next = v.Deep.Next }, structseal.ErrAliased},
		"plaintext in Sealed": {func(v *wide) {
			var c structseal.Sealed[string]
			if err := c.Scan("pointed"); err != nil {
				t.Fatal(err)
			}
			v.Cells[2] = c
		}, structseal.ErrNotEncrypted},
		"Sealed of an unknown key": {func(v *wide) {
			var c structseal.Sealed[string]
			if err := c.Scan(withID(t, row.Text, 99)); err != nil {
				t.Fatal(err)
			}
			v.Cells[2] = c
		}, structseal.ErrUnknownKey},
	} {
		v := newWide()
		v.Ptr = &shared
		c.change(&v)
		if name == "cycle" { // deepCopy would not end
			_, err := structseal.Encrypt(ctx, ring, v)
			wantErr(t, name, err, c.want)
			if v.Text != "text" || v.Deep.Next.Next != v.Deep.Next || *v.Ptr != "pointed" {
				t.Errorf("%s: the value was changed", name)
			}
			continue
		}
		refused(t, name, v, c.want,
			func(v wide) (wide, error) { return structseal.Encrypt(ctx, ring, v) },
			func(v *wide) (*wide, error) { return structseal.Encrypt(ctx, ring, v) },
			func(v *wide) error { return structseal.EncryptInPlace(ctx, ring, v) })
	}

	v := wideFailing{ID: "1", Text: "pointed", List: []string{"a", "b"}, Num: structseal.Of(1),
		Last: map[string]structseal.Sealed[failing]{"k1": structseal.Of(failing{1})}}
	before := deepCopy(v)
	got, err := structseal.Encrypt(ctx, ring, v)
	var fe *structseal.FieldError
	if !errors.As(err, &fe) || fe.Label != "wide.last{}" || strings.Contains(err.Error(), "pointed") {
		t.Errorf("a failing marshaler: %v", err)
	}
	if d := difference(got, wideFailing{}) + difference(before, v); d != "" {
		t.Errorf("a failing marshaler: %s", d)
	}
}

// TestP5_Arguments: what isn't a record, a ring or an open context is an error,
// never a panic and never a value that passes for sealed.
func TestP5_Arguments(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	closed := structsealtest.Ring(t)
	closed.Close()
	v := newWide()
	p := &v
	for name, c := range map[string]struct {
		call func() (any, error)
		want error
	}{
		"nil ring":                {func() (any, error) { return structseal.Encrypt(ctx, nil, v) }, structseal.ErrInvalidArgument},
		"nil ring, all":           {func() (any, error) { return structseal.EncryptAll(ctx, nil, []wide{v}) }, structseal.ErrInvalidArgument},
		"nil ring, decrypt":       {func() (any, error) { return structseal.Decrypt(ctx, nil, v) }, structseal.ErrInvalidArgument},
		"nil pointer":             {func() (any, error) { return structseal.Encrypt(ctx, ring, (*wide)(nil)) }, structseal.ErrInvalidArgument},
		"pointer to a pointer":    {func() (any, error) { return structseal.Encrypt(ctx, ring, &p) }, structseal.ErrInvalidArgument},
		"int":                     {func() (any, error) { return structseal.Encrypt(ctx, ring, 1) }, structseal.ErrInvalidArgument},
		"slice":                   {func() (any, error) { return structseal.Encrypt(ctx, ring, []wide{v}) }, structseal.ErrInvalidArgument},
		"map":                     {func() (any, error) { return structseal.Encrypt(ctx, ring, map[string]wide{}) }, structseal.ErrInvalidArgument},
		"nil interface":           {func() (any, error) { return structseal.Encrypt[any](ctx, ring, nil) }, structseal.ErrInvalidArgument},
		"int in an interface":     {func() (any, error) { return structseal.Encrypt[any](ctx, ring, 1) }, structseal.ErrInvalidArgument},
		"nil ptr in an interface": {func() (any, error) { return structseal.Encrypt[any](ctx, ring, (*wide)(nil)) }, structseal.ErrInvalidArgument},
		"no tags":                 {func() (any, error) { return structseal.Encrypt(ctx, ring, struct{ A string }{}) }, structseal.ErrNoFields},
		"no tags, pointer":        {func() (any, error) { return structseal.Decrypt(ctx, ring, &struct{ A string }{}) }, structseal.ErrNoFields},
		"cancelled":               {func() (any, error) { return structseal.Encrypt(cancelled, ring, v) }, context.Canceled},
		"cancelled, decrypt":      {func() (any, error) { return structseal.Decrypt(cancelled, ring, v) }, context.Canceled},
		"cancelled, all":          {func() (any, error) { return structseal.EncryptAll(cancelled, ring, []wide{v}) }, context.Canceled},
		"nil option":              {func() (any, error) { return structseal.Encrypt(ctx, ring, v, nil) }, structseal.ErrInvalidArgument},
		"unknown label":           {func() (any, error) { return structseal.Encrypt(ctx, ring, v, structseal.Only("txt")) }, structseal.ErrInvalidArgument},
		"label of a bind field":   {func() (any, error) { return structseal.Encrypt(ctx, ring, v, structseal.Only("id")) }, structseal.ErrInvalidArgument},
		"below a string":          {func() (any, error) { return structseal.Encrypt(ctx, ring, v, structseal.Only("text.x")) }, structseal.ErrInvalidArgument},
		"unknown nested label":    {func() (any, error) { return structseal.Encrypt(ctx, ring, v, structseal.Only("deep.x")) }, structseal.ErrInvalidArgument},
		"no label":                {func() (any, error) { return structseal.Encrypt(ctx, ring, v, structseal.Only()) }, structseal.ErrInvalidArgument},
		"empty label":             {func() (any, error) { return structseal.Encrypt(ctx, ring, v, structseal.Only("")) }, structseal.ErrInvalidArgument},
		"empty nested label":      {func() (any, error) { return structseal.Encrypt(ctx, ring, v, structseal.Only("deep.")) }, structseal.ErrInvalidArgument},
	} {
		out, err := c.call()
		wantErr(t, name, err, c.want)
		if o := reflect.ValueOf(out); o.IsValid() && !o.IsZero() {
			t.Errorf("%s: output with an error: %v", name, out)
		}
	}
	if _, err := structseal.Encrypt(ctx, closed, v); err == nil {
		t.Error("a closed ring encrypts")
	}
	for name, target := range map[string]any{
		"nil": nil, "struct": v, "nil pointer": (*wide)(nil), "pointer to int": new(int), "pointer to pointer": &p, "slice": []wide{v}, "pointer to slice": &[]wide{v},
	} {
		wantErr(t, "in place: "+name, structseal.EncryptInPlace(ctx, ring, target), structseal.ErrInvalidArgument)
		wantErr(t, "in place: "+name, structseal.DecryptInPlace(ctx, ring, target), structseal.ErrInvalidArgument)
	}
	if d := difference(v, newWide()); d != "" {
		t.Errorf("the value was changed: %s", d)
	}
}

// TestInterfaces: what an interface holds is treated by its dynamic type, and the
// original is left alone.
func TestInterfaces(t *testing.T) {
	ring := structsealtest.Ring(t)
	v := newWide()
	for _, in := range []any{v, &v} {
		row := must(structseal.Encrypt(t.Context(), ring, in))(t)
		if reflect.TypeOf(row) != reflect.TypeOf(in) || !structsealtest.AssertSealed(t, row) {
			t.Errorf("%T: got %T", in, row)
		}
		back := must(structseal.Decrypt(t.Context(), ring, row))(t)
		if d := difference(back, in); d != "" {
			t.Errorf("%T: %s", in, d)
		}
	}
	if d := difference(v, newWide()); d != "" {
		t.Errorf("the value was changed: %s", d)
	}
}

// TestAliases: two ways to one value, cycles of every kind, and the depth limit.
func TestAliases(t *testing.T) {
	type tree struct {
		_    structseal.Record `seal:"tree"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		Kids []tree
		Map  map[string]tree
		Next *tree
	}
	type aliased struct {
		_    structseal.Record `seal:"aliased"`
		ID   string            `seal:"id,bind"`
		A    *string           `seal:"a"`
		B    *string           `seal:"b"`
		Kids []*wideKid
	}
	ring := structsealtest.Ring(t)
	ctx := t.Context()
	s := "x"
	kid := &wideKid{ID: 1, Name: "k"}
	for name, v := range map[string]aliased{
		"two fields":   {ID: "1", A: &s, B: &s},
		"two elements": {ID: "1", Kids: []*wideKid{kid, kid}},
	} {
		_, err := structseal.Encrypt(ctx, ring, v)
		wantErr(t, name, err, structseal.ErrAliased)
	}
	if s != "x" || kid.Name != "k" {
		t.Error("the value was changed")
	}
	// Not aliases: equal values, an address that only one field has, a value and
	// what holds it.
	other := "x"
	if _, err := structseal.Encrypt(ctx, ring, aliased{ID: "1", A: &s, B: &other}); err != nil {
		t.Error(err)
	}
	// The next record starts afresh.
	if _, err := structseal.EncryptAll(ctx, ring, []aliased{{ID: "1", A: &s}, {ID: "2", A: &s}}); err != nil {
		t.Error(err)
	}

	loop := &tree{ID: "1", Name: "n"}
	loop.Next = loop
	_, err := structseal.Encrypt(ctx, ring, loop)
	wantErr(t, "a cycle of pointers", err, structseal.ErrAliased)
	slice := make([]tree, 2)
	for i := range slice {
		slice[i] = tree{ID: fmt.Sprint(i + 1), Name: "n", Kids: slice}
	}
	_, err = structseal.Encrypt(ctx, ring, slice[0])
	wantErr(t, "a cycle of slices", err, structseal.ErrAliased)
	m := map[string]tree{}
	m["k"] = tree{ID: "1", Name: "n", Map: m}
	_, err = structseal.Encrypt(ctx, ring, m["k"])
	wantErr(t, "a cycle of maps", err, structseal.ErrAliased)
	if loop.Next != loop || loop.Name != "n" || slice[1].Name != "n" || m["k"].Name != "n" || len(m) != 1 {
		t.Error("a cycle was changed")
	}

	chain := func(n int) tree {
		var v *tree
		for i := range n {
			v = &tree{ID: fmt.Sprint(i + 1), Name: "n", Next: v}
		}
		return *v
	}
	if _, err := structseal.Encrypt(ctx, ring, chain(400)); err != nil {
		t.Errorf("400 deep: %v", err)
	}
	_, err = structseal.Encrypt(ctx, ring, chain(5000))
	wantErr(t, "5,000 deep", err, structseal.ErrAliased)
}
