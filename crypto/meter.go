package crypto

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// CompactMessages is how many messages a key of the compact suite may seal in
// all: nonces are random, so a collision of two is a matter of counting. It is a
// wall, not a target.
const CompactMessages = 1 << 32

// A meter counts what a compact key seals and stops it at an allowance. It has
// cache lines of its own: every record writes to it, and every call reads what
// stands next to it.
type meter struct {
	_       [64]byte
	used    atomic.Uint64
	allowed atomic.Uint64
	_       [64]byte

	// mu is held while more runs. Settle doesn't take it: more may be what leads
	// to Settle, when it learns that the key was taken out of use.
	mu      sync.Mutex
	more    func(used uint64) (allowed uint64, err error)
	settled atomic.Bool
}

// settledMark is above every allowance: who adds to it can't seal.
const settledMark = 1 << 62

// take counts n messages before they are sealed, so that a crash can only
// count too many.
func (m *meter) take(n int) error {
	if m.used.Add(uint64(n)) <= m.allowed.Load() {
		return nil
	}
	if err := m.ask(); err != nil {
		m.used.Add(-uint64(n)) // they will not be sealed
		return err
	}
	return nil
}

// ask gets a larger allowance, once for all who run into the old one.
func (m *meter) ask() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		used := m.used.Load()
		switch {
		case m.settled.Load():
			return ErrWiped
		case used <= m.allowed.Load():
			return nil
		case m.more == nil:
			return fmt.Errorf("%w: %d messages", ErrExhausted, uint64(CompactMessages))
		}
		allowed, err := m.more(used)
		if err != nil {
			return err
		}
		if allowed < used {
			return ErrExhausted
		}
		m.allowed.Store(allowed)
	}
}

// Messages returns how many messages this Key has sealed under the compact
// suite, counted before they are sealed and per record: it may be a few too many,
// never too few. Other suites need no counting, and it is 0.
func (k *Key) Messages() uint64 {
	st := k.load()
	if st == nil || st.suite != Compact {
		return 0
	}
	return st.meter.used.Load() &^ settledMark
}

// Meter makes a key of the compact suite ask before it seals more messages than
// it may: reserve is called when used, the number of messages sealed so far and
// about to be, is above what it last returned, one call at a time, and returns
// the new allowance, which counts from the Key's first message. Its error is that
// of Seal. Until the first call the allowance is 0. Without Meter a Key may seal
// [CompactMessages].
//
// It does nothing for other suites. Call it before the Key is used.
func (k *Key) Meter(reserve func(used uint64) (allowed uint64, err error)) {
	st := k.load()
	if st == nil || st.suite != Compact {
		return
	}
	st.meter.mu.Lock()
	defer st.meter.mu.Unlock()
	st.meter.more = reserve
	st.meter.allowed.Store(0)
}

// Settle ends the use of a metered Key for sealing and returns how much of its
// allowance is left: no message that was sealed, or still will be, is in it. Later
// calls of Seal that need more than what they hold return ErrWiped. An allowance
// that is granted at this moment may be lost.
func (k *Key) Settle() (unused uint64) {
	st := k.load()
	if st == nil || st.suite != Compact {
		return 0
	}
	m := st.meter
	if m.settled.Swap(true) {
		return 0
	}
	// From here on every take is above the allowance; earlier ones are counted.
	used := m.used.Add(settledMark) - settledMark
	if allowed := m.allowed.Load(); allowed > used {
		return allowed - used
	}
	return 0
}
