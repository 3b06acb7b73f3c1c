package keyringtest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/keyringtest"
)

// Every broken store is caught by the subtest that is meant for it, and by no
// other: a report that points at the wrong promise sends its reader astray.
//
// The suite is expected to fail here, so it runs in a process of its own.
func TestBrokenStores(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestSuiteOnBrokenStores$", "-test.v", "-test.short", "-test.parallel=46", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), brokenEnv+"=1")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("the suite on broken stores ended with %v:\n%s", err, out)
	}
	failed, passed := outcomes(out)
	caught := make(map[string]bool)
	for _, b := range slices.Concat(broken, brokenSubjects, brokenNotices) {
		if got := failed[b.name]; !slices.Equal(got, []string{b.caughtBy}) {
			t.Errorf("%s: caught by %v, want %s alone", b.name, got, b.caughtBy)
		}
		caught[b.caughtBy] = true
	}
	// The wrapper around a sound store is sound: what fails is the fault.
	if len(failed["sound"]) > 0 || len(passed["sound"]) < 30 {
		t.Errorf("sound store: failed %v, passed %v", failed["sound"], passed["sound"])
	}
	// No promise without a store that breaks it.
	for _, p := range passed["sound"] {
		if !caught[p] {
			t.Errorf("no broken store for %s", p)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// outcomes sorts the suite's subtests by store.
func outcomes(out []byte) (failed, passed map[string][]string) {
	failed, passed = make(map[string][]string), make(map[string][]string)
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		line, fail := strings.CutPrefix(strings.TrimSpace(lines.Text()), "--- FAIL: ")
		line, pass := strings.CutPrefix(line, "--- PASS: ")
		if !fail && !pass {
			continue
		}
		line, _, _ = strings.Cut(line, " (")
		path := strings.Split(strings.ReplaceAll(line, "_", " "), "/")
		switch {
		case len(path) != 3:
		case fail:
			failed[path[1]] = append(failed[path[1]], path[2])
		default:
			passed[path[1]] = append(passed[path[1]], path[2])
		}
	}
	return failed, passed
}

const brokenEnv = "STRUCTSEAL_TEST_BROKEN"

// TestSuiteOnBrokenStores is what TestBrokenStores starts. It fails.
func TestSuiteOnBrokenStores(t *testing.T) {
	if os.Getenv(brokenEnv) == "" {
		t.Skip("TestBrokenStores starts it")
	}
	t.Run("sound", func(t *testing.T) { runOn(t, func(m *memory) keyring.Store { return &faulty{memory: m} }) })
	for _, b := range slices.Concat(broken, brokenSubjects, brokenNotices) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			runOn(t, b.open)
		})
	}
}

func runOn(t *testing.T, open func(*memory) keyring.Store) {
	m := &memory{MemoryStore: keyring.NewMemoryStore()}
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	keyringtest.Run(t, func(*testing.T) keyring.Store { return open(m) },
		keyringtest.Unreachable("gone", func(*testing.T) keyring.Store {
			return open(&memory{MemoryStore: keyring.NewMemoryStore(), gone: true})
		}),
		keyringtest.Stalled("hangs", func(*testing.T) keyring.Store {
			return open(&memory{MemoryStore: keyring.NewMemoryStore(), stall: stall})
		}))
}

// memory is the storage behind several handles. It may be out of reach.
type memory struct {
	*keyring.MemoryStore
	gone  bool
	stall chan struct{} // nil: answers

	mu    sync.Mutex
	lease map[string]*faulty // for the store that locks
}

func (m *memory) reach(ctx context.Context) error {
	if m.gone {
		return errors.New("no route to host")
	}
	if m.stall != nil {
		select {
		case <-m.stall:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// faulty is a handle. Without functions it is sound.
type faulty struct {
	*memory
	onLoad func(f *faulty, ctx context.Context, name string) (keyring.Record, error)
	onSwap func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error
	cache  map[string]keyring.Record

	onLoadSubjects loadSubjectsFunc
	onSwapSubject  swapSubjectFunc
	onListSubjects listSubjectsFunc
}

func (f *faulty) Load(ctx context.Context, name string) (keyring.Record, error) {
	if f.onLoad != nil {
		return f.onLoad(f, ctx, name)
	}
	return f.soundLoad(ctx, name)
}

func (f *faulty) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	if f.onSwap != nil {
		return f.onSwap(f, ctx, name, old, next)
	}
	return f.soundSwap(ctx, name, old, next)
}

func (f *faulty) soundLoad(ctx context.Context, name string) (keyring.Record, error) {
	if err := f.reach(ctx); err != nil {
		return keyring.Record{}, err
	}
	return f.MemoryStore.Load(ctx, name)
}

func (f *faulty) soundSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	if err := f.reach(ctx); err != nil {
		return err
	}
	return f.MemoryStore.CompareAndSwap(ctx, name, old, next)
}

type (
	loadFunc = func(f *faulty, ctx context.Context, name string) (keyring.Record, error)
	swapFunc = func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error
)

func with(load loadFunc, swap swapFunc) func(*memory) keyring.Store {
	return func(m *memory) keyring.Store {
		return &faulty{memory: m, onLoad: load, onSwap: swap, cache: make(map[string]keyring.Record)}
	}
}

// data is a store that changes what it is given.
func data(change func([]byte) []byte) func(*memory) keyring.Store {
	return with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		next.Data = change(bytes.Clone(next.Data))
		return f.soundSwap(ctx, name, old, next)
	})
}

// names is a store that changes the names of rings.
func names(change func(string) string) func(*memory) keyring.Store {
	return with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
		return f.soundLoad(ctx, change(name))
	}, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		return f.soundSwap(ctx, change(name), old, next)
	})
}

// revisions is a store that keeps revisions in a narrower type.
func revisions(narrow func(uint64) uint64) func(*memory) keyring.Store {
	var mu sync.Mutex
	wide := make(map[string]uint64) // as Load returns it
	return with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
		if f.stall == nil {
			mu.Lock()
			defer mu.Unlock()
		}
		r, err := f.soundLoad(ctx, name)
		if err == nil {
			r.Revision = wide[name]
		}
		return r, err
	}, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		mu.Lock()
		defer mu.Unlock()
		revision := next.Revision
		next.Revision = narrow(next.Revision)
		err := f.soundSwap(ctx, name, narrow(old), next)
		if err == nil {
			wide[name] = revision
		}
		return err
	})
}

// others lets other goroutines run.
func others() {
	for range 50 {
		runtime.Gosched()
	}
}

// midway takes its time over a write of some size, and reports whether the
// context ended meanwhile.
func midway(ctx context.Context, next keyring.Record) bool {
	if len(next.Data) < 2000 || len(next.Data) > 2100 {
		return false
	}
	timer := time.NewTimer(time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-timer.C:
		return false
	}
}

// force makes next the record, whatever was there.
func (f *faulty) force(ctx context.Context, name string, next keyring.Record) error {
	for {
		have, err := f.soundLoad(ctx, name)
		if err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
		if err := f.soundSwap(ctx, name, have.Revision, next); !errors.Is(err, keyring.ErrConflict) {
			return err
		}
	}
}

// A fault is a broken store and the subtest that is meant for it.
type fault struct {
	name     string
	caughtBy string
	open     func(*memory) keyring.Store
}

var broken = []fault{
	{"nothing is an empty record", "NotFound", with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
		r, err := f.soundLoad(ctx, name)
		if errors.Is(err, keyring.ErrNotFound) {
			err = nil
		}
		return r, err
	}, nil)},
	{"nothing is unavailable", "NotFound", with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
		r, err := f.soundLoad(ctx, name)
		if errors.Is(err, keyring.ErrNotFound) {
			err = fmt.Errorf("%w: %w", keyring.ErrUnavailable, err)
		}
		return r, err
	}, nil)},
	{"creating replaces", "Create", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if old == 0 {
			return f.force(ctx, name, next)
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"updating creates", "Conflict", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if _, err := f.soundLoad(ctx, name); errors.Is(err, keyring.ErrNotFound) {
			old = 0
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"last write wins", "Conflict", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if old == 0 {
			return f.soundSwap(ctx, name, old, next)
		}
		return f.force(ctx, name, next)
	})},
	{"higher revision wins", "Conflict", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if have, err := f.soundLoad(ctx, name); old != 0 && err == nil && next.Revision > have.Revision {
			return f.force(ctx, name, next)
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"conflict is a silent success", "Conflict", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		err := f.soundSwap(ctx, name, old, next)
		if old != 0 && errors.Is(err, keyring.ErrConflict) {
			return nil
		}
		return err
	})},
	{"ends at NUL", "Bytes", data(func(b []byte) []byte { b, _, _ = bytes.Cut(b, []byte{0}); return b })},
	{"keeps UTF-8 only", "Bytes", data(func(b []byte) []byte { return bytes.ToValidUTF8(b, []byte("?")) })},
	{"trims", "Bytes", data(bytes.TrimSpace)},
	{"unifies line ends", "Bytes", data(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) })},
	{"cuts at 64 KB", "LargestRecord", data(func(b []byte) []byte { return b[:min(len(b), 1<<16-1)] })},
	{"refuses the largest", "LargestRecord", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if len(next.Data) >= keyring.MaxRecordSize {
			return fmt.Errorf("%w: too large", keyring.ErrTooLarge)
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"revisions in 32 bits", "Revisions", revisions(func(n uint64) uint64 { return n & 0xffff_ffff })},
	{"revisions in float64", "Revisions", revisions(func(n uint64) uint64 { return uint64(float64(n)) })},
	{"folds the case of names", "Names", names(strings.ToUpper)},
	{"pads names", "Names", names(func(s string) string { return strings.TrimRight(s, " ") })},
	{"ignores punctuation in names", "Names", names(func(s string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune(".-_", r) {
				return -1
			}
			return r
		}, s)
	})},
	{"cuts names at 99", "Names", names(func(s string) string { return s[:min(len(s), 99)] })},
	{"keeps its argument", "Arguments", func() func(*memory) keyring.Store {
		var mu sync.Mutex
		kept := make(map[string][]byte)
		return with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
			r, err := f.soundLoad(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if b, ok := kept[name+fmt.Sprint(r.Revision)]; err == nil && ok {
				r.Data = bytes.Clone(b)
			}
			return r, err
		}, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
			err := f.soundSwap(ctx, name, old, next)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				kept[name+fmt.Sprint(next.Revision)] = next.Data
			}
			return err
		})
	}()},
	{"wipes its argument", "Arguments", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		defer clear(next.Data)
		return f.soundSwap(ctx, name, old, next)
	})},
	{"writes behind its argument", "Arguments", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		_ = append(next.Data, 0)
		return f.soundSwap(ctx, name, old, next)
	})},
	{"shares its results", "Results", func() func(*memory) keyring.Store {
		var mu sync.Mutex
		shared := make(map[string]keyring.Record)
		return with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
			r, err := f.soundLoad(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if s, ok := shared[name]; err == nil && ok && s.Revision == r.Revision {
				return s, nil
			}
			if err == nil {
				shared[name] = r
			}
			return r, err
		}, nil)
	}()},
	{"locks between load and swap", "Abandoned", with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
		r, err := f.soundLoad(ctx, name)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.lease == nil {
			f.lease = make(map[string]*faulty)
		}
		if err == nil && f.lease[name] == nil {
			f.lease[name] = f
		}
		return r, err
	}, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		f.mu.Lock()
		holder := f.lease[name]
		f.mu.Unlock()
		if holder != nil && holder != f {
			return fmt.Errorf("%w: locked by another handle", keyring.ErrConflict)
		}
		err := f.soundSwap(ctx, name, old, next)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.lease, name)
		return err
	})},
	{"caches what it read", "Handles", with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
		f.mu.Lock()
		r, ok := f.cache[name]
		f.mu.Unlock()
		if ok && ctx.Err() == nil {
			return keyring.Record{Revision: r.Revision, Data: bytes.Clone(r.Data)}, nil
		}
		r, err := f.soundLoad(ctx, name)
		f.mu.Lock()
		defer f.mu.Unlock()
		if err == nil {
			f.cache[name] = keyring.Record{Revision: r.Revision, Data: bytes.Clone(r.Data)}
		}
		return r, err
	}, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		f.mu.Lock()
		delete(f.cache, name)
		f.mu.Unlock()
		return f.soundSwap(ctx, name, old, next)
	})},
	{"writes the revision before the data", "WholeRecords", func() func(*memory) keyring.Store {
		var mu sync.Mutex // of writers only
		return with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
			mu.Lock()
			defer mu.Unlock()
			have, err := f.soundLoad(ctx, name)
			if err != nil || have.Revision != old {
				return f.soundSwap(ctx, name, old, next)
			}
			if err := f.soundSwap(ctx, name, old, keyring.Record{Revision: next.Revision, Data: have.Data}); err != nil {
				return err
			}
			others()
			return f.soundSwap(context.WithoutCancel(ctx), name, next.Revision, next)
		})
	}()},
	{"checks and then writes", "Contention", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		have, err := f.soundLoad(ctx, name)
		if err != nil || have.Revision != old {
			return f.soundSwap(ctx, name, old, next)
		}
		others()
		return f.force(ctx, name, next)
	})},
	{"checks and then creates", "Contention", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if _, err := f.soundLoad(ctx, name); old == 0 && errors.Is(err, keyring.ErrNotFound) {
			others()
			return f.force(ctx, name, next)
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"writes after the context has ended", "Cancelled", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if f.stall == nil {
			ctx = context.WithoutCancel(ctx)
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"cancelled is a conflict", "Cancelled", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if f.stall == nil && ctx.Err() != nil { // on a stalled line a call may be late
			return fmt.Errorf("%w: %w", keyring.ErrConflict, ctx.Err())
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"leaves half a record when cancelled", "CancelledMidway", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if ctx.Err() == nil && f.stall == nil && midway(ctx, next) {
			next.Data = next.Data[:len(next.Data)/2]
			return errors.Join(f.soundSwap(context.WithoutCancel(ctx), name, old, next), ctx.Err())
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"stays locked when cancelled", "CancelledMidway", func() func(*memory) keyring.Store {
		var mu sync.Mutex
		locked := make(map[string]bool)
		return with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
			mu.Lock()
			defer mu.Unlock()
			if locked[name] {
				return errors.New("database is locked")
			}
			locked[name] = ctx.Err() == nil && f.stall == nil && midway(ctx, next)
			return f.soundSwap(ctx, name, old, next)
		})
	}()},
	{"out of reach is not found", "Unreachable", with(func(f *faulty, ctx context.Context, name string) (keyring.Record, error) {
		r, err := f.soundLoad(ctx, name)
		if f.gone {
			err = keyring.ErrNotFound
		}
		return r, err
	}, nil)},
	{"out of reach is a conflict", "Unreachable", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		err := f.soundSwap(ctx, name, old, next)
		if f.gone {
			err = fmt.Errorf("%w: no row was touched", keyring.ErrConflict)
		}
		return err
	})},
	{"waits for ever", "Stalled", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		if f.stall != nil {
			<-f.stall
		}
		return f.soundSwap(ctx, name, old, next)
	})},
	{"out of time is a conflict", "Stalled", with(nil, func(f *faulty, ctx context.Context, name string, old uint64, next keyring.Record) error {
		err := f.soundSwap(ctx, name, old, next)
		if f.stall != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", keyring.ErrConflict, err)
		}
		return err
	})},
	{"keeps JSON in an order of its own", "RingLife", data(func(b []byte) []byte {
		var v map[string]any
		if json.Unmarshal(b, &v) != nil {
			return b
		}
		again, err := json.Marshal(v)
		if err != nil {
			return b
		}
		return again
	})},
}
