package rotate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/manifest"
)

// Kind is what a job does.
type Kind uint8

const (
	// Reencrypt seals what isn't under the primary key anew: same values, same place.
	Reencrypt Kind = iota + 1
	// Backfill seals plaintext, and leaves ciphertexts as they are.
	Backfill
	// Reindex makes the indexes of values anew, by Options.Index, and writes those that
	// differ. It decrypts all of them.
	Reindex
	// Sweep empties the indexes of forgotten subjects: after that nobody can tell any
	// longer that two of their values were equal.
	Sweep
)

// String returns "re-encrypt", "backfill", "reindex" or "sweep".
func (k Kind) String() string {
	if k < Reencrypt || k > Sweep {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return [...]string{Reencrypt: "re-encrypt", Backfill: "backfill", Reindex: "reindex", Sweep: "sweep"}[k]
}

// An Indexer makes what the column of an index holds: nil for NULL. The row's Binds and
// the plaintext, which is only valid during the call, are those of the index's field. It
// is called from several goroutines at once.
type Indexer func(ctx context.Context, index *manifest.Index, row *Row, plaintext []byte) ([]byte, error)

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// To is another ring to seal with, when a table moves to one. The program must be
	// able to open rows of both meanwhile. Default: the same ring.
	To *keyring.Keyring

	// Deterministic re-encrypts fields tagged det=DOMAIN, too. While it runs equal
	// values differ, so joins and UNIQUE columns miss some. Default: they are left.
	Deterministic bool

	// Index is what Reindex asks. The other jobs leave it alone.
	Index Indexer

	// RowsPerSecond bounds the speed of one worker. Default: no limit.
	RowsPerSecond int

	// BatchTime is how long a transaction should take; the number of rows in a batch
	// adapts to it. Default: 200 ms.
	BatchTime time.Duration

	// MaxBatch bounds the rows of a batch. Default: 1,000.
	MaxBatch int

	// FirstBatch is how many rows the first batch has: what is known of the batches
	// before, where a job is many calls of RunPart. Default: 100.
	FirstBatch int

	// MaxLag pauses the job while a replica is further behind, if the source is a
	// [Lagging] one. Default: replicas aren't looked at.
	MaxLag time.Duration

	// MaxErrorRate pauses the job for 10 s when more than this share of the last 20
	// attempts at a batch has failed, even if each batch was done in the end: whoever
	// else uses the database has the same trouble. Default: 0.25.
	MaxErrorRate float64

	// MaxBad is how many rows with a value that can't be opened, or sealed, a worker
	// leaves as they are before it stops. Default: 1,000.
	MaxBad int

	// OnBad is told of each value that is left, from one goroutine.
	OnBad func(*RowError)

	// Worker names this one among those of a job. Default: a random name.
	Worker string

	// Lease is after which a worker that wasn't heard of has lost its part to others.
	// Default: 1 minute.
	Lease time.Duration
}

// Progress is what was done, after each batch that is durable.
type Progress struct {
	Source string `json:"source"`
	Kind   string `json:"kind"`
	Worker string `json:"worker"`

	// Of this worker, since it began.
	Rows      int64 `json:"rows"`      // read
	Written   int64 `json:"written"`   // of them
	Conflicts int64 `json:"conflicts"` // of them, that somebody else wrote meanwhile: done again
	BadRows   int64 `json:"bad_rows"`  // left as they are

	// Values of them.
	Sealed    int64 `json:"sealed"`    // sealed anew
	Current   int64 `json:"current"`   // nothing to do
	Null      int64 `json:"null"`      // NULL
	Plaintext int64 `json:"plaintext"` // not encrypted, and left so
	Forgotten int64 `json:"forgotten"` // of forgotten subjects, and left so
	Indexes   int64 `json:"indexes"`   // made anew, or emptied

	All      int64         `json:"all_rows"`      // by all workers, since the job began; -1 if unknown
	Estimate int64         `json:"estimate"`      // rows of the table, about; -1 if unknown
	Batch    int           `json:"batch"`         // rows of this batch
	Next     int           `json:"-"`             // rows of the next one, at most
	Elapsed  time.Duration `json:"elapsed_ns"`    // since the worker began
	Rate     float64       `json:"rows_a_second"` // lately
	Left     time.Duration `json:"time_left_ns"`  // about; -1 if unknown. Without All as if this worker were alone
	Paused   string        `json:"paused"`        // why it waits now, "" if it doesn't
	Done     bool          `json:"done"`          // all of the job, by all workers
}

const (
	defaultBatchTime = 200 * time.Millisecond
	defaultMaxBatch  = 1000
	firstBatch       = 100
	leastBatch       = 5
	defaultMaxErrors = 0.25
	defaultMaxBad    = 1000
	defaultLease     = time.Minute
	// failures in a row after which a batch is given up, with waits in between.
	maxFailures = 8
	failureWait = 100 * time.Millisecond
	lagWait     = time.Second
	errorWait   = 10 * time.Second
	busyWait    = time.Second
	countWait   = time.Second
)

// Run does a job on the rows of a source, as one of any number of workers, and
// yields after each batch that is durable. Breaking out of the loop is how to stop:
// the part is given back, and the next Run goes on behind it. A worker that is killed
// loses nothing but the batch that it was at; its part is another's when the lease is
// over. When the context ends, the batch that is under way is rolled back.
//
// The last thing that is yielded is a Progress with Done, when all parts of the job
// are done, or an error. A job that is done begins anew with the next Run, and then
// only reads.
//
// Rows that somebody else writes meanwhile are never overwritten: each row is written
// only if every value that was read of it is still there.
//
// Errors: ErrMismatch before anything is done; ErrBadRows at the end, with the first
// few of them, when rows were left; the source's, after it has failed several times
// in a row; keyring.ErrUnavailable, likewise; ctx's own.
func Run(ctx context.Context, ring *keyring.Keyring, kind Kind, source Source, opts *Options) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		r, err := newRunner(ring, kind, source, opts)
		if err != nil {
			yield(Progress{}, err)
			return
		}
		r.yield = yield
		if err := r.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(r.now(), err)
		}
	}
}

// RunPart is Run for one part, which an engine of another kind has handed out: a queue
// of jobs, say. It makes no claim and releases nothing. Source says what the rows hold,
// and how far replicas are behind. Lease has no meaning.
//
// The last thing that is yielded is a Progress with Done when the part is done, or an
// error. ErrBadRows: the part is done, but for the rows that were left.
//
// Errors: those of Run.
func RunPart(ctx context.Context, ring *keyring.Keyring, kind Kind, source Source, part Part, opts *Options) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		r, err := newRunner(ring, kind, source, opts)
		if err != nil {
			yield(Progress{}, err)
			return
		}
		r.yield = yield
		if err = r.work(ctx, part); err == nil {
			err = r.end()
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(r.now(), err)
		}
	}
}

// errStopped: the loop over Run has ended.
var errStopped = errors.New("stopped")
