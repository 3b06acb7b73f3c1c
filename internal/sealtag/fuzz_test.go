package sealtag

import (
	"reflect"
	"strings"
	"testing"
)

// render writes a parsed tag in one certain way.
func render(t Tag) string {
	parts := []string{t.Label}
	if t.Bind {
		parts = append(parts, "bind")
	}
	if t.Subject && t.SubjectKind == "" {
		parts = append(parts, "subject")
	}
	if t.SubjectKind != "" {
		parts = append(parts, "subject="+t.SubjectKind)
	}
	if t.Det != "" {
		parts = append(parts, "det="+t.Det)
	}
	if t.Unbound {
		parts = append(parts, "unbound")
	}
	for _, label := range t.Require {
		parts = append(parts, "require="+label)
	}
	for name, value := range map[string]string{"category": t.Category, "table": t.Table, "column": t.Column} {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	return strings.Join(parts, ",")
}

// FuzzTag: no raw tag makes the parser panic; what it accepts it accepts again,
// with the same meaning, in a form that package reflect reads as well; and what
// package reflect reads as a seal tag isn't overlooked.
func FuzzTag(f *testing.F) {
	for _, raw := range []string{
		``, `seal:"x"`, `json:"a" seal:"x,bind"`, `seal:"x,det=a.b"`, `seal:"r,unbound,require=a,require=b"`, `  seal:"x"  json:"y" `,
		`seal: "x"`, `seal:x`, `seal:'x'`, "seal:`x`", `seal`, `seal:`, `seal:"x`, "json:\"a\"\tseal:\"x\"", `json:"a",seal:"x"`,
		`json:"a"seal:"x"`, `seal:"\x"`, `seal:"\u0078"`, `seal:"x" seal:"y"`, `Seal:"x"`, `sael:"x"`, `seal:"x,"`, `seal:"x,bnid"`,
		`seal:"x,index=y"`, `seal:"x,subject"`, `seal:"x,bind,subject=person"`, `json:a`, `deal:"x"`,
		`seal:"x,column=a.b$c,category=contact"`, `seal:"r,table=app.customers,category=contact"`, `seal:"x,column=-"`, `seal:"x,column=a b"`, `a:"b\"seal:\"c"`, `seal:"` + strings.Repeat("a", 64) + `"`,
	} {
		f.Add(raw, false)
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, raw string, marker bool) {
		value, found, err := Lookup(raw)
		if err != nil {
			return
		}
		if other, ok := reflect.StructTag(raw).Lookup("seal"); ok != found || other != value {
			t.Fatalf("reflect reads %q, %t; we %q, %t", other, ok, value, found)
		}
		if !found {
			return
		}
		parsed, err := Parse(value, marker)
		if err != nil {
			return
		}
		text := render(parsed)
		again, found, err := Lookup(`seal:"` + text + `"`)
		if err != nil || !found || again != text {
			t.Fatalf("rendered %q isn't found: %q, %v", text, again, err)
		}
		same, err := Parse(again, marker)
		if err != nil || !reflect.DeepEqual(same, parsed) {
			t.Fatalf("rendered %q means %+v, not %+v: %v", text, same, parsed, err)
		}
		if len(text) != len(value) {
			t.Fatalf("%q is accepted for %q", value, text)
		}
	})
}
