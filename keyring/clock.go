package keyring

import (
	"fmt"
	"time"
)

// Waits of a key's life are measured without any wall clock, because a machine's
// may be a day off, stand still or go back, and a key promoted or erased too
// early loses data.
//
// Each process measures on its monotonic clock how long it has watched a key in
// its state. Watching ends with the process, so the ring has a clock of its own
// besides: the record's "clock", in milliseconds from 1. Who writes revision n+1
// adds the time that he himself has known revision n, which is never more than
// what has passed since it was written, however many write and however little
// they have seen. So the clock never runs fast. It runs slow when nobody writes;
// [Keyring.Maintain] writes while somebody waits.
//
// Of both lower bounds the larger one counts.

// wallClock only makes the time stamps that people read.
var wallClock = time.Now

func now() stamp { return stamp{wallClock().UTC().Truncate(time.Second)} }

// watched returns how long s has been this process's record, which is how long
// it has been written at least.
func (s *snapshot) watched() time.Duration { return time.Since(s.seen) }

// clock returns the ring's clock now, in milliseconds, as far as this process can
// tell.
func (s *snapshot) clock() uint64 {
	return s.record.Clock + uint64(s.watched()/time.Millisecond)
}

// since returns how long ago, at least, the ring's clock stood at mark.
func (s *snapshot) since(mark uint64) time.Duration {
	return time.Duration(min(s.clock()-mark, uint64(maxWait/time.Millisecond))) * time.Millisecond
}

// held returns how long, at least, the key of e has been in its state.
func (s *snapshot) held(e *entry) time.Duration {
	return max(s.since(e.Since), time.Since(e.seen))
}

// retired returns how long, at least, the key of e has not been a primary, which
// it never is again; 0 before that.
func (s *snapshot) retired(e *entry) time.Duration {
	if e.Retired == 0 {
		return 0
	}
	return max(s.since(e.Retired), time.Since(e.retiredSeen))
}

// maxWait keeps durations from overflowing: 200 years are long enough for all.
const maxWait = 200 * 365 * 24 * time.Hour

// A WaitError says how long to wait. It is an ErrTooEarly.
type WaitError struct {
	Op  string // "promote", "destroy", "erase", "revive"
	Key uint32 // 0 for "revive"
	// Remaining is how long to wait at most, as far as this process can tell: a
	// process that has just started has seen little, others may know more. 0: the
	// wait has ended since the census began; begin another.
	Remaining time.Duration
}

// Error says what is too early and for how long.
func (e *WaitError) Error() string {
	wait := max(e.Remaining, time.Millisecond).Round(time.Millisecond)
	switch {
	case e.Key == 0:
		return fmt.Sprintf("subject: %s is too early: wait %v", e.Op, wait)
	case e.Remaining <= 0:
		return fmt.Sprintf("key %08x: %s is too early for this census: begin another one", e.Key, e.Op)
	}
	return fmt.Sprintf("key %08x: %s is too early: wait %v", e.Key, e.Op, wait)
}

// Unwrap returns ErrTooEarly.
func (e *WaitError) Unwrap() error { return ErrTooEarly }
