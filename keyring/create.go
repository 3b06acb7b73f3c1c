package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// CreateOptions are optional: nil and the zero value are the defaults.
type CreateOptions struct {
	// Suite of the data key: crypto.Default (the default) or crypto.Compact.
	Suite crypto.Suite

	// Actor stands in the ring's history. At most 100 printable ASCII characters.
	Actor string

	OpenOptions
}

// Create makes a ring with one fresh random key of each purpose, stores it, and
// returns it open, together with the pin that [Open] asks for. Every key is
// wrapped on its own, unwrapped again and compared before anything is stored. It
// never overwrites.
//
// Errors: ErrName; ErrExists; ErrSuite; ErrRewrap; ErrKeyCheck; ErrUnavailable;
// ErrRollback for a ring that OpenOptions.Anchor knows; the provider's; ctx's own.
// After ErrUnavailable from the store the ring may exist nevertheless. If the anchor
// fails it does, and the pin is returned with the error: open it.
func Create(ctx context.Context, name string, store Store, kms kmsprovider.Provider, opts *CreateOptions) (*Keyring, Pin, error) {
	suite := crypto.Default
	if opts != nil && opts.Suite != 0 {
		suite = opts.Suite
	}
	if !Data.fits(suite.String()) {
		return nil, Pin{}, ringError(name, fmt.Errorf("%w: %s for data keys; use crypto.Default or crypto.Compact", ErrSuite, suite))
	}
	r, err := create(ctx, name, store, kms, opts, []keyMaterial{
		newMaterial(Data, suite.String()),
		newMaterial(Deterministic, purposes[Deterministic].suites[0]),
		newMaterial(SubjectWrap, purposes[SubjectWrap].suites[0]),
		newMaterial(HashSubjects, suiteHMAC),
		newMaterial(Index, suiteHMAC),
		newMaterial(MAC, suiteHMAC),
	})
	return created(name, r, err)
}

// created says what create has made. With an error the pin of a ring that exists
// nevertheless must not be lost.
func created(name string, r *Keyring, err error) (*Keyring, Pin, error) {
	switch {
	case r == nil:
		return nil, Pin{}, ringError(name, err)
	case err != nil:
		r.Close()
		return nil, r.pin, ringError(name, err)
	}
	return r, r.pin, nil
}

// keyMaterial is a key that is about to join a ring.
type keyMaterial struct {
	id      uint32 // 0: any
	purpose Purpose
	suite   string
	state   State
	secret  hidden
}

// newMaterial returns a fresh random primary.
func newMaterial(p Purpose, suite string) keyMaterial {
	secret := make([]byte, keySize(suite))
	rand.Read(secret)
	return keyMaterial{purpose: p, suite: suite, state: Primary, secret: hide(secret)}
}

// create makes a ring of the keys given, which it wipes. It may return an open ring
// and an error: the ring exists.
func create(ctx context.Context, name string, store Store, kms kmsprovider.Provider, opts *CreateOptions, material []keyMaterial) (*Keyring, error) {
	defer func() {
		for _, m := range material {
			clear(m.secret())
		}
	}()
	if err := validName(name); err != nil {
		return nil, err
	}
	if store == nil {
		return nil, errNoStore
	}
	var open *OpenOptions
	if opts != nil {
		open = &opts.OpenOptions
	}
	filled := open.filled()
	if err := checkTombstones(store, &filled); err != nil {
		return nil, err
	}
	timeout := filled.CallTimeout
	keks, err := newKEKs(name, kms, &filled)
	if err != nil {
		return nil, err
	}
	exists := func() error {
		return fmt.Errorf("%w: open it, or choose another name", ErrExists)
	}
	// Only a courtesy to the KMS; the compare-and-swap below decides.
	if _, _, err := load(ctx, store, name, timeout); err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFormat) || errors.Is(err, ErrTooLarge) {
		return nil, exists()
	} else if !errors.Is(err, ErrNotFound) {
		return nil, err
	}

	anchor := newAnchorage(&filled)
	if err := anchor.vacant(ctx, name); err != nil {
		return nil, err
	}
	d := &draft{body: body{Format: recordFormat, Name: name, Revision: 1, Clock: 1, KEKs: keks.ids(), History: history{Entries: []historyEntry{}}}}
	if opts != nil {
		d.actor = opts.Actor
	}
	if err := checkActor(d.actor); err != nil {
		return nil, err
	}
	var macKey hidden
	for i := range material {
		m := &material[i]
		if m.id == 0 {
			m.id = newID(&d.body, material)
		}
		k, err := keks.newKey(ctx, name, m, d.KEKs)
		if err != nil {
			return nil, err
		}
		d.append(k, OpCreate)
		if m.purpose == MAC {
			macKey = m.secret
		}
	}
	rec, data, err := d.sign(macKey)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	callCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = store.CompareAndSwap(callCtx, name, 0, Record{Revision: rec.Revision, Data: data})
	if errors.Is(err, ErrConflict) {
		// A store that retries by itself may report a conflict with its own
		// first attempt; the pin of that ring must not be lost.
		if _, stored, loadErr := load(ctx, store, name, timeout); loadErr != nil || !bytes.Equal(stored, data) {
			return nil, exists()
		}
		err = nil
	}
	if err != nil {
		return nil, storeError(err)
	}
	r := newKeyring(rec, data, store, keks, append([]byte(nil), macKey()...), filled, asked)
	for i := range material {
		r.seed(&material[i])
	}
	// With an error the ring is there, and its pin must not be lost.
	return r, anchor.raise(ctx, name, rec.Revision, data)
}

// newKey wraps the key by those of the ring's KEKs that s has, and describes it for the record.
func (s keks) newKey(ctx context.Context, name string, m *keyMaterial, by []string) (keyRecord, error) {
	t := now()
	k := keyRecord{ID: keyID(m.id), Purpose: m.purpose, Suite: m.suite, State: m.state, Created: t, Changed: t}
	var err error
	if k.Check, err = crypto.Check(checkLabel(m.purpose, m.suite), m.secret()); err != nil {
		return k, keyError(k.ID, err)
	}
	if err := checkSecret(&k, m.secret()); err != nil {
		return k, keyError(k.ID, err)
	}
	mine := s.of(by)
	if len(mine) == 0 {
		return k, fmt.Errorf("%w: %v", ErrWrongKEK, by)
	}
	if k.Wraps, err = mine.wrap(ctx, name, &k, m.secret()); err != nil {
		return k, keyError(k.ID, err)
	}
	return k, nil
}

// seed fills the cell of a key that is durable and was compared with what the
// KMS holds: its first use needs no call. A key that can't be used here (AES-SIV
// in FIPS-only mode) says so at its first use.
func (r *Keyring) seed(m *keyMaterial) {
	if e := r.live.Load().lookup(m.id); e != nil && e.cell != nil {
		if e.cell.fill(e.keyRecord, m.secret(), time.Now(), r.reserver(e.keyRecord)) == nil {
			r.warmed(e.cell)
		}
	}
}

// newID returns a random id that nothing of the ring ever had.
func newID(ring *body, others []keyMaterial) uint32 {
next:
	for {
		var b [4]byte
		rand.Read(b[:])
		id := binary.BigEndian.Uint32(b[:])
		if id == 0 || ring.find(id) != nil {
			continue
		}
		for _, m := range others {
			if m.id == id {
				continue next
			}
		}
		return id
	}
}
