package stores

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/structseal/structseal/keyring"
)

// A tripwire counts the calls that an operation makes to its stores, from when it
// is set, and kills the process before or after one of them: "before 3", "after 3".
type tripwire struct {
	mu    sync.Mutex
	set   bool
	point string
	calls []byte // 'r' or 'w'
}

func (w *tripwire) around(kind byte, call func() error) error {
	w.mu.Lock()
	if !w.set {
		w.mu.Unlock()
		return call()
	}
	w.calls = append(w.calls, kind)
	n := len(w.calls)
	w.mu.Unlock()
	w.pass("before", n)
	defer w.pass("after", n)
	return call()
}

func (w *tripwire) pass(side string, n int) {
	if w.point == fmt.Sprint(side, " ", n) {
		self, _ := os.FindProcess(os.Getpid())
		self.Kill() // -9
		select {}
	}
}

// points are where an operation that made these calls can be killed: before and
// after each call; or, for the short run, where that makes a difference to what is
// stored: before the first one that writes, and after each that does.
func points(calls string, all bool) (out []string) {
	for i, kind := range calls {
		if all || kind == 'w' && len(out) == 0 {
			out = append(out, fmt.Sprint("before ", i+1))
		}
		if all || kind == 'w' {
			out = append(out, fmt.Sprint("after ", i+1))
		}
	}
	return out
}

// wired is a store with a tripwire.
type wired struct {
	keyring.SubjectStore
	wire *tripwire
}

func (s wired) Load(ctx context.Context, name string) (r keyring.Record, err error) {
	err = s.wire.around('r', func() (err error) {
		r, err = s.SubjectStore.Load(ctx, name)
		return err
	})
	return r, err
}

func (s wired) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	return s.wire.around('w', func() error { return s.SubjectStore.CompareAndSwap(ctx, name, old, next) })
}

func (s wired) LoadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (rows map[keyring.SubjectHash]keyring.Record, err error) {
	err = s.wire.around('r', func() (err error) {
		rows, err = s.SubjectStore.LoadSubjects(ctx, name, subjects)
		return err
	})
	return rows, err
}

func (s wired) CompareAndSwapSubject(ctx context.Context, name string, subject keyring.SubjectHash, old uint64, next keyring.Record) error {
	return s.wire.around('w', func() error { return s.SubjectStore.CompareAndSwapSubject(ctx, name, subject, old, next) })
}

func (s wired) ListSubjects(ctx context.Context, name string, after keyring.SubjectHash, limit int) (out []keyring.SubjectHash, err error) {
	err = s.wire.around('r', func() (err error) {
		out, err = s.SubjectStore.ListSubjects(ctx, name, after, limit)
		return err
	})
	return out, err
}

// restored is a store whose subjects are those of a backup.
type restored struct {
	keyring.SubjectStore
	rows map[keyring.SubjectHash]keyring.Record
}

func (s restored) LoadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	out := make(map[keyring.SubjectHash]keyring.Record)
	for _, h := range subjects {
		if r, ok := s.rows[h]; ok {
			out[h] = r
		}
	}
	return out, nil
}
