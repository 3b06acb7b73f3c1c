package keyring

import "time"

// A snapshot is one revision of a ring, ready to be looked up in. It never
// changes; its cells fill.
type snapshot struct {
	record  *record
	data    []byte    // record, as stored
	seen    time.Time // when this process had read or written it; monotonic
	byID    map[uint32]*entry
	primary [MAC + 1]*entry
}

type entry struct {
	*keyRecord
	*cell // nil unless the key is usable

	// When this process first saw the key in its state, and first saw it
	// retired; monotonic.
	seen, retiredSeen time.Time
}

// newSnapshot makes the snapshot of r. Keys that old holds unwrapped, and calls
// under way for them, carry over if they are still the same and usable.
//
// It must be called when the store has answered: what is seen then was written
// before. The time of the question would be too early.
func newSnapshot(r *record, data []byte, old *snapshot) *snapshot {
	s := &snapshot{record: r, data: data, seen: time.Now(), byID: make(map[uint32]*entry, len(r.Keys))}
	for i := range r.Keys {
		k := &r.Keys[i]
		e := &entry{keyRecord: k, seen: s.seen, retiredSeen: s.seen}
		if was := old.lookup(uint32(k.ID)); was != nil && was.Check == k.Check {
			if was.Revision == k.Revision {
				e.seen = was.seen
			}
			if was.Retired != 0 {
				e.retiredSeen = was.retiredSeen
			}
		}
		if k.State.usable() && k.Purpose != MAC {
			if was := old.lookup(uint32(k.ID)); was != nil && was.cell != nil &&
				was.Purpose == k.Purpose && was.Suite == k.Suite && was.Check == k.Check {
				e.cell = was.cell
			} else {
				e.cell = new(cell)
			}
		}
		s.byID[uint32(k.ID)] = e
		if k.State == Primary {
			s.primary[k.Purpose] = e
		}
	}
	return s
}

func (s *snapshot) lookup(id uint32) *entry {
	if s == nil {
		return nil
	}
	return s.byID[id]
}

// dropUnless wipes the keys of s that next didn't take over.
func (s *snapshot) dropUnless(next *snapshot) {
	if s == nil {
		return
	}
	for id, e := range s.byID {
		if e.cell == nil {
			continue
		}
		if n := next.lookup(id); n == nil || n.cell != e.cell {
			e.cell.drop()
		}
	}
}
