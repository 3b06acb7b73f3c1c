package keyring

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/structseal/structseal/crypto"
)

// errDropped: the snapshot that led to a cell is no longer the ring's.
var errDropped = errors.New("key was dropped")

// A cell holds one key once it was unwrapped. Snapshots hand it on to their
// successors as long as the key stays usable.
type cell struct {
	key  atomic.Pointer[crypto.Key] // purposes with keys
	root atomic.Pointer[hidden]     // Index
	used atomic.Bool                // since the last look in the background

	flight   flight
	refusals breaker // of the key at the KMS

	mu      sync.Mutex
	dropped bool   // guarded by mu
	spare   uint64 // guarded by mu; messages reserved for the key and not used

	// When the KMS was last asked for the key and gave it; monotonic, guarded by
	// mu. It is when the question was put: the answer may be older than it came.
	confirmed time.Time
}

// A reserver reserves more messages for a compact key, at least n, and returns
// how many.
type reserver func(n uint64) (uint64, error)

// fill keeps what was unwrapped from secret, unless somebody else did or the
// cell was dropped meanwhile.
func (c *cell) fill(k *keyRecord, secret []byte, asked time.Time, reserve reserver) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped {
		return errDropped
	}
	c.confirmed = asked
	if !k.Purpose.hasKeys() {
		if c.root.Load() == nil {
			root := hide(append([]byte(nil), secret...))
			c.root.Store(&root)
		}
		return nil
	}
	if c.key.Load() != nil {
		return nil
	}
	suite, err := crypto.ParseSuite(k.Suite)
	if err != nil {
		return err
	}
	key, err := crypto.NewKey(suite, uint32(k.ID), secret)
	if err != nil {
		return err
	}
	// What an earlier object of the key has reserved and not used is this one's.
	spare := c.spare
	c.spare = 0
	key.Meter(func(used uint64) (uint64, error) {
		if used <= spare {
			return spare, nil
		}
		n, err := reserve(used - spare)
		if err != nil {
			return 0, err
		}
		spare += n
		return spare, nil
	})
	c.key.Store(key)
	return nil
}

// warm reports whether the key is here.
func (c *cell) warm() bool { return c.key.Load() != nil || c.root.Load() != nil }

// drop wipes the key, now and should a call under way still bring it.
func (c *cell) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = true
	c.wipe()
}

// evict wipes the key; the cell can be filled again.
func (c *cell) evict() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
}

func (c *cell) wipe() {
	if key := c.key.Swap(nil); key != nil {
		c.spare += key.Settle()
		key.Wipe()
	}
	if root := c.root.Swap(nil); root != nil {
		clear((*root)())
	}
}

// confirm notes that the KMS, asked at start, gave the same key again.
func (c *cell) confirm(start time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirmed = start
}

// deadline is until when the key may be used.
func (c *cell) deadline(recordAt time.Time, limit time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.until(recordAt, limit)
}

func (c *cell) until(recordAt time.Time, limit time.Duration) time.Time {
	if c.confirmed.Before(recordAt) {
		return c.confirmed.Add(limit)
	}
	return recordAt.Add(limit)
}

// expire wipes the key if its time is up, and returns when it will be; zero if
// there is none.
func (c *cell) expire(now, recordAt time.Time, limit time.Duration) (at time.Time, expired bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.warm() {
		return time.Time{}, false
	}
	if at := c.until(recordAt, limit); at.After(now) {
		return at, false
	}
	c.wipe()
	return time.Time{}, true
}

// useRoot runs fn on the root's bytes, which drop doesn't wipe meanwhile. It
// reports whether there were any.
func (c *cell) useRoot(fn func(root []byte)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	root := c.root.Load()
	if root != nil {
		fn((*root)())
	}
	return root != nil
}
