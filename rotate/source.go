package rotate

import (
	"context"
	"time"

	"github.com/structseal/structseal/manifest"
)

// A Source is a table, or something like one, whose rows are of one record type.
// Package rotate/sqlrows has the one for SQL databases.
type Source interface {
	// Name says which one, in progress and errors: the table's name.
	Name() string

	// Record says what the rows hold. Its Binds, Fields and Indexes are those of the
	// rows, in this order: a bind for each label that the program binds itself, too.
	Record() *manifest.Record

	// Scan reads up to limit rows behind a position ("" for the first ones), in the
	// order of their keys, and returns the position behind them, "" if there are no
	// more. It is for Plan and Verify and locks nothing.
	Scan(ctx context.Context, after string, limit int) (rows []Row, next string, err error)

	// Claim gives a part of the rows to a worker: one that nobody works on, or whose
	// worker hasn't been heard of for the time of its lease. A worker's first claim
	// joins the run of the job that is under way, or begins one, and notes it in
	// job.Run.
	//
	// Errors: ErrDone when all parts of the run are done; ErrBusy when others work on
	// what is left.
	Claim(ctx context.Context, job *Job) (Part, error)

	// Estimate returns about how many rows there are.
	Estimate(ctx context.Context) (int64, error)
}

// A Part is a range of rows that one worker works on.
type Part interface {
	// Batch does the next rows, at most limit of them, in one short transaction
	// together with what the job remembers of it. It reads the rows and gives them to
	// change, which sets the New of cells; then it writes each row that [Row.Changes], if
	// all that was read of it is still there. If not, somebody else wrote the row:
	// it reads it again, locked, gives it to change again, and writes that. With an
	// error from change, or any other, nothing of the batch is written.
	//
	// Errors: ErrLost when another worker has the part.
	Batch(ctx context.Context, limit int, change func(context.Context, []Row) error) (Batch, error)

	// Release gives the part back, with what is left of it.
	Release(ctx context.Context) error
}

// A Lagging source knows how far its replicas are behind.
type Lagging interface {
	Lag(ctx context.Context) (time.Duration, error)
}

// A Counting source knows how many rows all workers have done in the run of a job. It
// is asked about once a second.
type Counting interface {
	Counted(ctx context.Context, job *Job) (int64, error)
}

// A Job is what workers share.
type Job struct {
	ID     string        // the same for all workers of a job
	Worker string        // who asks
	Lease  time.Duration // after which a worker that wasn't heard of has lost its part
	Run    int64         // which run of the job the worker is in; 0: none yet
}

// A Batch is what was done in one transaction.
type Batch struct {
	Rows      int  // read
	Written   int  // of them
	Conflicts int  // of them, that somebody else wrote meanwhile
	Done      bool // the part has no more
}

// A Row is what a job needs of a row.
type Row struct {
	Key   string   // its primary key, for people
	Binds []string // values as text, one for each bind of the record
	Cells []Cell   // one for each field of the record

	Indexes []Cell // one for each index of the record

	// Bad says of each value that can't be done why: the row is left as it is. A job
	// sets it, as it sets the New of cells.
	Bad []*RowError
}

// A Cell is a column of a row.
type Cell struct {
	Value []byte // nil: NULL
	Text  bool   // the column holds text, not bytes
	New   []byte // what to write instead; nil: nothing, but for Empty
	Empty bool   // write NULL instead
}

// Changes reports whether there is something to write.
func (r *Row) Changes() bool {
	for _, list := range [][]Cell{r.Cells, r.Indexes} {
		for i := range list {
			if list[i].Changes() {
				return true
			}
		}
	}
	return false
}

// Changes reports whether there is something to write.
func (c *Cell) Changes() bool { return c.New != nil || c.Empty }
