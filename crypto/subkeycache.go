package crypto

import (
	"encoding/binary"
	"sync/atomic"
)

const (
	// Readers keep up to this many derived subkeys per key, about 0.7 MB. The
	// cache starts small, because a program may hold very many keys that read
	// little (those of subjects). Powers of two.
	subkeyCacheMin = 16
	subkeyCacheMax = 512
)

// A subkeyCache finds subkeys by salt. It lives and dies with the key object, so
// that no subkey is ever found by anything but the key it belongs to. Races
// between readers lose entries, never mix them up.
//
// Slots are indexed by the first bytes of the salt. Salts are random, so entries
// spread evenly; an attacker who picks colliding salts only makes reads derive
// again.
type subkeyCache struct {
	first atomic.Pointer[subkey] // all that most keys of subjects ever read with
	slots atomic.Pointer[[]atomic.Pointer[subkey]]
}

func slotOf(slots []atomic.Pointer[subkey], salt *[saltSize]byte) *atomic.Pointer[subkey] {
	return &slots[int(binary.LittleEndian.Uint16(salt[:]))&(len(slots)-1)]
}

func (c *subkeyCache) get(salt *[saltSize]byte) *subkey {
	if s := c.first.Load(); s != nil && s.salt == *salt {
		return s
	}
	slots := c.slots.Load()
	if slots == nil {
		return nil
	}
	if s := slotOf(*slots, salt).Load(); s != nil && s.salt == *salt {
		return s
	}
	return nil
}

// put keeps s. When its slot is taken the cache grows, up to the maximum.
func (c *subkeyCache) put(s *subkey) {
	if c.first.CompareAndSwap(nil, s) {
		return
	}
	slots := c.slots.Load()
	if slots == nil {
		slots = c.resize(nil, subkeyCacheMin)
	} else if len(*slots) < subkeyCacheMax && slotOf(*slots, &s.salt).Load() != nil {
		slots = c.resize(*slots, 2*len(*slots))
	}
	slotOf(*slots, &s.salt).Store(s)
}

func (c *subkeyCache) resize(old []atomic.Pointer[subkey], n int) *[]atomic.Pointer[subkey] {
	slots := make([]atomic.Pointer[subkey], n)
	for i := range old {
		if s := old[i].Load(); s != nil {
			slotOf(slots, &s.salt).Store(s)
		}
	}
	c.slots.Store(&slots)
	return &slots
}

func (c *subkeyCache) drop() {
	c.first.Store(nil)
	c.slots.Store(nil)
}
