package keyringtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
)

// An Option adds to what [Run] tests. The functions of this package that return
// one are all there are.
type Option func(*config)

type config struct {
	open        func(t *testing.T) keyring.Store
	unreachable []way
	stalled     []way
}

// way is a named state of a backend, and what opens a store on it.
type way struct {
	name string
	open func(t *testing.T) keyring.Store
}

// Unreachable tests that a store whose backend can't be reached says so: open
// returns a store on a closed pool, a server that was stopped, a directory that
// is gone. name tells several of them apart. Without this option the subtest
// Unreachable is skipped.
func Unreachable(name string, open func(t *testing.T) keyring.Store) Option {
	return func(c *config) { c.unreachable = append(c.unreachable, way{name, open}) }
}

// Stalled tests that a store gives up when its context ends: open returns a
// store whose CompareAndSwap (and CompareAndSwapSubject, where it has one) does not
// return by itself, because the server accepts connections and never answers, or
// because somebody holds a lock on everything. name tells several of them apart. Without this option the subtest
// Stalled is skipped.
func Stalled(name string, open func(t *testing.T) keyring.Store) Option {
	return func(c *config) { c.stalled = append(c.stalled, way{name, open}) }
}

// Run tests a store. Each call of open returns a handle, with connections of its
// own where the store has some, to one and the same storage: what is written
// through one must be readable through all. (A store that has no handles returns
// itself every time.) open fails the test when it can't; it may call t.Cleanup.
//
// The storage needn't be empty and isn't cleaned: ring names are random and
// begin with "keyringtest-". About 2,000 calls are made; the largest record has
// [keyring.MaxRecordSize] bytes. A [keyring.SubjectStore] gets about 14,000 more, of
// which 10,000 (with -short or -race: 600) make a ring with many subjects.
func Run(t *testing.T, open func(t *testing.T) keyring.Store, opts ...Option) {
	t.Helper()
	c := config{open: open}
	for _, o := range opts {
		o(&c)
	}
	broken := make(map[string]bool) // and what stands on it
	for _, p := range promises {
		ok := t.Run(p.name, func(t *testing.T) {
			for _, need := range p.needs {
				if broken[need] {
					broken[p.name] = true
					t.Skipf("stands on %s, which does not hold", need)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			p.test(&env{T: t, config: &c, ctx: ctx, store: open(t), prefix: "keyringtest-" + random(5) + "-"})
		})
		if !ok {
			broken[p.name] = true
		}
	}
}

// patience bounds a subtest: a store that hangs fails instead.
const patience = 2 * time.Minute

// A promise is something that the interface says, and its test.
type promise struct {
	name  string
	test  func(*env)
	needs []string // promises without which this test says nothing
}

// In the order in which they are tested: needs come first.
var promises = []promise{
	{"NotFound", testNotFound, nil},
	{"Create", testCreate, []string{"NotFound"}},
	{"Conflict", testConflict, []string{"NotFound", "Create"}},
	{"Arguments", testArguments, []string{"Conflict"}},
	{"Bytes", testBytes, []string{"Arguments"}},
	{"LargestRecord", testLargestRecord, []string{"Arguments"}},
	{"Revisions", testRevisions, []string{"Conflict"}},
	{"Names", testNames, []string{"Conflict"}},
	{"Results", testResults, []string{"Create"}},
	{"Abandoned", testAbandoned, []string{"Conflict"}},
	{"Handles", testHandles, []string{"Conflict", "Abandoned"}},
	{"WholeRecords", testWholeRecords, []string{"Handles"}},
	{"Contention", testContention, []string{"WholeRecords"}},
	{"Cancelled", testCancelled, []string{"Conflict"}},
	{"CancelledMidway", testCancelledMidway, []string{"Arguments", "Cancelled"}},
	{"Unreachable", testUnreachable, nil},
	{"Stalled", testStalled, nil},
	{"RingLife", testRingLife, []string{"Handles", "LargestRecord"}},

	// Those of keyring.SubjectStore.
	{"SubjectCreate", ofSubjects(testSubjectCreate), nil},
	{"SubjectConflict", ofSubjects(testSubjectConflict), []string{"SubjectCreate"}},
	{"SubjectArguments", ofSubjects(testSubjectArguments), []string{"SubjectConflict"}},
	{"SubjectBytes", ofSubjects(testSubjectBytes), []string{"SubjectArguments"}},
	{"SubjectsApart", ofSubjects(testSubjectsApart), []string{"SubjectConflict", "NotFound", "Create", "Conflict"}},
	{"SubjectBatch", ofSubjects(testSubjectBatch), []string{"SubjectsApart", "SubjectBytes"}},
	{"SubjectList", ofSubjects(testSubjectList), []string{"SubjectsApart"}},
	{"SubjectResults", ofSubjects(testSubjectResults), []string{"SubjectList"}},
	{"SubjectHandles", ofSubjects(testSubjectHandles), []string{"SubjectList"}},
	{"SubjectContention", ofSubjects(testSubjectContention), []string{"SubjectHandles"}},
	{"SubjectMany", ofSubjects(testSubjectMany), []string{"SubjectBatch", "SubjectList"}},
	{"SubjectCancelled", ofSubjects(testSubjectCancelled), []string{"SubjectConflict"}},
	{"SubjectUnreachable", ofSubjects(testSubjectUnreachable), nil},
	{"SubjectStalled", ofSubjects(testSubjectStalled), nil},

	// That of keyring.Notifier.
	{"Notices", testNotices, []string{"Names", "Revisions", "Handles", "Contention", "SubjectsApart", "SubjectHandles", "SubjectContention"}},
}

// env is what a subtest works with.
type env struct {
	*testing.T
	*config
	ctx    context.Context
	store  keyring.Store
	prefix string
}

// run is a subtest of a subtest.
func (e *env) run(name string, test func(*env)) {
	e.Helper()
	e.Run(name, func(t *testing.T) {
		sub := *e
		sub.T = t
		test(&sub)
	})
}

// name returns a ring name that is this subtest's own.
func (e *env) name(suffix string) string { return e.prefix + suffix }

// create stores a first record.
func (e *env) create(name string, r keyring.Record) {
	e.Helper()
	if err := e.store.CompareAndSwap(e.ctx, name, 0, r); err != nil {
		e.Fatalf("CompareAndSwap of %.120q from 0 to %d: %v", name, r.Revision, err)
	}
}

// swap goes from one revision to the next.
func (e *env) swap(s keyring.Store, name string, old uint64, r keyring.Record) {
	e.Helper()
	if err := s.CompareAndSwap(e.ctx, name, old, r); err != nil {
		e.Fatalf("CompareAndSwap of %.120q from %d to %d: %v", name, old, r.Revision, err)
	}
}

func (e *env) load(s keyring.Store, name string) keyring.Record {
	e.Helper()
	r, err := s.Load(e.ctx, name)
	if err != nil {
		e.Fatalf("Load of %.120q: %v", name, err)
	}
	return r
}

// holds checks what s has under name.
func (e *env) holds(s keyring.Store, name string, want keyring.Record) {
	e.Helper()
	if got := e.load(s, name); got.Revision != want.Revision || string(got.Data) != string(want.Data) {
		e.Fatalf("Load of %.120q: revision %d with %s, want revision %d with %s", name, got.Revision, brief(got.Data), want.Revision, brief(want.Data))
	}
}

// lacks checks that there is no ring of that name.
func (e *env) lacks(name, when string) {
	e.Helper()
	if r, err := e.store.Load(e.ctx, name); !errors.Is(err, keyring.ErrNotFound) {
		e.Fatalf("Load of %.120q %s: revision %d, error %v; want ErrNotFound", name, when, r.Revision, err)
	}
}

func brief(data []byte) string {
	const n = 40
	if len(data) <= n {
		return quote(data)
	}
	return quote(data[:n]) + "... of " + decimal(len(data)) + " bytes"
}

// random returns n random bytes in hexadecimal.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
