package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// What a ring tells OpenOptions.Logger. The message is the event's name and
// permanent, as are the names of its attributes: each event has "ring"; those in
// parentheses come besides. "key" is a key id in eight hexadecimal digits, "error"
// the text of an error. No event holds a key or a plaintext.
const (
	// EventKeyPromoted: this process took over a record in which the key is the
	// new primary (key, purpose, revision, from: the state before, empty for a key
	// that is new). Level Info.
	EventKeyPromoted = "keyring.key.promoted"
	// EventKeyState: the same for any other change of a key's state (key, purpose,
	// revision, from, to). Level Info.
	EventKeyState = "keyring.key.state"
	// EventKeyRefused: a KMS refuses the key, or answers with another one; if the
	// key was in use, it is wiped (key, purpose, error). Level Error.
	EventKeyRefused = "keyring.key.refused"
	// EventKeyExpired: a key is wiped that nobody confirmed for MaxStale, because
	// it was idle or store or KMS are away (key, purpose). Level Warn.
	EventKeyExpired = "keyring.key.expired"
	// EventCircuitOpened: a KMS fails so often that it is only asked now and then
	// (kek, error). Level Warn.
	EventCircuitOpened = "keyring.circuit.opened"
	// EventCircuitClosed: it answers again (kek). Level Info.
	EventCircuitClosed = "keyring.circuit.closed"
	// EventRefreshFailed: a look in the background failed, the first after one
	// that didn't (error). Level Warn.
	EventRefreshFailed = "keyring.refresh.failed"
	// EventRefreshRecovered: the first look that didn't fail after some that did
	// (failures: how many), unless all keys have expired meanwhile. Level Info.
	EventRefreshRecovered = "keyring.refresh.recovered"
	// EventNoticesEnded: OpenOptions.Notifier can't hear any more; it is asked again
	// now and then, and TTL bounds what it would have told (error). Level Warn.
	EventNoticesEnded = "keyring.notices.ended"
	// EventTampered: the store holds a record that is damaged, not authentic,
	// another ring's, or older than one that was used; once until it holds a good
	// one (error). Level Error.
	EventTampered = "keyring.record.tampered"
)

// A teller logs a ring's events, in order, in a goroutine of its own: a handler may
// use the ring, and whoever meets the event may be what the handler would wait for.
// The nil *slog.Logger has none.
type teller struct {
	logger *slog.Logger
	ring   string
	queue  *eventQueue
}

func newTeller(ring string, o *OpenOptions) teller { return teller{o.Logger, ring, o.events} }

func (l teller) tell(level slog.Level, event string, attrs ...slog.Attr) {
	if l.logger == nil {
		return
	}
	at := time.Now()
	l.queue.add(func() {
		rec := slog.NewRecord(at, level, event, 0)
		rec.AddAttrs(slog.String("ring", l.ring))
		rec.AddAttrs(attrs...)
		ctx := context.Background()
		if h := l.logger.Handler(); h.Enabled(ctx, level) {
			_ = h.Handle(ctx, rec)
		}
	})
}

// maxEvents bounds what waits for a handler that is slow; more is dropped.
const maxEvents = 1000

// An eventQueue runs functions one after the other. It has a goroutine while there
// are some.
type eventQueue struct {
	mu      sync.Mutex
	waiting []func()
	running bool
}

func (q *eventQueue) add(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= maxEvents {
		return
	}
	q.waiting = append(q.waiting, f)
	if !q.running {
		q.running = true
		go q.run()
	}
}

func (q *eventQueue) run() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.waiting, q.running = nil, false
			q.mu.Unlock()
			return
		}
		f := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		f()
	}
}

func keyAttrs(k *keyRecord, more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("key", fmt.Sprintf("%08x", uint32(k.ID))), slog.String("purpose", k.Purpose.String())}, more...)
}

func errorAttr(err error) slog.Attr { return slog.String("error", err.Error()) }

func (r *Keyring) teller() teller { return newTeller(r.name, &r.core().opts) }

// tellChanges logs which keys have another state in next than in old.
func (l teller) tellChanges(old, next *snapshot) {
	if l.logger == nil || old == nil {
		return
	}
	for i := range next.record.Keys {
		k := &next.record.Keys[i]
		from := ""
		if was := old.byID[uint32(k.ID)]; was != nil {
			if was.State == k.State {
				continue
			}
			from = was.State.String()
		}
		attrs := keyAttrs(k, slog.Uint64("revision", next.record.Revision), slog.String("from", from))
		if k.State == Primary {
			l.tell(slog.LevelInfo, EventKeyPromoted, attrs...)
		} else {
			l.tell(slog.LevelInfo, EventKeyState, append(attrs, slog.String("to", k.State.String()))...)
		}
	}
}

// suspicious reports whether an error of a read says that the record isn't what it
// should be.
func suspicious(err error) bool {
	if errors.Is(err, errAnchor) && !errors.Is(err, ErrRollback) {
		return false // the anchor is damaged, or away
	}
	for _, e := range []error{ErrTampered, ErrRollback, ErrCorrupt, ErrFormat, ErrTooLarge, ErrPinMismatch} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// tellRead logs the first bad record after a good one.
func (r *Keyring) tellRead(err error) {
	c := r.core()
	switch {
	case err == nil:
		c.suspect.Store(false)
	case suspicious(err) && !c.suspect.Swap(true):
		r.teller().tell(slog.LevelError, EventTampered, errorAttr(err))
	}
}
