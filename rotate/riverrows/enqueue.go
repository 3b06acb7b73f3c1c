package riverrows

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// EnqueueOptions are optional: nil and the zero value are the defaults.
type EnqueueOptions struct {
	// RowsPerJob is how many rows a part has. Default: 1,000.
	RowsPerJob int

	// Deterministic re-encrypts fields tagged det=DOMAIN, too; see rotate.Options.
	Deterministic bool

	// MaxBad is how many rows with a value that can't be opened, or sealed, are left as
	// they are before the run is stopped: its jobs are cancelled then. Enqueue again to
	// go on. Default: 1,000.
	MaxBad int64

	// MaxAttempts is how often a part may fail, or be rescued, before its job is
	// discarded. Default: River's, 25.
	MaxAttempts int

	// Inserted is told how far it is, after each transaction with parts.
	Inserted func(Run)
}

// A Run is one passage of a job through the table.
type Run struct {
	ID      int64
	Joined  bool  // it was under way
	Parts   int64 // so far
	Revived int64 // of them, whose River job was discarded, cancelled or deleted
}

const (
	defaultRowsPerJob = 1000
	defaultMaxBad     = 1000
	firstParts        = 10  // of a transaction
	mostParts         = 200 // likewise
)

// Enqueue divides a table into parts, and inserts a River job for each, in transactions of
// up to 200 parts. Workers begin with the first ones meanwhile. The last part has no end:
// rows that are added belong to it.
//
// A job that is under way is joined: what isn't divided yet is, and parts that are open
// and have no River job any more, because it was discarded, cancelled or deleted, get a
// new one. Nothing is inserted twice. If it is stopped anywhere, or killed, the next call
// goes on. A job that is done begins anew, as with rotate.Run. Only one enqueuer of
// several at once gets on, and the others lose a query now and then.
//
// Ring is its name; no key is needed.
//
// Errors: rotate.ErrMismatch for a key that rows can't be gone through by, and if the run
// that is under way does other fields of the record; the database's; ctx's own.
func (j *Jobs) Enqueue(ctx context.Context, ring string, kind rotate.Kind, table *sqlrows.Table, opts *EnqueueOptions) (*Run, error) {
	o := EnqueueOptions{}
	if opts != nil {
		o = *opts
	}
	o.RowsPerJob = cmp.Or(max(0, o.RowsPerJob), defaultRowsPerJob)
	o.MaxBad = cmp.Or(max(0, o.MaxBad), defaultMaxBad)
	if kind < rotate.Reencrypt || kind > rotate.Sweep {
		return nil, fmt.Errorf("riverrows: %w: %v", rotate.ErrMismatch, kind)
	}
	e := &enqueuer{Jobs: j, opts: o, args: argsOf(ring, kind, table, o.Deterministic), table: table}
	err := e.begin(ctx)
	for size := firstParts; err == nil && !e.handed; size = min(2*size, mostParts) {
		if err = e.divide(ctx, size); errors.Is(err, sql.ErrNoRows) { // somebody has begun anew
			err = e.begin(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("riverrows: enqueue %s: %w", e.args.name(), err)
	}
	return &e.run, nil
}

// An enqueuer is one Enqueue.
type enqueuer struct {
	*Jobs
	opts  EnqueueOptions
	args  Args
	table *sqlrows.Table

	run      Run
	frontier string // position behind which there are no parts yet
	handed   bool   // all rows are in parts
}

// A newPart is one that is inserted, or gets another job.
type newPart struct {
	Part    int64  `json:"part"`
	Reached string `json:"reached"`
	UpTo    string `json:"upto"`
	Job     int64  `json:"river_job"`
}

// begin joins the run that is under way, or begins one.
func (e *enqueuer) begin(ctx context.Context) error {
	estimate, err := e.table.Estimate(ctx)
	if err != nil {
		return err
	}
	fields, err := json.Marshal(fieldsOf(e.table))
	if err != nil {
		return err
	}
	insert := "INSERT INTO " + e.runs + " (job, fields, estimate, max_bad) VALUES ($1, $2, $3, $4) ON CONFLICT (job) DO NOTHING"
	result, err := e.db.ExecContext(ctx, insert, e.args.name(), string(fields), estimate, e.opts.MaxBad)
	if err != nil {
		return err
	}
	made, err := result.RowsAffected()
	if err != nil {
		return err
	}
	err = transaction(ctx, e.db, func(tx *sql.Tx) error {
		e.run = Run{Joined: made == 0}
		if err := e.lock(ctx, tx); err != nil {
			return err
		}
		if e.handed {
			var open bool
			if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM "+e.parts+" WHERE run = $1 AND done IS NULL)", e.run.ID).Scan(&open); err != nil {
				return err
			}
			if !open { // done: anew
				if _, err := tx.ExecContext(ctx, "DELETE FROM "+e.runs+" WHERE run = $1", e.run.ID); err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, insert, e.args.name(), string(fields), estimate, e.opts.MaxBad); err != nil {
					return err
				}
				e.run = Run{}
				return e.lock(ctx, tx)
			}
		}
		var under string
		if err := tx.QueryRowContext(ctx, "SELECT fields FROM "+e.runs+" WHERE run = $1", e.run.ID).Scan(&under); err != nil {
			return err
		}
		if under != string(fields) {
			return fmt.Errorf("%w: a run over other fields is under way: let it end first, with those that it was begun with: %s", rotate.ErrMismatch, under)
		}
		return e.revive(ctx, tx)
	})
	if errors.Is(err, sql.ErrNoRows) { // somebody has begun anew in this moment
		return e.begin(ctx)
	}
	return err
}

// lock reads and locks the row of the run.
func (e *enqueuer) lock(ctx context.Context, tx *sql.Tx) error {
	return tx.QueryRowContext(ctx, "SELECT run, frontier, parts, handed FROM "+e.runs+" WHERE job = $1 FOR UPDATE", e.args.name()).
		Scan(&e.run.ID, &e.frontier, &e.run.Parts, &e.handed)
}

// revive gives parts that are open and have no job a new one, and a run that has too many
// bad rows leave to have as many again.
func (e *enqueuer) revive(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT p.part FROM "+e.parts+" p LEFT JOIN "+e.river+" j ON j.id = p.river_job AND j.state NOT IN ('completed', 'cancelled', 'discarded')"+
		" WHERE p.run = $1 AND p.done IS NULL AND j.id IS NULL ORDER BY p.part", e.run.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	var parts []newPart
	for rows.Next() {
		var p newPart
		if err := rows.Scan(&p.Part); err != nil {
			return err
		}
		parts = append(parts, p)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if e.run.Revived = int64(len(parts)); e.run.Revived > 0 {
		text, err := e.insertJobs(ctx, tx, parts)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE "+e.parts+" p SET river_job = n.river_job FROM jsonb_to_recordset($2::jsonb) AS n(part bigint, river_job bigint) WHERE p.run = $1 AND p.part = n.part", e.run.ID, text)
		if err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "UPDATE "+e.runs+" SET max_bad = bad + $2 WHERE run = $1 AND bad >= max_bad", e.run.ID, e.opts.MaxBad)
	return err
}

// errMoved: another enqueuer was faster.
var errMoved = errors.New("moved")

// divide makes the next parts: it looks for their ends first, and then inserts them, if
// nobody else has meanwhile.
func (e *enqueuer) divide(ctx context.Context, size int) error {
	var parts []newPart
	for r, err := range e.table.RangesAfter(ctx, e.frontier, e.opts.RowsPerJob) {
		if err != nil {
			return err
		}
		parts = append(parts, newPart{Part: e.run.Parts + int64(len(parts)) + 1, Reached: r.After, UpTo: r.UpTo})
		if len(parts) == size {
			break
		}
	}
	err := transaction(ctx, e.db, func(tx *sql.Tx) error {
		run, frontier := e.run.ID, e.frontier
		if err := e.lock(ctx, tx); err != nil {
			return err
		}
		switch {
		case e.run.ID != run || e.handed || e.frontier != frontier:
			return errMoved
		}
		text, err := e.insertJobs(ctx, tx, parts)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+e.parts+" (run, part, reached, upto, river_job) SELECT $1, n.part, n.reached, n.upto, n.river_job"+
			" FROM jsonb_to_recordset($2::jsonb) AS n(part bigint, reached text, upto text, river_job bigint)", run, text); err != nil {
			return err
		}
		last := parts[len(parts)-1]
		e.frontier, e.handed, e.run.Parts = last.UpTo, last.UpTo == "", last.Part
		_, err = tx.ExecContext(ctx, "UPDATE "+e.runs+" SET frontier = $2, handed = $3, parts = $4 WHERE run = $1", run, e.frontier, e.handed, e.run.Parts)
		return err
	})
	if errors.Is(err, errMoved) {
		err = nil
	}
	if err == nil && e.opts.Inserted != nil {
		e.opts.Inserted(e.run)
	}
	return err
}

// insertJobs inserts River's jobs of parts, and returns the parts with their jobs as JSON.
func (e *enqueuer) insertJobs(ctx context.Context, tx *sql.Tx, parts []newPart) (string, error) {
	for at := 0; at < len(parts); at += mostParts {
		some := parts[at:min(at+mostParts, len(parts))]
		params := make([]river.InsertManyParams, len(some))
		for i, p := range some {
			args := e.args
			args.Run, args.Part = e.run.ID, p.Part
			params[i] = river.InsertManyParams{Args: args, InsertOpts: &river.InsertOpts{Queue: e.Jobs.opts.Queue, MaxAttempts: e.opts.MaxAttempts}}
		}
		results, err := e.client.InsertManyTx(ctx, tx, params)
		if err != nil {
			return "", err
		}
		for i, r := range results {
			some[i].Job = r.Job.ID
		}
	}
	text, err := json.Marshal(parts)
	return string(text), err
}

// transaction runs fn in one.
func transaction(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}
