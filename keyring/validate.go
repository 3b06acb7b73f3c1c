package keyring

import (
	"fmt"
	"math"
	"slices"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

const (
	maxNameLen = 100
	maxBlobLen = 16 << 10
	maxWraps   = 16
	// SQL's BIGINT is signed.
	maxRevision = math.MaxInt64
)

// validName checks ^[a-z0-9][a-z0-9._-]{0,99}$: names that are file names, SQL
// values and parts of an encryption context alike.
func validName(name string) error {
	ok := len(name) > 0 && len(name) <= maxNameLen
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || i > 0 && (c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fmt.Errorf("%w: use 1 to %d of a-z 0-9 . _ -, starting with a letter or digit", ErrName, maxNameLen)
	}
	return nil
}

// validate checks what the MAC doesn't: a ring that its own key authenticates
// must still make sense.
func (r *record) validate() error {
	corrupt := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	if err := validName(r.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if r.Revision == 0 || r.Revision > maxRevision {
		return corrupt("revision out of range")
	}
	if r.Clock == 0 || r.Clock > maxRevision {
		return corrupt("clock out of range")
	}
	if len(r.KEKs) == 0 || len(r.KEKs) > maxWraps {
		return corrupt("%d key-encryption keys", len(r.KEKs))
	}
	for i, id := range r.KEKs {
		if !kmsprovider.ValidID(id) || slices.Contains(r.KEKs[:i], id) {
			return corrupt("an invalid kek id, or one twice")
		}
	}
	if err := r.History.validate(r.Revision); err != nil {
		return err
	}
	if len(r.Keys) > MaxKeys {
		return fmt.Errorf("%w: %d keys", ErrTooLarge, len(r.Keys))
	}
	var primaries [MAC + 1]int
	seen := make(map[keyID]bool, len(r.Keys))
	for i := range r.Keys {
		k := &r.Keys[i]
		switch {
		case k.ID == 0:
			return corrupt("key id 0")
		case seen[k.ID]:
			return corrupt("key %08x twice", uint32(k.ID))
		case !k.Purpose.valid():
			return corrupt("key %08x has no purpose", uint32(k.ID))
		case !k.State.valid():
			return corrupt("key %08x has no state", uint32(k.ID))
		case !k.Purpose.fits(k.Suite):
			return corrupt("key %08x: suite %.40q does not fit purpose %s", uint32(k.ID), k.Suite, k.Purpose)
		case k.Revision == 0 || k.Revision > r.Revision:
			return corrupt("key %08x: revision out of range", uint32(k.ID))
		case k.Since == 0 || k.Since > r.Clock || k.Retired > k.Since:
			return corrupt("key %08x: clock out of range", uint32(k.ID))
		case (k.Retired == 0) != (k.State <= Primary):
			return corrupt("key %08x is %s and retired at %d", uint32(k.ID), k.State, k.Retired)
		case k.Messages > crypto.CompactMessages || k.Messages > 0 && k.Suite != crypto.Compact.String():
			return corrupt("key %08x: %d messages", uint32(k.ID), k.Messages)
		case k.Wraps == nil:
			return corrupt("key %08x: wraps is null", uint32(k.ID))
		case (len(k.Wraps) == 0) != (k.State == Destroyed):
			return corrupt("key %08x is %s with %d wraps", uint32(k.ID), k.State, len(k.Wraps))
		case len(k.Wraps) > maxWraps:
			return corrupt("key %08x has %d wraps", uint32(k.ID), len(k.Wraps))
		}
		seen[k.ID] = true
		if k.State == Primary {
			primaries[k.Purpose]++
		}
		for j, w := range k.Wraps {
			if !kmsprovider.ValidID(w.KEK) {
				return corrupt("key %08x: invalid kek id", uint32(k.ID))
			}
			if len(w.Blob) == 0 || len(w.Blob) > maxBlobLen {
				return corrupt("key %08x: wrapped key of %d bytes", uint32(k.ID), len(w.Blob))
			}
			for _, other := range k.Wraps[:j] {
				if other.KEK == w.KEK {
					return corrupt("key %08x: wrapped twice by one kek", uint32(k.ID))
				}
			}
		}
	}
	for p := Data; p <= MAC; p++ {
		if primaries[p] != 1 {
			return corrupt("%d primary keys of purpose %s", primaries[p], p)
		}
	}
	return nil
}

func (h *history) validate(revision uint64) error {
	corrupt := func(what string) error { return fmt.Errorf("%w: history: %s", ErrCorrupt, what) }
	switch {
	case h.Entries == nil:
		return corrupt("no entries")
	case len(h.Entries) > MaxHistory:
		return corrupt("too many entries")
	case h.Dropped > maxRevision || h.Dropped == 0 && h.Hash != checkValue{}:
		return corrupt("dropped entries")
	}
	last := uint64(1)
	for i := range h.Entries {
		e := &h.Entries[i]
		switch {
		case e.Revision < last || e.Revision > revision:
			return corrupt("revisions out of order")
		case e.Key == 0 || e.Op == "":
			return corrupt("an entry without key or op")
		case !validText(e.Actor, maxActorLen) || !validText(e.Op, 32) || !validText(e.Note, maxNoteLen):
			return corrupt("an entry with odd text")
		}
		last = e.Revision
	}
	return nil
}
