package keyring

import (
	"bytes"
	"context"
	"crypto/fips140"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// fakeKMS is a real provider whose answers a test may change. It remembers every
// secret it was given.
type fakeKMS struct {
	kmsprovider.Provider
	onWrap   func(ctx context.Context, wrapped []byte, err error) ([]byte, error)
	onUnwrap func(ctx context.Context, secret []byte, err error) ([]byte, error)

	wraps, unwraps atomic.Int64

	mu       sync.Mutex
	secrets  [][]byte
	contexts []kmsprovider.Context
}

func newFakeKMS() *fakeKMS { return &fakeKMS{Provider: localkms.NewRandom()} }

func (f *fakeKMS) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	f.wraps.Add(1)
	f.mu.Lock()
	f.secrets = append(f.secrets, bytes.Clone(secret))
	f.contexts = append(f.contexts, kc)
	on := f.onWrap
	f.mu.Unlock()
	wrapped, err := f.Provider.Wrap(ctx, secret, kc)
	if on != nil {
		return on(ctx, wrapped, err)
	}
	return wrapped, err
}

func (f *fakeKMS) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	f.unwraps.Add(1)
	f.mu.Lock()
	on := f.onUnwrap
	f.mu.Unlock()
	secret, err := f.Provider.Unwrap(ctx, wrapped, kc)
	if on != nil {
		return on(ctx, secret, err)
	}
	return secret, err
}

// answer changes what both calls answer, while rings use the provider.
func (f *fakeKMS) answer(on func(ctx context.Context, b []byte, err error) ([]byte, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onWrap, f.onUnwrap = on, on
}

// down lets both calls fail with err, or no longer.
func (f *fakeKMS) down(err error) {
	if err == nil {
		f.answer(nil)
		return
	}
	f.answer(func(context.Context, []byte, error) ([]byte, error) { return nil, err })
}

// fakeStore is a real store whose answers a test may change.
type fakeStore struct {
	Store
	onLoad func(ctx context.Context, r Record, err error) (Record, error)
	// onSwap may call swap, or not, and answers.
	onSwap func(swap func() error) error

	loads, swaps atomic.Int64

	mu sync.Mutex
}

// down lets the store fail with err, or no longer, while rings use it.
func (f *fakeStore) down(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onLoad, f.onSwap = nil, nil
	if err != nil {
		f.onLoad = func(context.Context, Record, error) (Record, error) { return Record{}, err }
		f.onSwap = func(func() error) error { return err }
	}
}

func newFakeStore() *fakeStore { return &fakeStore{Store: NewMemoryStore()} }

func (f *fakeStore) Load(ctx context.Context, name string) (Record, error) {
	f.loads.Add(1)
	f.mu.Lock()
	on := f.onLoad
	f.mu.Unlock()
	r, err := f.Store.Load(ctx, name)
	if on != nil {
		return on(ctx, r, err)
	}
	return r, err
}

func (f *fakeStore) CompareAndSwap(ctx context.Context, name string, old uint64, next Record) error {
	f.swaps.Add(1)
	swap := func() error { return f.Store.CompareAndSwap(ctx, name, old, next) }
	f.mu.Lock()
	on := f.onSwap
	f.mu.Unlock()
	if on != nil {
		return on(swap)
	}
	return swap()
}

// put stores data under name whatever was there.
func (f *fakeStore) put(t testing.TB, name string, r Record) {
	t.Helper()
	m := f.Store.(*MemoryStore)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rings == nil {
		m.rings = make(map[string]Record)
	}
	m.rings[name] = Record{r.Revision, bytes.Clone(r.Data)}
}

func (f *fakeStore) get(t testing.TB, name string) Record {
	t.Helper()
	r, err := f.Store.Load(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// inBubble runs a test on a ring in virtual time. The ring is made outside: in
// FIPS 140 mode randomness needs the real clock, so a bubble can't have any.
func inBubble(t *testing.T, f func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin)) {
	t.Helper()
	store, kms := newFakeStore(), newFakeKMS()
	_, pin := mustCreate(t, "app", store, kms)
	synctest.Test(t, func(t *testing.T) { f(t, store, kms, pin) })
}

// inRandomBubble is inBubble for tests that make keys in it.
func inRandomBubble(t *testing.T, f func(t *testing.T, store *fakeStore, kms *fakeKMS, pin Pin)) {
	t.Helper()
	if fips140.Enabled() {
		t.Skip("no randomness in virtual time in FIPS 140 mode")
	}
	inBubble(t, f)
}

// must returns v if err is nil.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func mustCreate(t testing.TB, name string, s Store, k kmsprovider.Provider) (*Keyring, Pin) {
	t.Helper()
	r, pin, err := Create(context.Background(), name, s, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, pin
}

// edit changes the stored ring as a later version of this program would: with
// the MAC key, under the next revision.
func edit(t testing.TB, r *Keyring, s Store, change func(*body)) {
	t.Helper()
	ctx := context.Background()
	rec, _, err := load(ctx, s, r.name, DefaultCallTimeout)
	if err != nil {
		t.Fatal(err)
	}
	b := rec.body
	change(&b)
	b.Revision++
	for i := range b.Keys {
		if k := &b.Keys[i]; k.State <= Primary {
			k.Retired = 0
		} else if k.Retired == 0 {
			k.Retired = k.Since
		}
	}
	if err := r.withMAC(func(macKey hidden) error {
		next, data, err := b.sign(macKey)
		if err != nil {
			return err
		}
		return s.CompareAndSwap(ctx, r.name, rec.Revision, Record{next.Revision, data})
	}); err != nil {
		t.Fatal(err)
	}
}

// setState is an edit that moves one key to another state.
func setState(t testing.TB, r *Keyring, s Store, id uint32, state State) {
	t.Helper()
	edit(t, r, s, func(b *body) {
		k := b.find(id)
		k.enter(state, b.Revision, b.Clock)
		if state == Destroyed {
			k.Wraps = []wrap{}
		}
	})
}
