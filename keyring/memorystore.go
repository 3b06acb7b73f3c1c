package keyring

import (
	"bytes"
	"context"
	"fmt"
	"sync"
)

// A MemoryStore keeps records in memory, for tests. The zero MemoryStore is
// empty and ready; it must not be copied.
type MemoryStore struct {
	mu    sync.Mutex
	rings map[string]Record // guarded by mu
}

var _ Store = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore { return new(MemoryStore) }

// Load implements [Store].
func (s *MemoryStore) Load(ctx context.Context, name string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.rings[name]
	if !ok {
		return Record{}, fmt.Errorf("memory store: %w", ErrNotFound)
	}
	return Record{Revision: r.Revision, Data: bytes.Clone(r.Data)}, nil
}

// CompareAndSwap implements [Store].
func (s *MemoryStore) CompareAndSwap(ctx context.Context, name string, old uint64, next Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.rings[name].Revision; have != old {
		return fmt.Errorf("memory store: %w: revision %d, not %d", ErrConflict, have, old)
	}
	if s.rings == nil {
		s.rings = make(map[string]Record)
	}
	s.rings[name] = Record{Revision: next.Revision, Data: bytes.Clone(next.Data)}
	return nil
}
