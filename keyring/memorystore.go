package keyring

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
)

// A MemoryStore keeps records in memory, for tests. The zero MemoryStore is
// empty and ready; it must not be copied.
type MemoryStore struct {
	mu    sync.Mutex
	rings map[string]Record // guarded by mu

	subjects map[string]map[SubjectHash]Record // of each ring; guarded by mu
}

var _ SubjectStore = (*MemoryStore)(nil)

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

// LoadSubjects implements [SubjectStore].
func (s *MemoryStore) LoadSubjects(ctx context.Context, name string, subjects []SubjectHash) (map[SubjectHash]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[SubjectHash]Record, len(subjects))
	for _, h := range subjects {
		if r, ok := s.subjects[name][h]; ok {
			out[h] = Record{Revision: r.Revision, Data: bytes.Clone(r.Data)}
		}
	}
	return out, nil
}

// CompareAndSwapSubject implements [SubjectStore].
func (s *MemoryStore) CompareAndSwapSubject(ctx context.Context, name string, subject SubjectHash, old uint64, next Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.subjects[name][subject].Revision; have != old {
		return fmt.Errorf("memory store: %w: revision %d, not %d", ErrConflict, have, old)
	}
	if s.subjects == nil {
		s.subjects = make(map[string]map[SubjectHash]Record)
	}
	if s.subjects[name] == nil {
		s.subjects[name] = make(map[SubjectHash]Record)
	}
	s.subjects[name][subject] = Record{Revision: next.Revision, Data: bytes.Clone(next.Data)}
	return nil
}

// ListSubjects implements [SubjectStore]. It sorts all of them each time.
func (s *MemoryStore) ListSubjects(ctx context.Context, name string, after SubjectHash, limit int) ([]SubjectHash, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []SubjectHash
	for h := range s.subjects[name] {
		if bytes.Compare(h[:], after[:]) > 0 {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b SubjectHash) int { return bytes.Compare(a[:], b[:]) })
	return out[:min(limit, len(out))], nil
}
