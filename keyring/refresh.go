package keyring

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// Unknown key ids make a ring look into its store: another process may have
// rotated. Ids in ciphertexts are under the control of whoever writes the rows,
// so a ring looks once per interval in the long run. The burst keeps a few
// made-up ids, or a few rotations in a row, from hiding a key that is new.
const (
	unknownInterval = time.Second
	unknownBurst    = 8
)

// Refresh reads the ring's record and takes over what changed, in one step. Keys
// that are unwrapped stay so. On error nothing changes.
//
// Errors: ErrUnavailable; ErrNotFound; ErrFormat, ErrCorrupt, ErrTampered;
// ErrPinMismatch for another MAC key; ErrRollback for an older record than this
// process has seen; ErrClosed; ctx's own.
func (r *Keyring) Refresh(ctx context.Context) error {
	return ringError(r.name, r.refresh(ctx))
}

func (r *Keyring) refresh(ctx context.Context) error {
	rec, data, err := r.read(ctx)
	if err != nil {
		return err
	}
	_, err = r.adopt(rec, data)
	return err
}

// read loads the ring's record and verifies all of it. What it returns may be used.
func (r *Keyring) read(ctx context.Context) (rec *record, data []byte, err error) {
	defer func() { r.tellRead(err) }()
	c := r.core()
	// What was live before the store was asked is what it must not fall behind.
	floor := r.live.Load()
	if floor == nil {
		return nil, nil, ErrClosed
	}
	asked := time.Now()
	rec, data, err = r.readAbove(ctx, floor)
	if err == nil && rec.Revision > floor.record.Revision {
		rec, data, err = c.anchor.settle(ctx, rec, data, func() (*record, []byte, error) { return r.readAbove(ctx, floor) })
	}
	if err != nil {
		return nil, nil, err
	}
	r.confirmed(asked)
	return rec, data, nil
}

// readAbove is one look at the store.
func (r *Keyring) readAbove(ctx context.Context, floor *snapshot) (*record, []byte, error) {
	c := r.core()
	c.counts.reads.Add(1)
	rec, data, err := load(ctx, guarded{c.store, &c.gate}, r.name, c.timeout)
	if err != nil {
		c.counts.storeErrors.Add(1)
		return nil, nil, err
	}
	if mac := rec.primary(MAC); !r.pin.accepts(mac.Check) {
		return nil, nil, pinMismatch()
	}
	err = r.withMAC(rec.verify)
	if err != nil {
		return nil, nil, err
	}
	have := floor.record.Revision
	switch {
	case rec.Revision < have:
		return nil, nil, fmt.Errorf("%w: the store has revision %d, this process has seen %d; was a backup restored?", ErrRollback, rec.Revision, have)
	case rec.Revision == have && !bytes.Equal(data, floor.data):
		return nil, nil, fmt.Errorf("%w: the store has another revision %d than this process has seen; was a backup restored and rotated?", ErrRollback, have)
	}
	return rec, data, nil
}

// A loader is what load needs of a Store.
type loader interface {
	Load(ctx context.Context, name string) (Record, error)
}

// guarded is a loader whose calls can be left.
type guarded struct {
	store loader
	gate  *gate
}

func (g guarded) Load(ctx context.Context, name string) (Record, error) {
	return guard(ctx, g.gate, func(ctx context.Context) (Record, error) { return g.store.Load(ctx, name) }, func(Record) {})
}

// withMAC runs fn on the MAC key, which Close doesn't wipe meanwhile.
func (r *Keyring) withMAC(fn func(macKey hidden) error) error {
	c := r.core()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	return fn(c.macKey)
}

// load reads and parses a ring's record. It is not authentic yet.
func load(ctx context.Context, store loader, name string, timeout time.Duration) (*record, []byte, error) {
	callCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stored, err := store.Load(callCtx, name)
	if err != nil {
		return nil, nil, storeError(err)
	}
	rec, err := parseRecord(stored.Data)
	if err != nil {
		return nil, nil, err
	}
	if rec.Name != name {
		return nil, nil, fmt.Errorf("%w: the store holds the record of ring %q under this name", ErrCorrupt, rec.Name)
	}
	if rec.Revision != stored.Revision {
		return nil, nil, fmt.Errorf("%w: its record says revision %d, the store says %d", ErrCorrupt, rec.Revision, stored.Revision)
	}
	// The store may go on using its memory.
	return rec, bytes.Clone(stored.Data), nil
}

// adopt makes a verified record the live one, unless a newer one is, and
// returns what is live then.
func (r *Keyring) adopt(rec *record, data []byte) (*snapshot, error) {
	old, next, err := r.adoptLocked(rec, data)
	if err == nil && next != old {
		r.teller().tellChanges(old, next)
	}
	return next, err
}

func (r *Keyring) adoptLocked(rec *record, data []byte) (old, next *snapshot, err error) {
	c := r.core()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	old = r.live.Load()
	if old != nil && rec.Revision <= old.record.Revision {
		return old, old, nil
	}
	next = newSnapshot(rec, data, old)
	r.live.Store(next)
	old.dropUnless(next)
	return old, next, nil
}

// limiter lets one refresh run at a time, unknownBurst at once, and then one per
// interval, for all callers together.
type limiter struct {
	flight flight

	mu    sync.Mutex
	spent int       // of the burst
	since time.Time // monotonic; when spent was last brought up to date
	err   error     // what the last refresh ended with
}

// exhausted reports whether no refresh may run now, and how the last one ended.
func (l *limiter) exhausted() (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.exhaustedLocked(), l.err
}

func (l *limiter) exhaustedLocked() bool {
	if n := time.Since(l.since) / unknownInterval; l.spent > 0 && n > 0 {
		l.spent -= min(l.spent, int(min(n, unknownBurst)))
		l.since = l.since.Add(n * unknownInterval)
	}
	return l.spent >= unknownBurst
}

// take counts a refresh that is about to begin, or says how the last one ended.
func (l *limiter) take() (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.exhaustedLocked() {
		return false, l.err
	}
	l.count()
	return true, nil
}

func (l *limiter) count() {
	if l.spent == 0 {
		l.since = time.Now()
	}
	l.spent++
}

func (l *limiter) result(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// ended counts a refresh and notes how it ended.
func (l *limiter) ended(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count()
	l.err = err
}

// refreshUnknown looks into the store because a key id is unknown, unless that
// was done often enough of late. It returns nil when the live snapshot is as
// fresh as it may be.
func (r *Keyring) refreshUnknown(ctx context.Context) error {
	c := r.core()
	l := &c.unknown
	if exhausted, err := l.exhausted(); exhausted {
		return err
	}
	return l.flight.do(ctx, c.timeout, func(ctx context.Context) error {
		if exhausted, err := l.exhausted(); exhausted {
			return err
		}
		err := r.refresh(ctx)
		if ctx.Err() == context.Canceled {
			return err // everybody left: no answer of the store's
		}
		l.ended(err)
		return err
	})
}
