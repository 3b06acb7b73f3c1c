package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// A node is a JSON text whose order can be changed: an object, an array or a
// scalar as it is written.
type node struct {
	names  []string // of an object's members
	nodes  []*node  // of members or elements
	array  bool
	scalar string
}

func parseNode(t *testing.T, data []byte) *node {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return readNode(t, d)
}

func readNode(t *testing.T, d *json.Decoder) *node {
	t.Helper()
	token := must[json.Token](t)(d.Token())
	delim, ok := token.(json.Delim)
	if !ok {
		return &node{scalar: string(must[[]byte](t)(encode(token)))}
	}
	n := &node{array: delim == '['}
	for d.More() {
		if !n.array {
			n.names = append(n.names, must[json.Token](t)(d.Token()).(string))
		}
		n.nodes = append(n.nodes, readNode(t, d))
	}
	must[json.Token](t)(d.Token())
	return n
}

func (n *node) text() string {
	var parts []string
	for i, c := range n.nodes {
		if n.array {
			parts = append(parts, c.text())
		} else {
			parts = append(parts, strconv.Quote(n.names[i])+":"+c.text())
		}
	}
	switch {
	case n.scalar != "":
		return n.scalar
	case n.array:
		return "[" + strings.Join(parts, ",") + "]"
	default:
		return "{" + strings.Join(parts, ",") + "}"
	}
}

func (n *node) clone() *node {
	out := *n
	out.names, out.nodes = slices.Clone(n.names), slices.Clone(n.nodes)
	for i := range out.nodes {
		out.nodes[i] = out.nodes[i].clone()
	}
	return &out
}

// at follows a path of indices.
func (n *node) at(path []int) *node {
	for _, i := range path {
		n = n.nodes[i]
	}
	return n
}

// mutants are other values of the scalar's kind, and one of another kind.
func (n *node) mutants() (out []string) {
	if text, err := strconv.Unquote(n.scalar); err == nil {
		out = append(out, `""`, `"x"`, "0", "null")
		if text != "" {
			last := []byte(text)
			last[len(last)-1] ^= 1
			first := []byte(text)
			first[0] ^= 1
			out = append(out, strconv.Quote(string(last)), strconv.Quote(string(first)), strconv.Quote(strings.ToUpper(text)))
		}
		return out
	}
	if v, err := strconv.ParseUint(n.scalar, 10, 64); err == nil {
		return []string{strconv.FormatUint(v+1, 10), strconv.FormatUint(v-1, 10), "0", n.scalar + ".0", "-1", `"1"`, "null"}
	}
	return []string{"1", `"x"`}
}

// edits calls try with every edit of a record.
func edits(root *node, try func(kind, what string, edited *node)) {
	var walk func(path []int, name string)
	walk = func(path []int, name string) {
		n := root.at(path)
		edit := func(kind, what string, change func(n *node)) {
			edited := root.clone()
			change(edited.at(path))
			try(kind, name+what, edited)
		}
		if n.nodes == nil && n.scalar != "" {
			for _, m := range n.mutants() {
				edit("mutate", " = "+m, func(n *node) { n.scalar = m })
			}
			return
		}
		part := func(i int) string {
			if n.array {
				return fmt.Sprintf("%s[%d]", name, i)
			}
			return name + "." + n.names[i]
		}
		for i := range n.nodes {
			remove := func(n *node, i int) {
				n.nodes = slices.Delete(n.nodes, i, i+1)
				if !n.array {
					n.names = slices.Delete(n.names, i, i+1)
				}
			}
			edit("drop", " without "+part(i), func(n *node) { remove(n, i) })
			edit("duplicate", " twice "+part(i), func(n *node) {
				n.nodes = slices.Insert(n.nodes, i, n.nodes[i])
				if !n.array {
					n.names = slices.Insert(n.names, i, n.names[i])
				}
			})
			for j := range i {
				edit("swap", fmt.Sprintf(" %s and %s swapped", part(i), part(j)), func(n *node) {
					n.nodes[i], n.nodes[j] = n.nodes[j], n.nodes[i]
				})
				if n.array {
					// The same member of siblings.
					a, b := n.nodes[i], n.nodes[j]
					for k, member := range a.names {
						l := slices.Index(b.names, member)
						if l < 0 {
							continue
						}
						edit("swap", fmt.Sprintf(" %s of %s and %s swapped", member, part(i), part(j)), func(n *node) {
							n.nodes[i].nodes[k], n.nodes[j].nodes[l] = n.nodes[j].nodes[l], n.nodes[i].nodes[k]
						})
					}
				} else {
					edit("reorder", fmt.Sprintf(" %s before %s", part(i), part(j)), func(n *node) {
						c, name := n.nodes[i], n.names[i]
						remove(n, i)
						n.nodes, n.names = slices.Insert(n.nodes, j, c), slices.Insert(n.names, j, name)
					})
				}
			}
			walk(append(slices.Clone(path), i), part(i))
		}
	}
	walk(nil, "")
}

// Every member of a record, found by walking its text: mutated, swapped with each
// sibling, dropped, doubled, reordered, and put back to what it was one revision
// earlier. A running process notices without asking anybody, and a fresh one does.
func TestTamperMatrix(t *testing.T) {
	store, kms, pin, good := ringForEdits(t)
	ring := must[*Keyring](t)(Open(t.Context(), "app", store, kms, pin, nil))
	defer ring.Close()
	if _, err := ring.Rotate(t.Context(), Data, &RotateOptions{Suite: crypto.Compact, Now: true}); err != nil {
		t.Fatal(err)
	}
	older, good := good, store.get(t, "app")
	root := parseNode(t, good.Data)
	if root.text() != string(good.Data) {
		t.Fatal("the test's own text of the record differs")
	}

	counts := make(map[string]int)
	refusals := make(map[error]int)
	sentinels := []error{ErrTampered, ErrCorrupt, ErrFormat, ErrPinMismatch, ErrTooLarge, ErrRollback,
		// What a fresh process gets for the wrap of the MAC key.
		ErrWrongKEK, ErrKeyCheck, kmsprovider.ErrRejected}
	try := func(kind, what string, edited *node) {
		text := edited.text()
		if text == string(good.Data) {
			return // a swap of equal values
		}
		counts[kind]++
		revision := good.Revision // ... or what the record claims
		if i := slices.Index(edited.names, "revision"); i >= 0 {
			if v, err := strconv.ParseUint(edited.nodes[i].scalar, 10, 64); err == nil {
				revision = v
			}
		}
		store.put(t, "app", Record{revision, []byte(text)})
		refused := func(who string, err error, sentinels []error) {
			for _, s := range sentinels {
				if errors.Is(err, s) {
					refusals[s]++
					return
				}
			}
			t.Errorf("%s: %s%s: %v", who, kind, what, err)
		}
		refused("running", ring.Refresh(t.Context()), sentinels[:6])
		fresh, err := Open(t.Context(), "app", store, kms, pin, nil)
		if err == nil {
			fresh.Close()
		}
		refused("fresh", err, sentinels)
	}
	edits(root, try)

	// Members as they were, with this revision's MAC or that one's.
	old := parseNode(t, older.Data)
	var back func(a, b *node, path []int, name string)
	back = func(now, was *node, path []int, name string) {
		if now.text() == was.text() {
			return
		}
		for i, c := range now.nodes {
			j := i
			if !now.array {
				j = slices.Index(was.names, now.names[i])
			}
			if j >= 0 && j < len(was.nodes) {
				back(c, was.nodes[j], append(slices.Clone(path), i), fmt.Sprintf("%s/%d", name, i))
			}
		}
		if path == nil {
			return
		}
		for _, mac := range []*node{root, old} {
			edited := root.clone()
			*edited.at(path) = *was.clone()
			edited.nodes[len(edited.nodes)-1] = mac.nodes[len(mac.nodes)-1].clone()
			try("roll back", name, edited)
		}
	}
	back(root, old, nil, "")

	t.Logf("%v", counts)
	for _, kind := range []string{"mutate", "swap", "drop", "duplicate", "reorder", "roll back"} {
		if counts[kind] < 8 {
			t.Errorf("%d times %s", counts[kind], kind)
		}
	}
	// The whole record as it was.
	store.put(t, "app", older)
	if err := ring.Refresh(t.Context()); !errors.Is(err, ErrRollback) {
		t.Errorf("the older record: %v", err)
	}
	store.put(t, "app", good)
	if err := ring.Refresh(t.Context()); err != nil || ring.Revision() != good.Revision {
		t.Errorf("put back: %v", err)
	}
	if refusals[ErrTampered] == 0 || refusals[ErrCorrupt] == 0 || refusals[ErrFormat] == 0 {
		t.Errorf("refused as %v", refusals)
	}
}
