package keyring

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Census counts what names the keys of a ring: rows, messages, files, whatever
// holds ciphertexts. It is what may justify destroying a key.
//
//	census, err := ring.BeginCensus(ctx)
//	for each ciphertext {
//		census.Count(id, 1)          // crypto.KeyID
//	}
//	census.Finish()                  // only if every place was looked at
//	err = ring.Destroy(ctx, old, census, nil)
//
// It is worth as much as what was looked at: backups, replicas, exports and queues
// hold ciphertexts, too. A Census is safe for concurrent use and belongs to the
// process that began it.
type Census struct {
	ring string
	keys map[uint32]censusKey

	mu       sync.Mutex
	counts   map[uint32]uint64
	finished bool
	subjects bool // CountSubjects has counted all of them
}

// censusKey is what was known of a key when the census began.
type censusKey struct {
	state    State
	revision uint64        // in which the state was set
	held     time.Duration // in the state, at least
	retired  time.Duration // no longer a primary, at least
}

// BeginCensus reads the ring's record and begins a census: from here on count.
// What was written earlier may be older than the last write with a key that was
// demoted: the census remembers for how long each key has not been a primary, on
// monotonic clocks.
//
// Errors: those of Refresh.
func (r *Keyring) BeginCensus(ctx context.Context) (*Census, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, ringError(r.name, err)
	}
	s := r.live.Load()
	if s == nil {
		return nil, ringError(r.name, ErrClosed)
	}
	c := &Census{ring: r.name, keys: make(map[uint32]censusKey), counts: make(map[uint32]uint64)}
	for id, e := range s.byID {
		c.keys[id] = censusKey{e.State, e.Revision, s.held(e), s.retired(e)}
	}
	return c, nil
}

// Count adds n ciphertexts that name the key.
func (c *Census) Count(id uint32, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[id] += n
}

// Counted returns how many ciphertexts name the key.
func (c *Census) Counted(id uint32) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[id]
}

// Finish says that everything was looked at. A census that isn't finished proves
// nothing.
func (c *Census) Finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = true
}

// unused reports whether the census proves that nothing names the key, and what
// was known of the key when it began.
func (c *Census) unused(ring string, purpose Purpose, id uint32) (censusKey, error) {
	if c == nil {
		return censusKey{}, fmt.Errorf("%w: none was given; see BeginCensus", ErrCensus)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.keys[id]
	switch n := c.counts[id]; {
	case c.ring != ring:
		return k, fmt.Errorf("%w: it is of ring %.120q", ErrCensus, c.ring)
	case n > 0:
		return k, fmt.Errorf("%w: %d ciphertexts name it; re-encrypt them first", ErrInUse, n)
	case purpose == SubjectWrap && !c.subjects:
		return k, fmt.Errorf("%w: the key wraps subjects, and they were not counted; see CountSubjects", ErrCensus)
	case !c.finished:
		return k, fmt.Errorf("%w: it was not finished", ErrCensus)
	case !ok:
		return k, fmt.Errorf("%w: the key was not there when it began", ErrCensus)
	}
	return k, nil
}
