package inventory

import (
	"fmt"
	"slices"

	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/manifest/gosource"
)

// disagreements notes types that share a record, as a whole row and a part of it do, and
// don't mean the same by it: what one of them sealed the other one can't open. Often
// the marker was copied with the rest of the type.
func disagreements(m *manifest.Manifest) (notes []gosource.Problem) {
	first := make(map[string]manifest.Record)
	for _, r := range m.Records {
		f, ok := first[r.Label]
		if !ok {
			first[r.Label] = r
			continue
		}
		// Compared as if one were the other one's future, in what both have.
		a, b := f, r
		a.Fields, b.Fields = nil, nil
		for _, x := range f.Fields {
			for _, y := range r.Fields {
				if slices.Equal(x.Path, y.Path) {
					a.Fields, b.Fields = append(a.Fields, x), append(b.Fields, y)
				}
			}
		}
		b.Type = a.Type
		for _, c := range manifest.Compare(&manifest.Manifest{Records: []manifest.Record{a}}, &manifest.Manifest{Records: []manifest.Record{b}}) {
			if c.Breaking {
				notes = append(notes, gosource.Problem{Position: r.Position, Type: r.Type,
					Reason: fmt.Sprintf("it is a record %s like %s at %s, and what one of them seals the other one can't open: from that one to this one, %s: %s", r.Label, f.Type, f.Position, c.Label, c.What)})
				break
			}
		}
	}
	return notes
}
