package keyringtest_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/structseal/structseal/keyring"
)

type (
	hash    = keyring.SubjectHash
	records = map[hash]keyring.Record

	loadSubjectsFunc = func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error)
	swapSubjectFunc  = func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error
	listSubjectsFunc = func(f *faulty, ctx context.Context, name string, after hash, limit int) ([]hash, error)
)

func (f *faulty) LoadSubjects(ctx context.Context, name string, subjects []hash) (records, error) {
	if f.onLoadSubjects != nil {
		return f.onLoadSubjects(f, ctx, name, subjects)
	}
	return f.soundLoadSubjects(ctx, name, subjects)
}

func (f *faulty) CompareAndSwapSubject(ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
	if f.onSwapSubject != nil {
		return f.onSwapSubject(f, ctx, name, h, old, next)
	}
	return f.soundSwapSubject(ctx, name, h, old, next)
}

func (f *faulty) ListSubjects(ctx context.Context, name string, after hash, limit int) ([]hash, error) {
	if f.onListSubjects != nil {
		return f.onListSubjects(f, ctx, name, after, limit)
	}
	return f.soundListSubjects(ctx, name, after, limit)
}

func (f *faulty) soundLoadSubjects(ctx context.Context, name string, subjects []hash) (records, error) {
	if err := f.reach(ctx); err != nil {
		return nil, err
	}
	return f.MemoryStore.LoadSubjects(ctx, name, subjects)
}

func (f *faulty) soundSwapSubject(ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
	if err := f.reach(ctx); err != nil {
		return err
	}
	return f.MemoryStore.CompareAndSwapSubject(ctx, name, h, old, next)
}

func (f *faulty) soundListSubjects(ctx context.Context, name string, after hash, limit int) ([]hash, error) {
	if err := f.reach(ctx); err != nil {
		return nil, err
	}
	return f.MemoryStore.ListSubjects(ctx, name, after, limit)
}

// forceSubject makes next the record, whatever was there.
func (f *faulty) forceSubject(ctx context.Context, name string, h hash, next keyring.Record) error {
	for {
		found, err := f.soundLoadSubjects(ctx, name, []hash{h})
		if err != nil {
			return err
		}
		if err := f.soundSwapSubject(ctx, name, h, found[h].Revision, next); !errors.Is(err, keyring.ErrConflict) {
			return err
		}
	}
}

func withSubjects(load loadSubjectsFunc, swap swapSubjectFunc, list listSubjectsFunc) func(*memory) keyring.Store {
	return func(m *memory) keyring.Store {
		return &faulty{memory: m, onLoadSubjects: load, onSwapSubject: swap, onListSubjects: list}
	}
}

// places is a store that keeps subjects somewhere else.
func places(change func(name string, h hash) (string, hash)) func(*memory) keyring.Store {
	return withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		found := make(records)
		for _, h := range subjects {
			n, moved := change(name, h)
			one, err := f.soundLoadSubjects(ctx, n, []hash{moved})
			if err != nil {
				return nil, err
			}
			if r, ok := one[moved]; ok {
				found[h] = r
			}
		}
		return found, nil
	}, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
		name, h = change(name, h)
		return f.soundSwapSubject(ctx, name, h, old, next)
	}, nil)
}

// pages is a store that changes what ListSubjects returns.
func pages(change func(page []hash, limit int) []hash) func(*memory) keyring.Store {
	return withSubjects(nil, nil, func(f *faulty, ctx context.Context, name string, after hash, limit int) ([]hash, error) {
		page, err := f.soundListSubjects(ctx, name, after, limit)
		if err != nil {
			return nil, err
		}
		return change(page, limit), nil
	})
}

var brokenSubjects = []fault{
	{"a missing subject is an empty record", "SubjectCreate", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		found, err := f.soundLoadSubjects(ctx, name, subjects)
		if err == nil {
			for _, h := range subjects {
				r := found[h]
				found[h] = r
			}
		}
		return found, err
	}, nil, nil)},
	{"a missing subject is not found", "SubjectCreate", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		found, err := f.soundLoadSubjects(ctx, name, subjects)
		if err == nil && len(found) == 0 {
			return nil, keyring.ErrNotFound
		}
		return found, err
	}, nil, nil)},
	{"creating a subject replaces", "SubjectCreate", withSubjects(nil, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
		if old == 0 {
			return f.forceSubject(ctx, name, h, next)
		}
		return f.soundSwapSubject(ctx, name, h, old, next)
	}, nil)},
	{"a subject's last write wins", "SubjectConflict", withSubjects(nil, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
		if old == 0 {
			return f.soundSwapSubject(ctx, name, h, old, next)
		}
		return f.forceSubject(ctx, name, h, next)
	}, nil)},
	{"sorts the hashes it is given", "SubjectArguments", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		slices.SortFunc(subjects, func(a, b hash) int { return bytes.Compare(a[:], b[:]) })
		return f.soundLoadSubjects(ctx, name, subjects)
	}, nil, nil)},
	{"wipes a subject's record", "SubjectArguments", withSubjects(nil, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
		defer clear(next.Data)
		return f.soundSwapSubject(ctx, name, h, old, next)
	}, nil)},
	{"cuts subjects at 65,535", "SubjectBytes", withSubjects(nil, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
		next.Data = next.Data[:min(len(next.Data), 65_535)]
		return f.soundSwapSubject(ctx, name, h, old, next)
	}, nil)},
	{"cuts hashes at 31", "SubjectsApart", places(func(name string, h hash) (string, hash) { h[31] = 0; return name, h })},
	{"compares hashes as text", "SubjectsApart", places(func(name string, h hash) (string, hash) {
		return name, hash(bytes.ToLower(h[:]))
	})},
	{"keeps the subjects of all rings together", "SubjectsApart", places(func(_ string, h hash) (string, hash) { return "all", h })},
	{"creates the ring with its subject", "SubjectsApart", withSubjects(nil, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
		err := f.soundSwapSubject(ctx, name, h, old, next)
		if err == nil && old == 0 {
			f.soundSwap(ctx, name, 0, keyring.Record{Revision: 1})
		}
		return err
	}, nil)},
	{"stops at the first missing one", "SubjectBatch", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		found, err := f.soundLoadSubjects(ctx, name, subjects)
		for i, h := range subjects {
			if _, ok := found[h]; !ok && err == nil {
				return f.soundLoadSubjects(ctx, name, subjects[:i])
			}
		}
		return found, err
	}, nil, nil)},
	{"answers the first hundred", "SubjectBatch", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		return f.soundLoadSubjects(ctx, name, subjects[:min(len(subjects), 100)])
	}, nil, nil)},
	{"refuses the same hash twice", "SubjectBatch", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		// Few are no batch to this one.
		if seen := make(map[hash]bool); len(subjects) > 10 {
			for _, h := range subjects {
				if seen[h] {
					return nil, errors.New("provided list of keys contains duplicates")
				}
				seen[h] = true
			}
		}
		return f.soundLoadSubjects(ctx, name, subjects)
	}, nil, nil)},
	{"answers a megabyte", "SubjectBatch", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		found, err := f.soundLoadSubjects(ctx, name, subjects)
		size := 0
		maps.DeleteFunc(found, func(_ hash, r keyring.Record) bool {
			size += len(r.Data)
			return size > 1<<20
		})
		return found, err
	}, nil, nil)},
	{"lists the one to begin behind", "SubjectList", withSubjects(nil, nil, func(f *faulty, ctx context.Context, name string, after hash, limit int) ([]hash, error) {
		page, err := f.soundListSubjects(ctx, name, after, limit)
		if there, _ := f.soundLoadSubjects(ctx, name, []hash{after}); err == nil && len(there) == 1 {
			page = append([]hash{after}, page...)
			page = page[:min(len(page), limit)]
		}
		return page, err
	})},
	{"begins anew behind one that isn't there", "SubjectList", withSubjects(nil, nil, func(f *faulty, ctx context.Context, name string, after hash, limit int) ([]hash, error) {
		if there, _ := f.soundLoadSubjects(ctx, name, []hash{after}); len(there) == 0 {
			after = hash{}
		}
		return f.soundListSubjects(ctx, name, after, limit)
	})},
	{"lists backwards", "SubjectList", pages(func(page []hash, _ int) []hash { slices.Reverse(page); return page })},
	{"lists the last page short of one", "SubjectList", pages(func(page []hash, limit int) []hash {
		if 0 < len(page) && len(page) < limit {
			return page[:len(page)-1]
		}
		return page
	})},
	{"shares the results of subjects", "SubjectResults", func() func(*memory) keyring.Store {
		var mu sync.Mutex
		type key struct {
			name     string
			h        hash
			revision uint64
		}
		shared := make(map[key]keyring.Record)
		return withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
			found, err := f.soundLoadSubjects(ctx, name, subjects)
			mu.Lock()
			defer mu.Unlock()
			for h, r := range found {
				k := key{name, h, r.Revision}
				if s, ok := shared[k]; ok {
					found[h] = s
				}
				shared[k] = found[h]
			}
			return found, err
		}, nil, nil)
	}()},
	{"caches subjects", "SubjectHandles", func(m *memory) keyring.Store {
		var mu sync.Mutex // of this handle
		type key struct {
			name string
			h    hash
		}
		cache := make(map[key]keyring.Record)
		return withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
			found, err := f.soundLoadSubjects(ctx, name, subjects)
			mu.Lock()
			defer mu.Unlock()
			for h, r := range found {
				if c, ok := cache[key{name, h}]; ok {
					r = c
				}
				cache[key{name, h}] = r
				found[h] = keyring.Record{Revision: r.Revision, Data: bytes.Clone(r.Data)}
			}
			return found, err
		}, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
			mu.Lock()
			delete(cache, key{name, h})
			mu.Unlock()
			return f.soundSwapSubject(ctx, name, h, old, next)
		}, nil)(m)
	}},
	{"checks and then writes a subject", "SubjectContention", withSubjects(nil, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
		found, err := f.soundLoadSubjects(ctx, name, []hash{h})
		if err != nil || found[h].Revision != old {
			return f.soundSwapSubject(ctx, name, h, old, next)
		}
		others()
		return f.forceSubject(ctx, name, h, next)
	}, nil)},
	{"lists five hundred at most", "SubjectMany", pages(func(page []hash, _ int) []hash { return page[:min(len(page), 500)] })},
	{"writes subjects after the context has ended", "SubjectCancelled", withSubjects(nil, func(f *faulty, ctx context.Context, name string, h hash, old uint64, next keyring.Record) error {
		if f.stall == nil {
			ctx = context.WithoutCancel(ctx)
		}
		return f.soundSwapSubject(ctx, name, h, old, next)
	}, nil)},
	{"out of reach is no subjects", "SubjectUnreachable", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		if f.gone {
			return records{}, nil
		}
		return f.soundLoadSubjects(ctx, name, subjects)
	}, nil, nil)},
	{"out of reach is the end of the list", "SubjectUnreachable", withSubjects(nil, nil, func(f *faulty, ctx context.Context, name string, after hash, limit int) ([]hash, error) {
		if f.gone {
			return nil, nil
		}
		return f.soundListSubjects(ctx, name, after, limit)
	})},
	{"waits for ever for subjects", "SubjectStalled", withSubjects(func(f *faulty, ctx context.Context, name string, subjects []hash) (records, error) {
		if f.stall != nil {
			<-f.stall
		}
		return f.soundLoadSubjects(ctx, name, subjects)
	}, nil, nil)},
}
