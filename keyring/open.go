package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

// Open opens a ring that [Create] made. It never creates one. pin is what Create
// returned: without it, whoever can write the store and call the KMS's wrap could
// put a ring of his own there, so the zero Pin is refused. [TrustOnFirstUse] is
// the visible way around.
//
// Open reads the store once and unwraps the MAC key; every other key is
// unwrapped when it is first used.
//
// Errors: ErrName; ErrNoPin; ErrNotFound; ErrUnavailable; ErrFormat, ErrCorrupt,
// ErrTampered; ErrPinMismatch; ErrWrongKEK; ErrKeyCheck; ErrRollback by
// OpenOptions.Anchor, which may also be ErrUnavailable, ErrInsecure; the provider's;
// ctx's own.
func Open(ctx context.Context, name string, store Store, kms kmsprovider.Provider, pin Pin, opts *OpenOptions) (*Keyring, error) {
	filled := opts.filled()
	r, err := open(ctx, name, store, kms, pin, filled)
	if suspicious(err) {
		newTeller(name, &filled).tell(slog.LevelError, EventTampered, errorAttr(err))
	}
	return r, ringError(name, err)
}

func open(ctx context.Context, name string, store Store, kms kmsprovider.Provider, pin Pin, opts OpenOptions) (*Keyring, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	if pin.IsZero() {
		return nil, fmt.Errorf("%w: give Open the pin that Create returned (%s..., keep it in the configuration), or keyring.TrustOnFirstUse for development", ErrNoPin, PinPrefix)
	}
	if store == nil {
		return nil, errNoStore
	}
	if err := checkTombstones(store, &opts); err != nil {
		return nil, err
	}
	keks, err := newKEKs(name, kms, &opts)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	rec, data, err := load(ctx, store, name, opts.CallTimeout)
	if err != nil {
		return nil, err
	}
	// The pin comes before the KMS: a forged ring doesn't even cost a call.
	mac := rec.primary(MAC)
	if !pin.accepts(mac.Check) {
		return nil, pinMismatch()
	}
	macKey, err := keks.unwrap(ctx, name, mac)
	if err != nil {
		return nil, keyError(mac.ID, err)
	}
	if err := rec.verify(hide(macKey)); err != nil {
		clear(macKey)
		return nil, err
	}
	rec, data, err = newAnchorage(&opts).settle(ctx, rec, data, func() (*record, []byte, error) {
		rec, data, err := load(ctx, store, name, opts.CallTimeout)
		if err != nil {
			return nil, nil, err
		}
		if !pin.accepts(rec.primary(MAC).Check) || rec.primary(MAC).Check != mac.Check {
			return nil, nil, pinMismatch()
		}
		return rec, data, rec.verify(hide(macKey))
	})
	if err != nil {
		clear(macKey)
		return nil, err
	}
	return newKeyring(rec, data, store, keks, macKey, opts, asked), nil
}

// newKeyring makes the open ring of a verified record. It keeps macKey.
func newKeyring(rec *record, data []byte, store Store, keks keks, macKey []byte, opts OpenOptions, asked time.Time) *Keyring {
	c := &core{store: store, timeout: opts.CallTimeout, opts: opts, macKey: hide(macKey), anchor: newAnchorage(&opts)}
	c.keks.Store(&keks)
	c.bg.ctx, c.bg.stop = context.WithCancel(context.Background())
	c.bg.recordAt = asked
	c.counts.reads.Add(1)
	r := &Keyring{
		name: rec.Name,
		pin:  Pin{check: rec.primary(MAC).Check},
		core: func() *core { return c },
	}
	c.subjects = newSubjects(r, store, opts)
	r.live.Store(newSnapshot(rec, data, nil))
	if opts.Notifier != nil {
		go r.listen()
	}
	return r
}

var errNoStore = errors.New("no store given; see FileStore")

func pinMismatch() error {
	return fmt.Errorf("%w: somebody may have put another ring in its place; find out why before you accept another pin", ErrPinMismatch)
}
