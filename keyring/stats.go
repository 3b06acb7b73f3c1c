package keyring

import (
	"sync/atomic"
	"time"
)

// Stats are what a Keyring has done since it was opened, and how it is. Counters
// only grow.
type Stats struct {
	Revision  uint64        // of the record; 0 when closed
	RecordAge time.Duration // since the record was last read
	Warm      int           // keys that are unwrapped

	StoreReads, StoreWrites uint64 // calls
	StoreErrors             uint64 // of them that failed, conflicts left out
	StoreAbandoned          uint64 // of them that were left when their time was up
	StoreHanging            int    // of those that still go on

	Refreshes     uint64 // looks at the record and the keys in use, in the background
	RefreshErrors uint64 // that failed and were tried again
	Expired       uint64 // keys wiped because nobody confirmed them for MaxStale
	Refused       uint64 // keys wiped because the KMS refused them, or lied

	Notices uint64 // hints about changes that OpenOptions.Notifier gave

	KEKs []KEKStats // in order of preference
}

// KEKStats are the calls to one KMS.
type KEKStats struct {
	ID             string
	Wraps, Unwraps uint64 // asked for
	Errors         uint64 // that failed
	WrongAnswers   uint64 // keys that were not the ones asked for: look into it
	Abandoned      uint64 // calls that were left when their time was up
	Hanging        int    // of those that still go on
	Open           bool   // the circuit: calls are held back but for probes
	Opened         uint64 // how often it has opened
	LastError      string // while calls fail
}

type counts struct {
	reads, writes, storeErrors atomic.Uint64
	refreshes, refreshErrors   atomic.Uint64
	expired, refused           atomic.Uint64
	notices                    atomic.Uint64
}

// Stats returns the counters of the ring. It may be called at any time.
func (r *Keyring) Stats() Stats {
	c := r.core()
	st := Stats{
		RecordAge:      c.recordAge(),
		StoreReads:     c.counts.reads.Load(),
		StoreWrites:    c.counts.writes.Load(),
		StoreErrors:    c.counts.storeErrors.Load(),
		StoreAbandoned: uint64(c.gate.left.Load()),
		StoreHanging:   int(c.gate.hanging.Load()),
		Refreshes:      c.counts.refreshes.Load(),
		RefreshErrors:  c.counts.refreshErrors.Load(),
		Expired:        c.counts.expired.Load(),
		Refused:        c.counts.refused.Load(),
		Notices:        c.counts.notices.Load(),
	}
	if s := r.live.Load(); s != nil {
		st.Revision = s.record.Revision
		for _, e := range s.byID {
			if e.cell != nil && e.cell.warm() {
				st.Warm++
			}
		}
	}
	for _, e := range *c.keks.Load() {
		k := KEKStats{
			ID: e.id, Wraps: e.wraps.Load(), Unwraps: e.unwraps.Load(), Errors: e.errors.Load(), WrongAnswers: e.wrong.Load(),
			Abandoned: uint64(e.gate.left.Load()), Hanging: int(e.gate.hanging.Load()),
		}
		var last error
		if k.Open, k.Opened, last = e.breaker.state(); last != nil {
			k.LastError = last.Error()
		}
		st.KEKs = append(st.KEKs, k)
	}
	return st
}
