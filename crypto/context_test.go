package crypto

import (
	"bytes"
	"errors"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal/internal/aad"
)

// contextRand makes contexts of short parts over few letters, among them bytes
// that look like lengths and types, so that near-collisions are common.
type contextRand struct{ *mrand.Rand }

func (r contextRand) text() string {
	const letters = "ab\x00\x00\x01\x02\x03"
	b := make([]byte, r.IntN(4))
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

func (r contextRand) element() Element {
	switch r.IntN(3) {
	case 0:
		return Index(r.IntN(3), r.IntN(3))
	case 1:
		return MapKey(r.text())
	default:
		return Label(r.text())
	}
}

func (r contextRand) context() Context {
	c := Context{Ring: r.text(), Record: r.text()}
	for range r.IntN(4) {
		c.Path = append(c.Path, r.element())
	}
	for range r.IntN(3) {
		label := r.text()
		if !slices.ContainsFunc(c.Bind, func(b Binding) bool { return b.Label == label }) {
			c.Bind = append(c.Bind, Binding{label, r.text()})
		}
	}
	return c
}

// moveBoundary moves bytes between two neighbouring strings.
func (r contextRand) moveBoundary(a, b *string) {
	joined := *a + *b
	at := r.IntN(len(joined) + 1)
	*a, *b = joined[:at], joined[at:]
}

// neighbour returns a context that is the same or nearly.
func (r contextRand) neighbour(c Context) Context {
	c.Path, c.Bind = slices.Clone(c.Path), slices.Clone(c.Bind)
	p, b := len(c.Path), len(c.Bind)
	switch n := r.IntN(12); {
	case n == 0:
		r.moveBoundary(&c.Ring, &c.Record)
	case n == 1 && p > 0:
		r.moveBoundary(&c.Record, &c.Path[0].name)
	case n == 2 && p > 1:
		i := r.IntN(p - 1)
		r.moveBoundary(&c.Path[i].name, &c.Path[i+1].name)
	case n == 3 && p > 0 && b > 0:
		r.moveBoundary(&c.Path[p-1].name, &c.Bind[0].Label)
	case n == 4 && b > 0:
		i := r.IntN(b)
		r.moveBoundary(&c.Bind[i].Label, &c.Bind[i].Value)
	case n == 5 && b > 1:
		r.moveBoundary(&c.Bind[0].Value, &c.Bind[1].Label)
	case n == 6 && b > 1:
		c.Bind[0], c.Bind[1] = c.Bind[1], c.Bind[0] // the same context
	case n == 7 && p > 0:
		c.Path[r.IntN(p)] = r.element()
	case n == 8 && p > 0: // the last step becomes a binding
		last := c.Path[p-1]
		c.Path, c.Bind = c.Path[:p-1], append(c.Bind, Binding{last.name, ""})
	case n == 9 && p > 0:
		c.Path = c.Path[:p-1]
	case n == 10:
		c.Ring += string(rune(r.IntN(3)))
	case n == 11 && p > 0: // another kind of step with the same name
		e := &c.Path[r.IntN(p)]
		if e.kind != aad.TypeIndex {
			e.kind ^= aad.TypeLabel ^ aad.TypeKey
		}
	}
	// What was moved into an index is no part of it.
	for i := range c.Path {
		if c.Path[i].kind == aad.TypeIndex {
			c.Path[i].name = ""
		}
	}
	return c
}

// sameContext compares what two contexts mean: bindings have no order.
func sameContext(a, b Context) bool {
	contains := func(bind []Binding) func(Binding) bool {
		return func(x Binding) bool { return slices.Contains(bind, x) }
	}
	return a.Ring == b.Ring && a.Record == b.Record && slices.Equal(a.Path, b.Path) && len(a.Bind) == len(b.Bind) &&
		!slices.ContainsFunc(a.Bind, func(x Binding) bool { return !contains(b.Bind)(x) })
}

// P1: two contexts have the same bytes if and only if they are the same.
func TestP1_ContextsAreInjective(t *testing.T) {
	const pairs = 1_000_000
	r := contextRand{mrand.New(mrand.NewPCG(7, 7))}
	var encA, encB []byte
	same, differ := 0, 0
	for same+differ < pairs {
		a := r.context()
		b := r.neighbour(a)
		var errA, errB error
		encA, errA = a.Append(encA[:0])
		encB, errB = b.Append(encB[:0])
		if errB != nil && errA == nil { // a boundary moved onto another label
			continue
		}
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if sameContext(a, b) != bytes.Equal(encA, encB) {
			t.Fatalf("%+v and %+v encode to\n%x\n%x", a, b, encA, encB)
		}
		if bytes.Equal(encA, encB) {
			same++
		} else {
			differ++
		}
	}
	if same < pairs/4 || differ < pairs/4 {
		t.Errorf("%d pairs alike, %d different: too few to tell", same, differ)
	}
}

// Not only neighbours: all contexts of a crowd against each other.
func TestP1_ContextsAreInjectiveInACrowd(t *testing.T) {
	r := contextRand{mrand.New(mrand.NewPCG(8, 8))}
	seen := map[string]Context{}
	for range 50_000 {
		c := r.context()
		enc, err := c.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[string(enc)]; ok && !sameContext(c, other) {
			t.Fatalf("%+v and %+v share an encoding", c, other)
		}
		seen[string(enc)] = c
		parsed, err := ParseContext(enc)
		if err != nil || !sameContext(parsed, c) {
			t.Fatalf("%+v came back as %+v, %v", c, parsed, err)
		}
		if again, err := parsed.Append([]byte("dst")); err != nil || string(again) != "dst"+string(enc) {
			t.Fatalf("%+v encodes to %x again, %v", parsed, again, err)
		}
	}
}

func TestContextIsNotChanged(t *testing.T) {
	c := Context{Ring: "r", Record: "c", Path: []Element{Label("f")}, Bind: []Binding{{"b", "1"}, {"a", "2"}}}
	if _, err := c.Append(nil); err != nil {
		t.Fatal(err)
	}
	if c.Bind[0].Label != "b" {
		t.Error("Append sorted the caller's bindings")
	}
}

func TestContextRefuses(t *testing.T) {
	for name, c := range map[string]Context{
		"zero element":      {Path: []Element{Label("f"), {}}},
		"label bound twice": {Bind: []Binding{{"a", "1"}, {"b", "2"}, {"a", "1"}}},
	} {
		if out, err := c.Append([]byte("dst")); !errors.Is(err, ErrContext) || out != nil {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
	}
}

// The contexts of bound values and of deterministic fields start differently,
// whatever follows.
func TestP1_KindsOfContextAreApart(t *testing.T) {
	if a, b := aad.Magic, aad.MagicDeterministic; strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
		t.Errorf("%q and %q share a start", a, b)
	}
}

// A forged count costs nothing: the loop and the memory end with the input.
func TestParseContextBoundsWork(t *testing.T) {
	b := append([]byte(aad.Magic), 0, 0, 0x80, 0x40)
	b = append(b, bytes.Repeat([]byte{0}, 2*0x2000)...) // elements of type 0
	allocs := testing.AllocsPerRun(10, func() {
		if _, err := ParseContext(b); !errors.Is(err, ErrContext) {
			t.Fatal(err)
		}
	})
	if allocs > 10 {
		t.Errorf("%v allocations for a context that fails at its first element", allocs)
	}
}

func TestContextString(t *testing.T) {
	c := sampleContext().build()
	if got, want := c.String(), "main/customer.addresses[2/3].lines{home}"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
