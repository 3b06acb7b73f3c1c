package rotate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/structseal/structseal/internal/aad"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/manifest"
)

// A layout is what a record's manifest means for one ring: the contexts of its
// values, but for the bindings of a row.
type layout struct {
	record   *manifest.Record
	ring     string
	contexts [][]byte // by field: magic, ring, record, path; of a deterministic one all of it
	order    []int    // binds, sorted by label
	subject  int      // index of the subject's bind, -1 if there is none
}

func newLayout(r *manifest.Record, ring string) (*layout, error) {
	l := &layout{record: r, ring: ring, subject: -1}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: record %s: %s", ErrMismatch, r.Label, fmt.Sprintf(format, args...)))
	}
	have := make(map[string]bool)
	for i, b := range r.Binds {
		have[b.Label] = true
		l.order = append(l.order, i)
		if b.Subject {
			l.subject = i
		}
	}
	slices.SortFunc(l.order, func(a, b int) int { return strings.Compare(r.Binds[a].Label, r.Binds[b].Label) })
	for _, label := range r.Require {
		if !have[label] {
			bad("the program binds %q itself (require=%s): say what its value is, or in which column", label, label)
		}
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Many || f.Form == manifest.FormRecord {
			bad("field %s is a column of several values, which a job over columns can't open; leave the field out, and re-encrypt it by a program of yours", r.FieldLabel(f))
			continue
		}
		if f.Det != "" {
			l.contexts = append(l.contexts, aad.AppendDeterministic(nil, "aes-256-siv", ring, f.Det))
			continue
		}
		c := aad.AppendString(aad.AppendRing(nil, ring), r.Label)
		c = aad.AppendCount(c, len(f.Path))
		for _, label := range f.Path {
			c = aad.AppendLabel(c, label)
		}
		l.contexts = append(l.contexts, c)
	}
	if len(r.Fields) == 0 {
		bad("no fields")
	}
	return l, errors.Join(errs...)
}

// binds appends the encoded bindings of a row.
func (l *layout) binds(dst []byte, row *Row) []byte {
	dst = aad.AppendCount(dst, len(l.order))
	for _, i := range l.order {
		dst = aad.AppendString(dst, l.record.Binds[i].Label)
		dst = aad.AppendString(dst, row.Binds[i])
	}
	return dst
}

// context appends the context of a field of a row whose encoded bindings are given.
func (l *layout) context(dst []byte, field int, binds []byte) []byte {
	dst = append(dst, l.contexts[field]...)
	if l.record.Fields[field].Det != "" {
		return dst
	}
	return append(dst, binds...)
}

// who returns the subject of a row.
func (l *layout) who(row *Row) keyring.Subject {
	return keyring.Subject{Kind: l.record.Binds[l.subject].SubjectKind, ID: row.Binds[l.subject]}
}

func (l *layout) purpose(field int) keyring.Purpose {
	if l.record.Fields[field].Det != "" {
		return keyring.Deterministic
	}
	return keyring.Data
}
