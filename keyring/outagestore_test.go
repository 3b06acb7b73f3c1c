package keyring

import (
	"context"
	"errors"
	"sync/atomic"
)

// outageStore is a real store with subjects that may be away.
type outageStore struct {
	*MemoryStore
	isDown atomic.Bool
	reads  atomic.Int64 // of subjects
}

func (s *outageStore) setDown(down bool) { s.isDown.Store(down) }

func (s *outageStore) err() error {
	if s.isDown.Load() {
		return errors.New("connection refused")
	}
	return nil
}

func (s *outageStore) Load(ctx context.Context, name string) (Record, error) {
	if err := s.err(); err != nil {
		return Record{}, err
	}
	return s.MemoryStore.Load(ctx, name)
}

func (s *outageStore) CompareAndSwap(ctx context.Context, name string, old uint64, next Record) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.MemoryStore.CompareAndSwap(ctx, name, old, next)
}

func (s *outageStore) LoadSubjects(ctx context.Context, name string, subjects []SubjectHash) (map[SubjectHash]Record, error) {
	s.reads.Add(1)
	if err := s.err(); err != nil {
		return nil, err
	}
	return s.MemoryStore.LoadSubjects(ctx, name, subjects)
}

func (s *outageStore) CompareAndSwapSubject(ctx context.Context, name string, h SubjectHash, old uint64, next Record) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.MemoryStore.CompareAndSwapSubject(ctx, name, h, old, next)
}
