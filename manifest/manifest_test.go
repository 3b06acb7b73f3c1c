package manifest_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/structseal/structseal/manifest"
)

// customer is a record with one of everything; each call makes a new one.
func customer() manifest.Record {
	return manifest.Record{
		Label: "customer", Type: "example.com/app.Customer", Position: "app.go:10", Table: "customers", Category: "contact",
		Require: []string{"region"},
		Binds: []manifest.Bind{
			{Label: "id", Field: "ID", Type: "uuid.UUID", Position: "app.go:11", Column: "id", Kind: manifest.BindUUID, Subject: true, SubjectKind: "person"},
			{Label: "tenant", Field: "Base.Tenant", Type: "int64", Position: "base.go:3", Column: "tenant", Kind: manifest.BindInteger},
		},
		Fields: []manifest.Field{
			{Path: []string{"email"}, Field: "Email", Type: "string", Position: "app.go:13", Column: "email", Form: manifest.FormString},
			{Path: []string{"photo"}, Field: "Photo", Type: "[]byte", Position: "app.go:14", Column: "photo", Form: manifest.FormBytes, Nullable: true},
			{Path: []string{"born"}, Field: "Born", Type: "*structseal.Sealed[map[string]int]", Position: "app.go:15", Column: "born", Form: manifest.FormSealed, Nullable: true, Category: "birth"},
			{Path: []string{"home", "tags"}, Field: "Home.Tags", Type: "map[string][]string", Position: "app.go:30", Column: "home", Form: manifest.FormString, Many: true, Shape: "home.tags{}[]"},
			{Path: []string{}, Field: "Notes", Type: "[]app.Note", Position: "app.go:17", Form: manifest.FormRecord, Many: true, Record: "note"},
		},
	}
}

func note() manifest.Record {
	return manifest.Record{
		Label: "note", Type: "example.com/app.Note", Position: "app.go:40", Unbound: true,
		Fields: []manifest.Field{{Path: []string{"text"}, Field: "Text", Type: "string", Position: "app.go:42", Column: "text", Form: manifest.FormString, Det: "words"}},
	}
}

func of(records ...manifest.Record) *manifest.Manifest {
	return &manifest.Manifest{Format: manifest.Format, Records: records}
}

func TestFile(t *testing.T) {
	m := of(note(), customer())
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), manifest.FileName)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := manifest.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	again, err := read.Text()
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("%v; wrote\n%s\nread\n%s", err, text, again)
	}
	if m.Records[0].Label != "note" {
		t.Error("Text sorted the caller's records")
	}

	// The order of records and bind fields is no difference.
	c := customer()
	c.Binds[0], c.Binds[1] = c.Binds[1], c.Binds[0]
	if other, err := of(c, note()).Text(); err != nil || !bytes.Equal(other, text) {
		t.Errorf("%v; in another order\n%s", err, other)
	}
	if c.Binds[0].Label != "tenant" {
		t.Error("Text sorted the caller's bind fields")
	}

	part := customer()
	part.Type = "example.com/app.CustomerName"
	m.Records = append(m.Records, part)
	if got := m.Record("customer"); len(got) != 2 || got[1].Type != part.Type || m.Record("nobody") != nil {
		t.Errorf("records of a label: %v", got)
	}
	if got := part.FieldLabel(&part.Fields[3]); got != "customer.home.tags" {
		t.Errorf("label %s", got)
	}
}

func TestParseErrors(t *testing.T) {
	good, err := of(note()).Text()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"no JSON":          "format: structseal-manifest/1",
		"another format":   strings.Replace(string(good), "manifest/1", "manifest/2", 1),
		"no format":        strings.Replace(string(good), `"format": "structseal-manifest/1",`, "", 1),
		"unknown member":   strings.Replace(string(good), `"unbound"`, `"unbond"`, 1),
		"another type":     strings.Replace(string(good), `"unbound": true`, `"unbound": "true"`, 1),
		"two manifests":    string(good) + string(good),
		"something behind": string(good) + "x",
		"cut":              string(good[:len(good)-4]),
		"an array":         "[]",
	} {
		if _, err := manifest.Parse([]byte(text)); !errors.Is(err, manifest.ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := manifest.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, manifest.ErrManifest) {
		t.Errorf("no file: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.Load(bad); !errors.Is(err, manifest.ErrManifest) || !strings.Contains(err.Error(), bad) {
		t.Errorf("an empty object: %v, want the file's name", err)
	}
}

func TestValidate(t *testing.T) {
	if err := of(customer(), note()).Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*manifest.Record){
		"no label or no fields":             func(r *manifest.Record) { r.Fields = nil },
		`"" has no label`:                   func(r *manifest.Record) { r.Label = "" },
		`bind field "ID" has no label`:      func(r *manifest.Record) { r.Binds[0].Label = "" },
		`bind field "Base.Tenant" has no`:   func(r *manifest.Record) { r.Binds[1].Label = "id" },
		`the unknown kind "float"`:          func(r *manifest.Record) { r.Binds[1].Kind = "float" },
		"2 subjects":                        func(r *manifest.Record) { r.Binds[1].Subject = true },
		`"Email" has an empty path`:         func(r *manifest.Record) { r.Fields[0].Path = nil },
		`"Home.Tags" has an empty path`:     func(r *manifest.Record) { r.Fields[3].Path[1] = "" },
		`"Photo" has an empty path, or one`: func(r *manifest.Record) { r.Fields[1].Path = []string{"email"} },
		`the unknown form "text"`:           func(r *manifest.Record) { r.Fields[0].Form = "text" },
		`Email and Photo have the same col`: func(r *manifest.Record) { r.Fields[1].Column = "email" },
		`ID and Email have the same column`: func(r *manifest.Record) { r.Fields[0].Column = "id" },
		`"Notes" has the form record and`:   func(r *manifest.Record) { r.Fields[4].Record = "" },
		`"Email" has the form string and`:   func(r *manifest.Record) { r.Fields[0].Record = "note" },
	} {
		r := customer()
		change(&r)
		err := of(note(), r).Validate()
		if !errors.Is(err, manifest.ErrManifest) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	r := customer()
	r.Binds[0].Kind, r.Fields[0].Form = "x", "y"
	if err := of(r).Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two contradictions: %v", err)
	}
}

// FuzzParse: whatever a file holds, there is an error or a manifest, and a manifest is
// written and read again as it is.
func FuzzParse(f *testing.F) {
	good, err := of(customer(), note()).Text()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(good), "", "{}", "null", `{"format":"structseal-manifest/1","records":null}`,
		`{"format":"structseal-manifest/1","records":[{"label":"a","fields":[{"path":["` + "\xff" + `"],"form":"string"}]}]}`,
		strings.Replace(string(good), `"email"`, `"\u0000<"`, 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := manifest.Parse(text)
		if err != nil {
			if !errors.Is(err, manifest.ErrManifest) {
				t.Fatal(err)
			}
			return
		}
		first, err := m.Text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := manifest.Parse(first)
		if err != nil {
			t.Fatalf("%v: %s", err, first)
		}
		if second, err := again.Text(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v: %s became %s", err, first, second)
		}
		for _, c := range manifest.Compare(again, again) {
			t.Fatal(c)
		}
	})
}
