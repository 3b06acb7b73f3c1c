package crypto

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/structseal/structseal/internal/aad"
)

// A Context says where a value lives: what its ciphertext is bound to. Package
// structseal makes it from tags; programs that seal bytes may make it by hand.
// Nothing in it is secret. docs/format.md, section "Context", has the bytes.
type Context struct {
	Ring   string    // name of the ring
	Record string    // label of the record type
	Path   []Element // from the record down to the value
	Bind   []Binding // what else is authenticated, in any order, labels unique
}

// A Binding is a label and the value that is authenticated under it.
type Binding struct{ Label, Value string }

// An Element is one step of a path. Make one with [Label], [Index] or [MapKey].
type Element struct {
	kind     byte
	name     string
	index, n uint64
}

// Label is the step to a labelled field.
func Label(label string) Element { return Element{kind: aad.TypeLabel, name: label} }

// Index is the step to element i of a slice or array of n. Both are bound.
func Index(i, n int) Element {
	return Element{kind: aad.TypeIndex, index: uint64(i), n: uint64(n)}
}

// MapKey is the step to the value under a map key, in its text form.
func MapKey(key string) Element { return Element{kind: aad.TypeKey, name: key} }

// Append appends the encoded context to dst. Different contexts have different
// encodings; bindings are sorted by label. c is not changed.
//
// Errors: ErrContext for a label bound twice or a zero Element.
func (c Context) Append(dst []byte) ([]byte, error) {
	bind := c.Bind
	byLabel := func(a, b Binding) int { return cmp.Compare(a.Label, b.Label) }
	if !slices.IsSortedFunc(bind, byLabel) {
		bind = slices.SortedFunc(slices.Values(bind), byLabel)
	}
	out := aad.AppendRing(dst, c.Ring)
	out = aad.AppendString(out, c.Record)
	out = aad.AppendCount(out, len(c.Path))
	for i, e := range c.Path {
		switch e.kind {
		case aad.TypeLabel:
			out = aad.AppendLabel(out, e.name)
		case aad.TypeIndex:
			out = aad.AppendIndex(out, e.index, e.n)
		case aad.TypeKey:
			out = aad.AppendKey(out, e.name)
		default:
			return nil, fmt.Errorf("crypto: %w: path element %d is the zero Element", ErrContext, i)
		}
	}
	out = aad.AppendCount(out, len(bind))
	for i, b := range bind {
		if i > 0 && bind[i-1].Label == b.Label {
			return nil, fmt.Errorf("crypto: %w: label %q bound twice", ErrContext, b.Label)
		}
		out = aad.AppendString(out, b.Label)
		out = aad.AppendString(out, b.Value)
	}
	return out, nil
}

// DeterministicContext appends the context of a deterministic field to dst:
// suite, ring and domain, and nothing of the row, so that equal values are equal
// ciphertexts all over the domain.
func DeterministicContext(dst []byte, ring, domain string) []byte {
	return aad.AppendDeterministic(dst, Deterministic.String(), ring, domain)
}

// ParseContext is the inverse of [Context.Append]. It accepts exactly what
// Append makes, so Append of the result gives the same bytes. It is meant for
// tools and second implementations; opening never parses.
//
// Errors: ErrContext.
func ParseContext(b []byte) (Context, error) {
	p := parser{rest: b}
	var c Context
	p.magic(aad.Magic)
	c.Ring = p.string()
	c.Record = p.string()
	for n := p.count(aad.MinElement); n > 0 && !p.failed; n-- {
		c.Path = append(c.Path, p.element())
	}
	for i, n := 0, p.count(aad.MinBinding); i < n && !p.failed; i++ {
		c.Bind = append(c.Bind, Binding{p.string(), p.string()})
		if i > 0 && c.Bind[i-1].Label >= c.Bind[i].Label {
			p.failed = true
		}
	}
	if p.failed || len(p.rest) > 0 {
		return Context{}, fmt.Errorf("crypto: %w: not an encoded context", ErrContext)
	}
	return c, nil
}

// parser reads length-prefixed parts; after a failure everything is empty.
type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) take(n uint64) []byte {
	if p.failed || n > uint64(len(p.rest)) {
		p.failed = true
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) magic(s string) {
	if string(p.take(uint64(len(s)))) != s {
		p.failed = true
	}
}

// uvarint reads an unsigned LEB128 number in its shortest form.
func (p *parser) uvarint() uint64 {
	n, size := binary.Uvarint(p.rest)
	if p.failed || size <= 0 || size > 1 && p.rest[size-1] == 0 {
		p.failed = true
		return 0
	}
	p.rest = p.rest[size:]
	return n
}

func (p *parser) string() string { return string(p.take(p.uvarint())) }

// count reads how many parts follow. Each takes at least size bytes, so a forged
// count can't make the caller loop or allocate beyond the input.
func (p *parser) count(size uint64) int {
	n := p.uvarint()
	if n > uint64(len(p.rest))/size {
		p.failed = true
		return 0
	}
	return int(n)
}

func (p *parser) element() Element {
	kind := p.take(1)
	if p.failed {
		return Element{}
	}
	switch e := (Element{kind: kind[0]}); e.kind {
	case aad.TypeLabel, aad.TypeKey:
		e.name = p.string()
		return e
	case aad.TypeIndex:
		e.index, e.n = p.uvarint(), p.uvarint()
		return e
	}
	p.failed = true
	return Element{}
}

// String shows the path as "address.lines[2/3]{home}", for errors and tools.
func (c Context) String() string {
	var b strings.Builder
	b.WriteString(c.Ring + "/" + c.Record)
	for _, e := range c.Path {
		switch e.kind {
		case aad.TypeLabel:
			b.WriteString("." + e.name)
		case aad.TypeIndex:
			fmt.Fprintf(&b, "[%d/%d]", e.index, e.n)
		case aad.TypeKey:
			fmt.Fprintf(&b, "{%s}", e.name)
		}
	}
	return b.String()
}
