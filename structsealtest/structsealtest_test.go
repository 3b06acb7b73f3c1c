package structsealtest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/structsealtest"
)

type patient struct {
	_     structseal.Record      `seal:"patient"`
	ID    string                 `seal:"id,bind"`
	Name  string                 `seal:"name"`
	Notes []string               `seal:"notes"`
	Blob  []byte                 `seal:"blob"`
	Age   structseal.Sealed[int] `seal:"age"`
	Home  *struct {
		Street string `seal:"street"`
	} `seal:"home"`
}

func newPatient() patient {
	return patient{ID: "1", Name: "Ada", Notes: []string{"a", "b"}, Blob: []byte("x"), Age: structseal.Of(36)}
}

// recorder is a testing.TB that keeps what a test would have reported.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestAssertSealed(t *testing.T) {
	ring := structsealtest.Ring(t)
	row, err := structseal.Encrypt(t.Context(), ring, newPatient())
	if err != nil {
		t.Fatal(err)
	}
	part, err := structseal.Encrypt(t.Context(), ring, newPatient(), structseal.Only("name"))
	if err != nil {
		t.Fatal(err)
	}
	forgotten := row
	forgotten.Notes = []string{row.Notes[0], "secret note"}
	forgotten.Home = &struct {
		Street string `seal:"street"`
	}{"secret street"}
	unsealed := row
	unsealed.Age = structseal.Of(36)
	for name, c := range map[string]struct {
		v    any
		opts []structseal.Option
		want []string // of each report
	}{
		"sealed":               {row, nil, nil},
		"pointer":              {&row, nil, nil},
		"plaintext":            {newPatient(), nil, []string{"patient.name", "patient.notes[0/2]", "patient.notes[1/2]", "patient.blob", "patient.age"}},
		"one element":          {forgotten, nil, []string{"patient.notes[1/2]", "patient.home.street"}},
		"an unsealed Sealed":   {&unsealed, nil, []string{"patient.age"}},
		"a part":               {part, []structseal.Option{structseal.Only("name")}, nil},
		"another part":         {part, []structseal.Option{structseal.Only("name", "blob")}, []string{"patient.blob"}},
		"nothing in it":        {patient{ID: "1"}, []structseal.Option{structseal.Only("notes", "blob")}, []string{"no value"}},
		"no tags":              {struct{ A string }{"x"}, nil, []string{"no seal tags"}},
		"nil":                  {nil, nil, []string{"not a struct"}},
		"nil pointer":          {(*patient)(nil), nil, []string{"not a struct"}},
		"not a struct":         {"s1.AQ", nil, []string{"not a struct"}},
		"an option that fails": {row, []structseal.Option{structseal.Only("nmae")}, []string{"nmae"}},
	} {
		r := &recorder{TB: t}
		ok := structsealtest.AssertSealed(r, c.v, c.opts...)
		if ok != (len(c.want) == 0) || len(r.errors) != len(c.want) {
			t.Errorf("%s: returned %t, reported %q", name, ok, r.errors)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(r.errors[i], want) || strings.Contains(r.errors[i], "secret") {
				t.Errorf("%s: reported %q, want %q", name, r.errors[i], want)
			}
		}
	}
}

func TestRing(t *testing.T) {
	var ring, other *keyring.Keyring
	t.Run("inner", func(t *testing.T) {
		ring, other = structsealtest.Ring(t), structsealtest.Ring(t)
		row, err := structseal.Encrypt(t.Context(), ring, newPatient())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := structseal.Decrypt(t.Context(), other, row); err == nil {
			t.Error("two rings have the same keys")
		}
	})
	// The test that made it is over.
	if _, err := structseal.Encrypt(t.Context(), ring, newPatient()); err == nil {
		t.Error("the ring outlives its test")
	}
}

// A test of a function that stores rows asks whether what arrives is sealed.
func ExampleAssertSealed() {
	t := new(testing.T) // your test's
	row := patient{ID: "1", Name: "Ada"}

	fmt.Println(structsealtest.AssertSealed(t, row))
	// Output: false
}
