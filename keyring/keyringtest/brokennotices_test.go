package keyringtest_test

import (
	"context"
	"errors"
	"runtime"

	"github.com/structseal/structseal/keyring"
)

// mute is a store that tells only what it lets through, and early what early says.
type mute struct {
	*faulty
	lets  func(keyring.Notice) bool
	never bool // doesn't end
}

func (m mute) Listen(ctx context.Context, name string, notice func(keyring.Notice)) error {
	err := m.faulty.Listen(ctx, name, func(n keyring.Notice) {
		if m.lets(n) {
			notice(n)
		}
	})
	if m.never {
		select {}
	}
	return err
}

func lets(lets func(keyring.Notice) bool) func(*memory) keyring.Store {
	return func(m *memory) keyring.Store { return mute{faulty: &faulty{memory: m}, lets: lets} }
}

// hasty is a store that tells of a change before it is there.
type hasty struct {
	mute
	tell map[string]func(keyring.Notice)
}

func (h hasty) Listen(ctx context.Context, name string, notice func(keyring.Notice)) error {
	h.faulty.mu.Lock()
	h.tell[name] = notice
	h.faulty.mu.Unlock()
	return h.mute.Listen(ctx, name, notice)
}

func (h hasty) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	if have, err := h.faulty.Load(ctx, name); err == nil && old == have.Revision && old != 0 {
		h.early(name, keyring.Notice{})
	}
	return h.faulty.CompareAndSwap(ctx, name, old, next)
}

func (h hasty) early(name string, n keyring.Notice) {
	h.faulty.mu.Lock()
	tell := h.tell[name]
	h.faulty.mu.Unlock()
	if tell != nil {
		tell(n)
	}
	runtime.Gosched()
}

func missed(n keyring.Notice) bool    { return n.Missed }
func ofRing(n keyring.Notice) bool    { return n.Subject == keyring.SubjectHash{} }
func anything(keyring.Notice) bool    { return true }
func butMissed(n keyring.Notice) bool { return !n.Missed }

var brokenNotices = []fault{
	{"never notifies", "Notices", lets(missed)},
	{"notifies of rings only", "Notices", lets(ofRing)},
	{"doesn't say that it listens", "Notices", lets(butMissed)},
	{"notifies before the commit", "Notices", func() func(*memory) keyring.Store {
		tell := make(map[string]func(keyring.Notice))
		return func(m *memory) keyring.Store {
			return hasty{mute{faulty: &faulty{memory: m}, lets: missed}, tell}
		}
	}()},
	{"listens for ever", "Notices", func(m *memory) keyring.Store {
		return mute{faulty: &faulty{memory: m}, lets: anything, never: true}
	}},
	{"stops listening", "Notices", func(m *memory) keyring.Store { return stops{&faulty{memory: m}} }},
}

type stops struct{ *faulty }

func (stops) Listen(_ context.Context, _ string, notice func(keyring.Notice)) error {
	notice(keyring.Notice{Missed: true})
	return errors.New("connection reset")
}
