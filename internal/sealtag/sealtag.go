// Package sealtag is the grammar of seal tags.
package sealtag

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Tag is a parsed seal tag.
type Tag struct {
	Label       string
	Bind        bool
	Det         string // domain
	Unbound     bool
	Require     []string
	Subject     bool
	SubjectKind string
	Category    string
	Table       string // "-" if it has none
	Column      string // "-" if it has none
}

// option says how an option is written. The grammar is closed: whatever is
// not listed is an error, because an option that is ignored stores plaintext.
type option struct {
	name   string
	value  bool // name=value
	bare   bool // the value may be left out
	repeat bool
	on     string // "field", "marker", "" for both
	later  bool   // known, and not in this version
}

var options = []option{
	{name: "bind", on: "field"},
	{name: "subject", value: true, bare: true, on: "field"},
	{name: "det", value: true, on: "field"},
	{name: "unbound", on: "marker"},
	{name: "require", value: true, repeat: true, on: "marker"},
	{name: "category", value: true},
	{name: "table", value: true, on: "marker"},
	{name: "column", value: true, on: "field"},
	{name: "index", value: true, on: "field", later: true},
	{name: "norm", value: true, on: "field", later: true},
	{name: "bits", value: true, on: "field", later: true},
}

const (
	maxLabel = 64
	maxName  = 128 // of tables and columns
)

// Lookup finds the seal tag in a raw struct tag. reflect's Lookup silently
// misses keys in malformed tags, and a tag that is missed is a column of
// plaintext; so whatever looks like an attempt at a seal tag and isn't one is an
// error.
func Lookup(raw string) (value string, found bool, err error) {
	rest := raw
	for first := true; ; first = false {
		trimmed := strings.TrimLeft(rest, " ")
		if trimmed == "" {
			return value, found, nil
		}
		if !first && len(trimmed) == len(rest) {
			return "", false, malformed(raw, "a space must separate the tags")
		}
		rest = trimmed
		n := 0
		for n < len(rest) && rest[n] > ' ' && rest[n] != ':' && rest[n] != '"' && rest[n] != 0x7f {
			n++
		}
		key := rest[:n]
		if n == 0 || n+1 >= len(rest) || rest[n] != ':' || rest[n+1] != '"' {
			return "", false, malformed(raw, `want key:"value" with nothing between the colon and the quote`)
		}
		quoted, err := strconv.QuotedPrefix(rest[n+1:])
		if err != nil || quoted[0] != '"' {
			return "", false, malformed(raw, "the value isn't a quoted string")
		}
		text, err := strconv.Unquote(quoted)
		if err != nil {
			return "", false, malformed(raw, "the value isn't a quoted string")
		}
		rest = rest[n+1+len(quoted):]
		switch {
		case key == "seal" && found:
			return "", false, fmt.Errorf("a second seal tag")
		case key == "seal":
			value, found = text, true
		case nearSeal(key):
			return "", false, fmt.Errorf("tag key %q%s", key, didYouMean("seal"))
		}
	}
}

// malformed reports a broken raw tag, if it is ours: other packages' broken tags
// are not our business.
func malformed(raw, reason string) error {
	lower := strings.ToLower(raw)
	for _, word := range []string{"seal", "sael", "sela"} {
		if strings.Contains(lower, word) {
			return fmt.Errorf("malformed struct tag: %s", reason)
		}
	}
	return nil
}

// nearSeal reports tag keys that are meant to be "seal": one letter off, unless
// that is an English word, or one of some longer forms.
func nearSeal(key string) bool {
	key = strings.Trim(strings.ToLower(key), "_-,;.'`")
	switch key {
	case "seals", "sealed", "sael", "sela", "structseal":
		return true
	case "deal", "heal", "meal", "peal", "real", "teal", "veal", "weal", "zeal", "sea", "seam", "sear", "seas", "seat", "sell":
		return false
	}
	return editDistance(key, "seal") <= 1
}

// Parse parses the value of a seal tag on a field or a marker.
func Parse(value string, marker bool) (Tag, error) {
	var t Tag
	parts := strings.Split(value, ",")
	t.Label = parts[0]
	if err := CheckLabel(t.Label, marker); err != nil {
		return Tag{}, err
	}
	var seen []string
	for _, part := range parts[1:] {
		name, arg, hasArg := strings.Cut(part, "=")
		if part == "" {
			return Tag{}, fmt.Errorf("an empty option (a comma too many)")
		}
		i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
		if i < 0 {
			return Tag{}, fmt.Errorf("unknown option %q%s", part, suggest(name))
		}
		o := options[i]
		where := "field"
		if marker {
			where = "marker"
		}
		switch {
		case o.on != "" && o.on != where:
			return Tag{}, fmt.Errorf("option %q belongs on a %s", name, map[string]string{"field": "field, not on the record's marker", "marker": "the record's marker, not on a field"}[o.on])
		case o.value && arg == "" && !(o.bare && !hasArg):
			return Tag{}, fmt.Errorf("option %q needs a value, as in %s=x", name, name)
		case !o.value && hasArg:
			return Tag{}, fmt.Errorf("option %q takes no value", name)
		case slices.Contains(seen, name) && !o.repeat:
			return Tag{}, fmt.Errorf("option %q twice", name)
		case o.later:
			return Tag{}, fmt.Errorf("option %q is reserved and not supported by this version", name)
		}
		seen = append(seen, name)
		switch name {
		case "bind":
			t.Bind = true
		case "det":
			if err := CheckLabel(arg, true); err != nil {
				return Tag{}, fmt.Errorf("option det: %w", err)
			}
			t.Det = arg
		case "subject":
			if hasArg {
				if err := CheckLabel(arg, true); err != nil {
					return Tag{}, fmt.Errorf("option subject: %w", err)
				}
			}
			t.Subject, t.SubjectKind = true, arg
		case "unbound":
			t.Unbound = true
		case "require":
			if err := CheckLabel(arg, false); err != nil {
				return Tag{}, fmt.Errorf("option require: %w", err)
			}
			if slices.Contains(t.Require, arg) {
				return Tag{}, fmt.Errorf("option \"require=%s\" twice", arg)
			}
			t.Require = append(t.Require, arg)
		case "category":
			if err := CheckLabel(arg, true); err != nil {
				return Tag{}, fmt.Errorf("option category: %w", err)
			}
			t.Category = arg
		case "table":
			if err := checkName(arg); err != nil {
				return Tag{}, fmt.Errorf("option table: %w", err)
			}
			t.Table = arg
		case "column":
			if err := checkName(arg); err != nil {
				return Tag{}, fmt.Errorf("option column: %w", err)
			}
			t.Column = arg
		}
	}
	if t.Subject && t.Det != "" {
		return Tag{}, fmt.Errorf("subject and det together: a subject field stays readable")
	}
	if t.Bind && t.Det != "" {
		return Tag{}, fmt.Errorf("bind and det together: a bind field stays readable")
	}
	return t, nil
}

// CheckLabel enforces [A-Za-z][A-Za-z0-9_-]*, at most 64 bytes; names of records
// and domains may hold dots.
func CheckLabel(label string, dots bool) error {
	switch {
	case label == "":
		return fmt.Errorf("an empty label")
	case len(label) > maxLabel:
		return fmt.Errorf("label %.16q... has %d bytes, at most %d are allowed", label, len(label), maxLabel)
	}
	for i, c := range []byte(label) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		other := '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.' && dots
		if !letter && (i == 0 || !other) {
			return fmt.Errorf("label %q: want a letter, then letters, digits, '_' or '-'", label)
		}
	}
	return nil
}

// checkName takes the names that databases take without quotes, with a schema in
// front or not, and "-" for none.
func checkName(name string) error {
	if name == "-" {
		return nil
	}
	if len(name) > maxName {
		return fmt.Errorf("name %.16q... has %d bytes, at most %d are allowed", name, len(name), maxName)
	}
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '$' || c == '-' || c == '.')) {
			return fmt.Errorf("name %q: want a letter or '_', then letters, digits, '_', '-', '$' or '.'", name)
		}
	}
	return nil
}

// suggest finds the option that was meant.
func suggest(name string) string {
	best, dist := "", 3
	for _, o := range options {
		if d := editDistance(strings.ToLower(strings.TrimSpace(name)), o.name); d < dist && d < len(o.name) {
			best, dist = o.name, d
		}
	}
	if best == "" {
		return ""
	}
	return didYouMean(best)
}

func didYouMean(s string) string { return fmt.Sprintf(": did you mean %q?", s) }

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
