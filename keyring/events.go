package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// EventTampered: the store holds a record that is damaged, not authentic,
	// another ring's, or older than one that was used; once until it holds a good
	// one (error). Level Error.
	EventTampered = "keyring.record.tampered"
)

// A teller logs a ring's events. The nil *slog.Logger has none. Never call it with
// a lock held: a handler may use the ring.
type teller struct {
	logger *slog.Logger
	ring   string
}

func (l teller) tell(level slog.Level, event string, attrs ...slog.Attr) {
	if l.logger == nil {
		return
	}
	l.logger.LogAttrs(context.Background(), level, event, append([]slog.Attr{slog.String("ring", l.ring)}, attrs...)...)
}

func keyAttrs(k *keyRecord, more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("key", fmt.Sprintf("%08x", uint32(k.ID))), slog.String("purpose", k.Purpose.String())}, more...)
}

func errorAttr(err error) slog.Attr { return slog.String("error", err.Error()) }

func (r *Keyring) teller() teller { return teller{r.core().opts.Logger, r.name} }

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
