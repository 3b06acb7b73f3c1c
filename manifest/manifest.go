package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Format is the format of the files, the member "format" of each.
const Format = "structseal-manifest/1"

// FileName is what the file is called by convention, at the root of the Go module.
const FileName = "structseal.json"

// ErrManifest: a file that is no manifest, or one that contradicts itself.
var ErrManifest = errors.New("invalid manifest")

// A Manifest lists the records of a program.
type Manifest struct {
	Format  string   `json:"format"`
	Records []Record `json:"records"` // by label, then by type
}

// A Record is a struct type with a marker. Several types may be one record, such as
// a full row and a part of it.
type Record struct {
	Label    string   `json:"label"`
	Type     string   `json:"type"`               // "example.com/app/model.Customer"
	Position string   `json:"position"`           // "model/customer.go:12", from the module's root
	Table    string   `json:"table,omitempty"`    // "" if it has none of its own
	Category string   `json:"category,omitempty"` // what its fields are, unless they say otherwise
	Unbound  bool     `json:"unbound,omitempty"`
	Require  []string `json:"require,omitempty"` // labels that the program binds itself
	Binds    []Bind   `json:"binds,omitempty"`   // by label
	Fields   []Field  `json:"fields"`            // in declaration order
	Indexes  []Index  `json:"indexes,omitempty"` // by label
}

// A Bind is a field that stays readable and authenticates the sealed ones.
type Bind struct {
	Label    string   `json:"label"`
	Field    string   `json:"field"`    // Go name, "Base.ID" in an embedded struct
	Type     string   `json:"type"`     // Go type, "uuid.UUID"
	Position string   `json:"position"` // "model/customer.go:13"
	Column   string   `json:"column,omitempty"`
	Kind     BindKind `json:"kind"`
	// Subject: the sealed fields are under the keys of the subject that the value names,
	// of the kind SubjectKind.
	Subject     bool   `json:"subject,omitempty"`
	SubjectKind string `json:"subject_kind,omitempty"`
	Category    string `json:"category,omitempty"` // what it is; not the record's
}

// A BindKind says how a value is written as text, which is what is authenticated.
type BindKind string

const (
	BindText    BindKind = "text"    // strings, and what marshals itself as text
	BindUUID    BindKind = "uuid"    // 16 bytes of a type called UUID: written as 36 characters
	BindBytes   BindKind = "bytes"   // []byte and [N]byte, as they are
	BindInteger BindKind = "integer" // in decimal
)

// A Field is a sealed value, or a column of several.
type Field struct {
	Path     []string `json:"path"`             // labels, from the record down
	Field    string   `json:"field"`            // Go names, "Address.Street"
	Type     string   `json:"type"`             // Go type, "structseal.Sealed[time.Time]"
	Position string   `json:"position"`         // "model/customer.go:14"
	Column   string   `json:"column,omitempty"` // "" if it is in none, or nobody knows in which
	Form     Form     `json:"form"`
	// Nullable says that NULL may stand there: for a nil pointer, slice or map, or an
	// invalid sql.Null.
	Nullable bool `json:"nullable,omitempty"`
	// Many says that the column holds a slice, an array, a map or a record of its own,
	// so that it isn't one ciphertext.
	Many bool `json:"many,omitempty"`
	// Shape is the path with the containers on it, "lines[].notes{}", if there are any:
	// [] for the elements of a slice or array, {} for those of a map.
	Shape    string `json:"shape,omitempty"`
	Det      string `json:"det,omitempty"`    // domain of a deterministic field
	Record   string `json:"record,omitempty"` // label of the record that is inside
	Category string `json:"category,omitempty"`
}

// An Index is a column by which a sealed field is searched: what it holds is made of the
// field's value, and tells whether two are equal.
type Index struct {
	Label  string `json:"label"`
	Of     string `json:"of"` // path of the field, its labels with dots: "address.street"
	Column string `json:"column"`
}

// A Form is how a value looks before it is sealed, and its column.
type Form string

const (
	FormString Form = "string" // a text: sealed "s1.…"
	FormBytes  Form = "bytes"  // bytes: sealed binary
	FormSealed Form = "sealed" // a Sealed[T]: sealed "s1.…", or binary
	FormRecord Form = "record" // a record of its own, see Record
	// FormRecursive: a struct that the path has come through already. Its fields are
	// sealed at any depth, and listed once.
	FormRecursive Form = "recursive"
)

// FieldLabel returns a field's path as errors show it, "customer.address.street".
func (r *Record) FieldLabel(f *Field) string {
	return r.Label + "." + strings.Join(f.Path, ".")
}

// Record returns the records with a label: several types may share it.
func (m *Manifest) Record(label string) []Record {
	var out []Record
	for _, r := range m.Records {
		if r.Label == label {
			out = append(out, r)
		}
	}
	return out
}

// Load reads a file.
//
// Errors: ErrManifest for one that isn't a manifest, names an unknown format, has
// members that this version doesn't know, or doesn't [Manifest.Validate]; the file
// system's.
func Load(name string) (*Manifest, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("manifest: %s: %w", name, err)
	}
	return m, nil
}

// Parse is Load for a file that was read already.
func Parse(text []byte) (*Manifest, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	m := new(Manifest)
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: something follows the manifest", ErrManifest)
	}
	return m, m.Validate()
}

// Validate reports what contradicts itself, as an ErrManifest: labels, kinds or forms
// that are missing, unknown or taken, two subjects of a record, two values in a column.
func (m *Manifest) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s", ErrManifest, fmt.Sprintf(format, args...)))
	}
	if m.Format != Format {
		bad("format %.60q, want %q", m.Format, Format)
	}
	for i := range m.Records {
		r := &m.Records[i]
		if r.Label == "" || len(r.Fields) == 0 {
			bad("record %.100q has no label or no fields", r.Label)
		}
		labels, subjects := make(map[string]bool), 0
		columns := make(map[string]string) // of one value each: whose
		column := func(name, field string) {
			if other, taken := columns[name]; taken {
				bad("record %s (%s): fields %s and %s have the same column %q", r.Label, r.Type, other, field, name)
			}
			if name != "" {
				columns[name] = field
			}
		}
		for _, b := range r.Binds {
			if b.Label == "" || labels[b.Label] {
				bad("record %s: bind field %.100q has no label, or one that is taken", r.Label, b.Field)
			}
			labels[b.Label] = true
			column(b.Column, b.Field)
			if b.Subject {
				subjects++
			}
			switch b.Kind {
			case BindText, BindUUID, BindBytes, BindInteger:
			default:
				bad("record %s: bind field %s has the unknown kind %.60q", r.Label, b.Label, b.Kind)
			}
		}
		if subjects > 1 {
			bad("record %s has %d subjects", r.Label, subjects)
		}
		labels = make(map[string]bool)
		for _, x := range r.Indexes {
			if x.Label == "" || labels[x.Label] {
				bad("record %s: index %q has no label, or one that is taken", r.Label, x.Label)
			}
			labels[x.Label] = true
			column(x.Column, x.Label)
			if !slices.ContainsFunc(r.Fields, func(f Field) bool { return strings.Join(f.Path, ".") == x.Of }) {
				bad("record %s: index %s is of the unknown field %q", r.Label, x.Label, x.Of)
			}
		}
		paths := make(map[string]bool)
		for j := range r.Fields {
			f := &r.Fields[j]
			path := strings.Join(f.Path, "\x00")
			if (len(f.Path) == 0 || slices.Contains(f.Path, "") || paths[path]) && f.Form != FormRecord {
				bad("record %s: field %.100q has an empty path, or one that is taken", r.Label, f.Field)
			}
			paths[path] = true
			if !f.Many {
				column(f.Column, f.Field)
			}
			if (f.Form == FormRecord) != (f.Record != "") {
				bad("record %s: field %.100q has the form %s and the record %.100q", r.Label, f.Field, f.Form, f.Record)
			}
			switch f.Form {
			case FormString, FormBytes, FormSealed, FormRecord, FormRecursive:
			default:
				bad("record %s: field %.100q has the unknown form %.60q", r.Label, f.Field, f.Form)
			}
		}
	}
	return errors.Join(errs...)
}

// Text returns the manifest as a file has it: records in order, indented, with a
// newline at the end. Two manifests that say the same have the same text.
func (m *Manifest) Text() ([]byte, error) {
	out := Manifest{Format: Format, Records: slices.Clone(m.Records)}
	for i := range out.Records {
		r := &out.Records[i]
		r.Binds = slices.Clone(r.Binds)
		slices.SortFunc(r.Binds, func(a, b Bind) int { return cmp.Compare(a.Label, b.Label) })
	}
	slices.SortFunc(out.Records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Position, b.Position))
	})
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return append(text, '\n'), nil
}
