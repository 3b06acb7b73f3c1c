package manifest

import "github.com/structseal/structseal/internal/sealtag"

// A Tag is what a seal tag says, on a field or on the marker of a record.
type Tag struct {
	Label       string
	Bind        bool
	Det         string // domain of a deterministic field
	Unbound     bool
	Require     []string
	Subject     bool
	SubjectKind string
	Category    string
	Table       string // "-" for none
	Column      string // "-" for none
}

// ParseTag finds the seal tag in a raw struct tag, which is all that stands between the
// backquotes, and parses it as package structseal does. marker says that the field is
// the record's marker, which has other options. found is false when there is no seal
// tag.
//
// The error says what is wrong and what to do: for a tag that is malformed, misspelt or
// unknown, as far as the text shows. Whether the field's type can be sealed is for
// [github.com/structseal/structseal.Check] to tell.
func ParseTag(raw string, marker bool) (tag Tag, found bool, err error) {
	value, found, err := sealtag.Lookup(raw)
	if err != nil || !found {
		return Tag{}, false, err
	}
	t, err := sealtag.Parse(value, marker)
	return Tag(t), err == nil, err
}
