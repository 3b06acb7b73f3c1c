package keyring

import (
	"context"
	"crypto/fips140"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// hookStore lets tests stop the calls about subjects.
type hookStore struct {
	*MemoryStore
	mu     sync.Mutex
	onLoad func(ctx context.Context, n int) error // after the read
	onSwap func(ctx context.Context) error        // before the swap
	loads  atomic.Int64
	swaps  atomic.Int64 // that succeeded
}

func (h *hookStore) set(load func(context.Context, int) error, swap func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onLoad, h.onSwap = load, swap
}

func (h *hookStore) LoadSubjects(ctx context.Context, name string, s []SubjectHash) (map[SubjectHash]Record, error) {
	n := h.loads.Add(1)
	out, err := h.MemoryStore.LoadSubjects(ctx, name, s)
	h.mu.Lock()
	f := h.onLoad
	h.mu.Unlock()
	if f != nil {
		if err := f(ctx, int(n)); err != nil {
			return nil, err
		}
	}
	return out, err
}

func (h *hookStore) CompareAndSwapSubject(ctx context.Context, name string, s SubjectHash, old uint64, next Record) error {
	h.mu.Lock()
	f := h.onSwap
	h.mu.Unlock()
	if f != nil {
		if err := f(ctx); err != nil {
			return err
		}
	}
	err := h.MemoryStore.CompareAndSwapSubject(ctx, name, s, old, next)
	if err == nil {
		h.swaps.Add(1)
	}
	return err
}

func hookedRing(t *testing.T, opts *OpenOptions) (*Keyring, *hookStore, *fakeKMS, Pin) {
	t.Helper()
	store, kms := &hookStore{MemoryStore: NewMemoryStore()}, newFakeKMS()
	var o CreateOptions
	if opts != nil {
		o.OpenOptions = *opts
	}
	ring, pin, err := Create(t.Context(), "app", store, kms, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring, store, kms, pin
}

// inRandomTime runs a test that makes keys in virtual time.
func inRandomTime(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if fips140.Enabled() {
		t.Skip("no randomness in virtual time in FIPS 140 mode")
	}
	synctest.Test(t, f)
}

func must1(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
