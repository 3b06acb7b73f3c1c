package structseal_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/structsealtest"
)

type moveNote struct {
	Text string `seal:"text"`
}

// MoveBody is what the three record types have in common: the same labels twice
// in nested structs, a slice and a map.
type MoveBody struct {
	ID    string            `seal:"id,bind"`
	Home  moveNote          `seal:"home"`
	Work  moveNote          `seal:"work"`
	Lines []string          `seal:"lines"`
	Extra map[string]string `seal:"extra"`
}

type (
	moveA struct {
		_ structseal.Record `seal:"a"`
		MoveBody
	}
	moveB struct {
		_ structseal.Record `seal:"b"`
		MoveBody
	}
	moveC struct {
		_ structseal.Record `seal:"c"`
		MoveBody
	}
)

var moveFields = []string{"home", "work", "lines", "extra"}

func (b *MoveBody) cell(field string) string {
	switch field {
	case "home":
		return b.Home.Text
	case "work":
		return b.Work.Text
	case "lines":
		return b.Lines[1]
	}
	return b.Extra["k"]
}

func (b *MoveBody) setCell(field, s string) {
	switch field {
	case "home":
		b.Home.Text = s
	case "work":
		b.Work.Text = s
	case "lines":
		b.Lines[1] = s
	default:
		b.Extra["k"] = s
	}
}

// moveRow is a stored row of one ring and type.
type moveRow struct {
	ring   *keyring.Keyring
	record any // *moveA, *moveB or *moveC
	body   *MoveBody
}

func newMoveRow(t *testing.T, ring *keyring.Keyring, record string, id int) moveRow {
	t.Helper()
	body := MoveBody{
		ID:    fmt.Sprintf("row-%d", id),
		Home:  moveNote{"the same text"},
		Work:  moveNote{"the same text"},
		Lines: []string{"first", "the same text", "last"},
		Extra: map[string]string{"k": "the same text", "1": "another"},
	}
	var r moveRow
	switch record {
	case "a":
		v := &moveA{MoveBody: body}
		r = moveRow{ring, v, &v.MoveBody}
	case "b":
		v := &moveB{MoveBody: body}
		r = moveRow{ring, v, &v.MoveBody}
	default:
		v := &moveC{MoveBody: body}
		r = moveRow{ring, v, &v.MoveBody}
	}
	if err := structseal.EncryptInPlace(t.Context(), ring, r.record); err != nil {
		t.Fatal(err)
	}
	return r
}

type moveCell struct {
	row   int
	field string
}

// TestP1_MoveMatrix takes the ciphertexts of 3 rings, 3 record types, 4 fields
// and 5 rows and puts each into each of the other 179 places.
func TestP1_MoveMatrix(t *testing.T) {
	t.Run("same keys", func(t *testing.T) {
		// The rings differ in nothing but their names, so it is the context
		// alone that refuses.
		moveMatrix(t, func(i int) *keyring.Keyring { return fixedRing(t, fmt.Sprintf("ring-%d", i)) }, crypto.ErrTampered)
	})
	t.Run("own keys", func(t *testing.T) {
		// Rings as they are: the key that a foreign ciphertext names is unknown.
		moveMatrix(t, func(int) *keyring.Keyring { return structsealtest.Ring(t) }, structseal.ErrUnknownKey)
	})
}

func moveMatrix(t *testing.T, newRing func(int) *keyring.Keyring, otherRing error) {
	ctx := t.Context()
	var rows []moveRow
	var cells []moveCell
	for i := range 3 {
		ring := newRing(i)
		for _, record := range []string{"a", "b", "c"} {
			for id := range 5 {
				rows = append(rows, newMoveRow(t, ring, record, id))
				for _, f := range moveFields {
					cells = append(cells, moveCell{len(rows) - 1, f})
				}
			}
		}
	}
	if len(cells) != 180 {
		t.Fatalf("%d cells", len(cells))
	}
	moves := 0
	for _, to := range cells {
		dst := rows[to.row]
		only := structseal.Only(to.field)
		own := dst.body.cell(to.field)
		for _, from := range cells {
			src := rows[from.row]
			if from == to {
				continue
			}
			moves++
			moved := src.body.cell(from.field)
			dst.body.setCell(to.field, moved)
			before := deepCopy(*dst.body)
			err := structseal.DecryptInPlace(ctx, dst.ring, dst.record, only)
			want := structseal.ErrTampered
			if src.ring != dst.ring {
				want = otherRing
			}
			if !errors.Is(err, want) {
				t.Fatalf("%v moved to %v: %v, want %v", from, to, err, want)
			}
			if d := difference(before, *dst.body); d != "" {
				t.Fatalf("%v moved to %v: the row was changed: %s", from, to, d)
			}
			dst.body.setCell(to.field, own)
		}
	}
	if moves != 32_220 {
		t.Errorf("%d moves, want 32,220", moves)
	}
	// Back in its own place each one opens, so it is the place that refused.
	for _, at := range cells {
		row := rows[at.row]
		body := deepCopy(*row.body)
		var err error
		switch row.record.(type) {
		case *moveA:
			v := moveA{MoveBody: body}
			v, err = structseal.Decrypt(ctx, row.ring, v, structseal.Only(at.field))
			body = v.MoveBody
		case *moveB:
			v := moveB{MoveBody: body}
			v, err = structseal.Decrypt(ctx, row.ring, v, structseal.Only(at.field))
			body = v.MoveBody
		case *moveC:
			v := moveC{MoveBody: body}
			v, err = structseal.Decrypt(ctx, row.ring, v, structseal.Only(at.field))
			body = v.MoveBody
		}
		if err != nil || body.cell(at.field) != "the same text" {
			t.Errorf("%v at its own place: %v", at, err)
		}
	}
}

type moveSet struct {
	_     structseal.Record `seal:"set"`
	ID    string            `seal:"id,bind"`
	Lines []string          `seal:"lines"`
	Pair  [2]string         `seal:"pair"`
	Deep  [][]string        `seal:"deep"`
	Int   map[int]string    `seal:"int"`
	Text  map[string]string `seal:"text"`
}

// TestP1_Containers: elements can't be removed, added, swapped or renamed.
func TestP1_Containers(t *testing.T) {
	ring := structsealtest.Ring(t)
	row := must(structseal.Encrypt(t.Context(), ring, moveSet{
		ID: "1", Lines: []string{"a", "b", "c"}, Pair: [2]string{"a", "b"},
		Deep: [][]string{{"a", "b"}, {"c", "d"}},
		Int:  map[int]string{1: "a", 2: "b"}, Text: map[string]string{"1": "a", "2": "b"},
	}))(t)
	for name, change := range map[string]func(v *moveSet){
		"last removed":    func(v *moveSet) { v.Lines = v.Lines[:2] },
		"first removed":   func(v *moveSet) { v.Lines = v.Lines[1:] },
		"one repeated":    func(v *moveSet) { v.Lines = append(v.Lines, v.Lines[2]) },
		"two swapped":     func(v *moveSet) { v.Lines[0], v.Lines[1] = v.Lines[1], v.Lines[0] },
		"one doubled":     func(v *moveSet) { v.Lines[0] = v.Lines[1] },
		"array swapped":   func(v *moveSet) { v.Pair[0], v.Pair[1] = v.Pair[1], v.Pair[0] },
		"array to slice":  func(v *moveSet) { v.Lines = v.Pair[:] },
		"rows swapped":    func(v *moveSet) { v.Deep[0], v.Deep[1] = v.Deep[1], v.Deep[0] },
		"columns swapped": func(v *moveSet) { v.Deep[0][1], v.Deep[1][0] = v.Deep[1][0], v.Deep[0][1] },
		"outer shortened": func(v *moveSet) { v.Deep = v.Deep[:1] },
		"outer extended":  func(v *moveSet) { v.Deep = append(v.Deep, nil) },
		"key renamed":     func(v *moveSet) { v.Text = map[string]string{"3": v.Text["1"]} },
		"values swapped":  func(v *moveSet) { v.Text["1"], v.Text["2"] = v.Text["2"], v.Text["1"] },
		"other map":       func(v *moveSet) { v.Text["1"] = v.Int[1] },
		"key to index":    func(v *moveSet) { v.Lines[1] = v.Int[1] },
	} {
		v := deepCopy(row)
		change(&v)
		before := deepCopy(v)
		got, err := structseal.Decrypt(t.Context(), ring, v)
		wantErr(t, name, err, structseal.ErrTampered)
		if d := difference(got, moveSet{}); d != "" {
			t.Errorf("%s: output with an error: %s", name, d)
		}
		if d := difference(before, v); d != "" {
			t.Errorf("%s: the row was changed: %s", name, d)
		}
	}
	// What the docs say is not bound: an entry of a map that goes missing.
	v := deepCopy(row)
	delete(v.Text, "1")
	if _, err := structseal.Decrypt(t.Context(), ring, v); err != nil {
		t.Errorf("a map entry deleted: %v", err)
	}
}
