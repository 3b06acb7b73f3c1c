//go:build cgo

package kms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

// order is a record under the ring's data keys, account one with a deterministic
// field, member one under its subject's keys.
type order struct {
	_    structseal.Record `seal:"order"`
	ID   string            `seal:"id,bind"`
	Item string            `seal:"item"`
}

type account struct {
	_   structseal.Record `seal:"account"`
	ID  string            `seal:"id,bind"`
	SSN string            `seal:"ssn,det=person"`
}

type member struct {
	_    structseal.Record `seal:"member"`
	ID   string            `seal:"id,bind,subject=member"`
	Name string            `seal:"name"`
}

func newOrder(id string) order     { return order{ID: id, Item: "item of " + id} }
func newAccount(id string) account { return account{ID: id, SSN: "ssn of " + id} }
func newMember(id string) member   { return member{ID: id, Name: "name of " + id} }

// A world is a ring in use, and what was sealed with it: that must stay readable,
// whoever dies.
type world struct {
	store    keyring.SubjectStore
	pin      keyring.Pin
	orders   []order
	accounts []account
	members  []member
	index    []byte // a blind index
	disabled uint32 // a data key
	hidden   order  // under it
	read     int    // ciphertexts that were opened
}

const ringName = "customers"

// newWorld makes a ring of the first of kms with the others also, with keys of every
// purpose, suite and state that has wraps, and rows under each.
func newWorld(t *testing.T, store keyring.SubjectStore, kms ...kmsprovider.Provider) *world {
	t.Helper()
	ctx, w := t.Context(), &world{store: store}
	ring, pin, err := keyring.Create(ctx, ringName, store, kms[0], &keyring.CreateOptions{OpenOptions: keyring.OpenOptions{Also: kms[1:]}})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	w.pin = pin
	w.write(t, ring)
	rotate := func(p keyring.Purpose, suite crypto.Suite, now bool) uint32 {
		id, err := ring.Rotate(ctx, p, &keyring.RotateOptions{Suite: suite, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	rotate(keyring.Data, crypto.Compact, true)
	rotate(keyring.Deterministic, 0, true)
	rotate(keyring.SubjectWrap, 0, true)
	w.write(t, ring)
	w.disabled = rotate(keyring.Data, crypto.Default, true)
	w.hidden = sealed(t, ring, newOrder("hidden"))
	rotate(keyring.Data, 0, true)
	if err := ring.Disable(ctx, w.disabled, nil); err != nil {
		t.Fatal(err)
	}
	w.write(t, ring)
	rotate(keyring.Data, 0, false) // pending
	if w.index, err = blindIndex(ctx, ring); err != nil {
		t.Fatal(err)
	}
	return w
}

// write adds rows under the primaries, of subjects old and new.
func (w *world) write(t *testing.T, ring *keyring.Keyring) {
	t.Helper()
	n := len(w.orders)
	w.orders = append(w.orders, sealed(t, ring, newOrder(fmt.Sprint("o", n))), sealed(t, ring, newOrder(fmt.Sprint("o", n+1))))
	w.accounts = append(w.accounts, sealed(t, ring, newAccount(fmt.Sprint("a", n))))
	w.members = append(w.members, sealed(t, ring, newMember("m0")), sealed(t, ring, newMember(fmt.Sprint("m", n+1))))
}

func sealed[T any](t *testing.T, ring *keyring.Keyring, v T) T {
	t.Helper()
	row, err := structseal.Encrypt(t.Context(), ring, v)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func blindIndex(ctx context.Context, ring *keyring.Keyring) ([]byte, error) {
	key, err := ring.BlindIndexKey(ctx, "member", "name", "exact")
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return key.Append(nil, []byte("name"), 64)
}

// open opens the ring as a program that has just started.
func (w *world) open(t *testing.T, opts *keyring.OpenOptions, kms ...kmsprovider.Provider) (*keyring.Keyring, error) {
	t.Helper()
	var o keyring.OpenOptions
	if opts != nil {
		o = *opts
	}
	o.Also = kms[1:]
	return keyring.Open(t.Context(), ringName, w.store, kms[0], w.pin, &o)
}

// readable opens every row, every key that is handed out and the blind index.
func (w *world) readable(ctx context.Context, ring *keyring.Keyring) error {
	for _, k := range ring.Keys() {
		if k.Purpose <= keyring.SubjectWrap && k.State != keyring.Disabled {
			// AES-SIV is unwrapped and then refused in FIPS-only mode.
			if _, err := ring.Key(ctx, k.Purpose, k.ID); err != nil && !errors.Is(err, crypto.ErrNotApproved) {
				return fmt.Errorf("%s: %w", k.Purpose, err)
			}
		}
	}
	index, err := blindIndex(ctx, ring)
	if err == nil && !bytes.Equal(index, w.index) {
		err = errors.New("another blind index")
	}
	return errors.Join(err,
		opens(ctx, ring, w.orders, newOrder, func(o order) string { return o.ID }, &w.read),
		opens(ctx, ring, w.accounts, newAccount, func(a account) string { return a.ID }, &w.read),
		opens(ctx, ring, w.members, newMember, func(m member) string { return m.ID }, &w.read))
}

func opens[T comparable](ctx context.Context, ring *keyring.Keyring, rows []T, want func(id string) T, id func(T) string, read *int) error {
	plain, err := structseal.DecryptAll(ctx, ring, rows)
	if err != nil {
		return fmt.Errorf("unreadable: %w", err)
	}
	for i, p := range plain {
		if p != want(id(rows[i])) {
			return fmt.Errorf("opened to %v", p)
		}
	}
	*read += len(rows)
	return nil
}

// readableWith is readable for a program that starts with these providers.
func (w *world) readableWith(t *testing.T, kms ...kmsprovider.Provider) error {
	t.Helper()
	ring, err := w.open(t, nil, kms...)
	if err != nil {
		return err
	}
	defer ring.Close()
	return w.readable(t.Context(), ring)
}

// wrapped says if every key of the ring is wrapped by just these.
func wrapped(ring *keyring.Keyring, kms ...kmsprovider.Provider) error {
	var want []string
	for _, k := range kms {
		want = append(want, k.ID())
	}
	slices.Sort(want)
	for _, k := range ring.Keys() {
		if got := slices.Sorted(slices.Values(k.KEKs)); !slices.Equal(got, want) {
			return fmt.Errorf("key %08x %s %s is wrapped by %v, want %v", k.ID, k.Purpose, k.State, got, want)
		}
	}
	return nil
}

// moved proves that everything is at one key-encryption key alone: every key is wrapped
// by it and no other, every row opens, and what is disabled opens when it is enabled.
func (w *world) moved(t *testing.T, kms kmsprovider.Provider) error {
	t.Helper()
	ring, err := w.open(t, nil, kms)
	if err != nil {
		return err
	}
	defer ring.Close()
	if err := errors.Join(wrapped(ring, kms), w.readable(t.Context(), ring), ring.Enable(t.Context(), w.disabled, nil)); err != nil {
		return err
	}
	if err := opens(t.Context(), ring, []order{w.hidden}, newOrder, func(o order) string { return o.ID }, &w.read); err != nil {
		return err
	}
	return ring.Disable(t.Context(), w.disabled, nil)
}
