package stores

import (
	"errors"
	"fmt"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

// order is a record under the ring's own keys, member one under its subject's.
type order struct {
	_    structseal.Record `seal:"order"`
	ID   string            `seal:"id,bind"`
	Item string            `seal:"item"`
}

type member struct {
	_    structseal.Record `seal:"member"`
	ID   string            `seal:"id,bind,subject=member"`
	Name string            `seal:"name"`
}

func newOrder(id string) order   { return order{ID: id, Item: "item of " + id} }
func newMember(id string) member { return member{ID: id, Name: "name of " + id} }

func subjectOf(id string) keyring.Subject { return keyring.Subject{Kind: "member", ID: id} }

// A world is a ring in use: what was sealed with it must stay readable, whatever
// dies.
type world struct {
	*shared
	op     *operation
	orders []order
	people []member
	read   *int // ciphertexts, over all worlds of a test

	// What a round begins with.
	revision uint64
	primary  uint32
	keys     int
	late     bool // a server may still do what a killed child sent it
	rounds   int
	backup   map[keyring.SubjectHash]keyring.Record
	doomed   []member        // of the subject that is being forgotten
	ids      map[string]bool // keys of the doomed subject
	target   kmsprovider.Provider
}

const subjects = 8

// newWorld makes a ring with two data keys, rows under both, and subjects, every
// other one with two keys.
func newWorld(t *testing.T, s site, op *operation, read *int) *world {
	t.Helper()
	w := &world{shared: share(t, s), op: op, read: read}
	ring := w.open(t, "new")
	for n := range 8 {
		if n == 4 {
			if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
				t.Fatal(err)
			}
		}
		w.orders = append(w.orders, sealed(t, ring, newOrder(fmt.Sprint("o", n))))
	}
	for n := range subjects {
		id := fmt.Sprint("p", n)
		w.people = append(w.people, w.newSubject(t, ring, id, n%2)...)
	}
	return w
}

// newSubject seals for a subject with so many further keys, under each.
func (w *world) newSubject(t *testing.T, ring *keyring.Keyring, id string, further int) []member {
	t.Helper()
	rows := []member{sealed(t, ring, newMember(id))}
	for range further {
		if _, err := ring.RotateSubject(t.Context(), subjectOf(id)); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, sealed(t, ring, newMember(id)))
	}
	return rows
}

func sealed[T any](t *testing.T, ring *keyring.Keyring, v T) T {
	t.Helper()
	row, err := structseal.Encrypt(t.Context(), ring, v)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// open opens the ring as the operation's process has it.
func (w *world) open(t *testing.T, when string) *keyring.Keyring {
	t.Helper()
	ring, err := w.op.open(t.Context(), w.shared)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring
}

// under opens the ring with one key-encryption key alone.
func (w *world) under(t *testing.T, kms kmsprovider.Provider) (*keyring.Keyring, error) {
	t.Helper()
	ring, err := keyring.Open(t.Context(), w.name, w.stores.ring, kms, w.pin, &keyring.OpenOptions{Tombstones: w.stores.outside})
	if err == nil {
		t.Cleanup(func() { ring.Close() })
	}
	return ring, err
}

// readable opens everything that was sealed, and every key.
func (w *world) readable(t *testing.T, ring *keyring.Keyring) error {
	t.Helper()
	for _, k := range ring.Keys() {
		if k.Purpose <= keyring.SubjectWrap {
			// AES-SIV is unwrapped and then refused in FIPS-only mode.
			if _, err := ring.Key(t.Context(), k.Purpose, k.ID); err != nil && !errors.Is(err, crypto.ErrNotApproved) {
				return err
			}
		}
	}
	return errors.Join(
		opens(t, ring, w.orders, func(o order) bool { return o == newOrder(o.ID) }, w.read),
		opens(t, ring, w.people, func(p member) bool { return p == newMember(p.ID) }, w.read))
}

func opens[T any](t *testing.T, ring *keyring.Keyring, rows []T, right func(T) bool, read *int) error {
	t.Helper()
	*read += len(rows)
	plain, err := structseal.DecryptAll(t.Context(), ring, rows)
	if err != nil {
		return fmt.Errorf("unreadable: %w", err)
	}
	for _, p := range plain {
		if !right(p) {
			return fmt.Errorf("opened to %v", p)
		}
	}
	return nil
}

// readableUnder is readable for a process that has one key-encryption key alone,
// which must wrap all keys.
func (w *world) readableUnder(t *testing.T, kms kmsprovider.Provider) error {
	t.Helper()
	ring, err := w.under(t, kms)
	if err != nil {
		return err
	}
	for _, k := range ring.Keys() {
		if !wraps(k, kms) {
			return fmt.Errorf("key %08x %s is not wrapped by %s", k.ID, k.Purpose, kms.ID())
		}
	}
	return w.readable(t, ring)
}

func wraps(k keyring.KeyInfo, kms kmsprovider.Provider) bool {
	for _, id := range k.KEKs {
		if id == kms.ID() {
			return true
		}
	}
	return false
}

// primaries finds one primary for each purpose.
func primaries(ring *keyring.Keyring) error {
	n := make(map[keyring.Purpose]int)
	for _, k := range ring.Keys() {
		if k.State == keyring.Primary {
			n[k.Purpose]++
		}
	}
	for p := keyring.Data; p <= keyring.MAC; p++ {
		if n[p] != 1 {
			return fmt.Errorf("%d primaries of %s", n[p], p)
		}
	}
	return nil
}
