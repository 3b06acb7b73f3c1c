package crypto

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

const (
	// Readers keep up to two derived subkeys for each of this many slots per key,
	// about 0.8 MB. The cache starts small, because a program may hold very many
	// keys that read little (those of subjects). Powers of two.
	subkeyCacheMin = 4
	subkeyCacheMax = 512
	// A subkey that was found as often as this, more than most records have values,
	// is worth an object of its own, which is read without a lock.
	subkeyKeepAfter = 64
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
	slots atomic.Pointer[[]subkeySlot]
}

// A subkeySlot has two places. A program that reads old rows in random order derives
// a subkey for each of them: it is in last for the other values of the record, and
// then the next one takes its place. No object is made for it, and what is read often
// stays in kept.
type subkeySlot struct {
	kept atomic.Pointer[subkey]
	mu   sync.Mutex
	last subkey // guarded by mu; empty without an AEAD
	hits int    // guarded by mu: how often last was found
}

func slotOf(slots []subkeySlot, salt *[saltSize]byte) *subkeySlot {
	return &slots[int(binary.LittleEndian.Uint16(salt[:]))&(len(slots)-1)]
}

// get finds the AES-GCM of a salt, or derives it with x and keeps it.
func (c *subkeyCache) get(salt *[saltSize]byte, x *xaes) (gcm, error) {
	first := c.first.Load()
	if first != nil && first.salt == *salt {
		return first.gcm, nil
	}
	slots := c.slots.Load()
	if slots == nil {
		if first == nil {
			g, err := x.gcmOf(salt)
			if err == nil {
				c.first.CompareAndSwap(nil, &subkey{*salt, g})
			}
			return g, err
		}
		fresh := make([]subkeySlot, subkeyCacheMin)
		slots = &fresh
		c.slots.CompareAndSwap(nil, slots)
	}
	s := slotOf(*slots, salt)
	if kept := s.kept.Load(); kept != nil && kept.salt == *salt {
		return kept.gcm, nil
	}
	g, taken, err := s.get(salt, x)
	if taken && len(*slots) < subkeyCacheMax {
		c.grow(slots)
	}
	return g, err
}

// get is that of the cache for what isn't kept. taken tells whether another subkey had
// to go.
func (s *subkeySlot) get(salt *[saltSize]byte, x *xaes) (g gcm, taken bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken = s.last.aead != nil
	if taken && s.last.salt == *salt {
		g = s.last.gcm
		if s.hits++; s.hits == subkeyKeepAfter {
			s.keep()
		}
		return g, false, nil
	}
	// Those who want the same salt wait for it here.
	if g, err = x.gcmOf(salt); err != nil {
		return g, false, err
	}
	s.last, s.hits = subkey{*salt, g}, 0
	return g, taken, nil
}

// keep lets last and kept trade places.
func (s *subkeySlot) keep() {
	last := s.last
	s.last, s.hits = subkey{}, 0
	if kept := s.kept.Swap(&last); kept != nil {
		s.last = *kept
	}
}

// grow doubles the slots, unless they were replaced meanwhile.
func (c *subkeyCache) grow(old *[]subkeySlot) {
	slots := make([]subkeySlot, 2*len(*old))
	for i := range *old {
		o := &(*old)[i]
		if kept := o.kept.Load(); kept != nil {
			slotOf(slots, &kept.salt).kept.Store(kept)
		}
		o.mu.Lock()
		if o.last.aead != nil {
			s := slotOf(slots, &o.last.salt)
			s.last, s.hits = o.last, o.hits
		}
		o.mu.Unlock()
	}
	c.slots.CompareAndSwap(old, &slots)
}

func (c *subkeyCache) drop() {
	c.first.Store(nil)
	c.slots.Store(nil)
}
