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
	mu       sync.Mutex
	rings    map[string]Record                 // guarded by mu
	subjects map[string]map[SubjectHash]Record // by ring; guarded by mu

	listeners map[*memoryListener]bool // guarded by mu
}

type memoryListener struct {
	ring   string
	notice func(Notice)
}

var (
	_ SubjectStore = (*MemoryStore)(nil)
	_ Notifier     = (*MemoryStore)(nil)
)

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
func (s *MemoryStore) CompareAndSwap(ctx context.Context, name string, old uint64, next Record) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer func() { s.tell(name, Notice{}, old, err) }() // when s.mu is free
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

// Listen implements [Notifier], for rings in this process. The notices come from
// the goroutines that write.
//
// Errors: ctx's own.
func (s *MemoryStore) Listen(ctx context.Context, name string, notice func(Notice)) error {
	l := &memoryListener{name, notice}
	s.mu.Lock()
	if s.listeners == nil {
		s.listeners = make(map[*memoryListener]bool)
	}
	s.listeners[l] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, l)
	}()
	notice(Notice{Missed: true})
	<-ctx.Done()
	return ctx.Err()
}

// tell tells of a write that replaced a record.
func (s *MemoryStore) tell(name string, n Notice, old uint64, err error) {
	if err != nil || old == 0 {
		return
	}
	var all []*memoryListener
	s.mu.Lock()
	for l := range s.listeners {
		if l.ring == name {
			all = append(all, l)
		}
	}
	s.mu.Unlock()
	for _, l := range all {
		l.notice(n)
	}
}

// LoadSubjects implements [SubjectStore].
//
// Errors: ErrTooLarge for more than 1,000 subjects; ctx's own.
func (s *MemoryStore) LoadSubjects(ctx context.Context, name string, subjects []SubjectHash) (map[SubjectHash]Record, error) {
	if err := checkSubjects(ctx, len(subjects)); err != nil {
		return nil, fmt.Errorf("memory store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[SubjectHash]Record)
	for _, h := range subjects {
		if r, ok := s.subjects[name][h]; ok {
			found[h] = Record{Revision: r.Revision, Data: bytes.Clone(r.Data)}
		}
	}
	return found, nil
}

// CompareAndSwapSubject implements [SubjectStore].
//
// Errors: ErrConflict; ErrTooLarge; ctx's own.
func (s *MemoryStore) CompareAndSwapSubject(ctx context.Context, name string, subject SubjectHash, old uint64, next Record) (err error) {
	if err := checkSubjectRecord(ctx, next); err != nil {
		return fmt.Errorf("memory store: %w", err)
	}
	defer func() { s.tell(name, Notice{Subject: subject}, old, err) }() // when s.mu is free
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.subjects[name][subject].Revision; have != old {
		return fmt.Errorf("memory store: %w: subject at revision %d, not %d", ErrConflict, have, old)
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

// ListSubjects implements [SubjectStore].
//
// Errors: ErrTooLarge for a limit that is not 1 to 1,000; ctx's own.
func (s *MemoryStore) ListSubjects(ctx context.Context, name string, after SubjectHash, limit int) ([]SubjectHash, error) {
	if err := checkLimit(ctx, limit); err != nil {
		return nil, fmt.Errorf("memory store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []SubjectHash
	for h := range s.subjects[name] {
		if bytes.Compare(h[:], after[:]) > 0 {
			found = append(found, h)
		}
	}
	slices.SortFunc(found, func(a, b SubjectHash) int { return bytes.Compare(a[:], b[:]) })
	return found[:min(limit, len(found))], nil
}

func checkSubjects(ctx context.Context, n int) error {
	if n > MaxSubjectBatch {
		return fmt.Errorf("%w: asked for %d subjects of at most %d", ErrTooLarge, n, MaxSubjectBatch)
	}
	return ctx.Err()
}

func checkLimit(ctx context.Context, limit int) error {
	if limit < 1 || limit > MaxSubjectBatch {
		return fmt.Errorf("%w: asked for %d subjects, of 1 to %d", ErrTooLarge, limit, MaxSubjectBatch)
	}
	return ctx.Err()
}

func checkSubjectRecord(ctx context.Context, next Record) error {
	if len(next.Data) > MaxSubjectSize {
		return fmt.Errorf("%w: a subject's record of %d bytes, at most %d", ErrTooLarge, len(next.Data), MaxSubjectSize)
	}
	return ctx.Err()
}
