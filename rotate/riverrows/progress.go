package riverrows

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// Progress is how far a run is.
type Progress struct {
	Run     int64
	Handed  bool // all rows are in parts; until then the enqueuer is at work, or has to go on
	Done    bool // handed, and all parts are done
	Stopped bool // handed, and all parts that are open have failed: enqueue again

	// Parts.
	Parts   int64
	Ready   int64 // of them: to be done
	Running int64 // a worker is at it, or was killed at it
	Waiting int64 // put off, or to be tried again
	Failed  int64 // discarded, cancelled, or the job was deleted: for the next Enqueue
	Ended   int64 // done

	// Rows of all parts.
	Rows      int64 // read
	Written   int64 // of them
	Conflicts int64 // of them, that somebody else wrote meanwhile
	BadRows   int64 // left as they are

	Estimate int64         // rows of the table, about, when the run began
	Began    time.Time     // by the database's clock
	Elapsed  time.Duration // until now, or until the last part was done
	Rate     float64       // rows a second lately, by all workers; 0 if unknown
	Left     time.Duration // about; -1 if unknown

	Bad      []BadRow  // the first 20
	Failures []Failure // the first 5
	Why      string    // a job waits, "" if none does
}

// A Failure is a part whose job was given up.
type Failure struct {
	Part  int64
	State string // "discarded", "cancelled", "deleted"
	Error string // of the last attempt
}

// lately is the time that a rate is measured in.
const lately = 30 * time.Second

// Progress tells how far the last run of a job is. It makes four queries, which
// go over all parts of the run, and over the jobs of those that are open.
//
// Errors: ErrNoRun; the database's.
func (j *Jobs) Progress(ctx context.Context, ring string, kind rotate.Kind, table *sqlrows.Table, opts *EnqueueOptions) (*Progress, error) {
	args := argsOf(ring, kind, table, opts != nil && opts.Deterministic)
	p := &Progress{Left: -1}
	// One snapshot: a run that is begun anew meanwhile isn't mixed with the one before.
	tx, err := j.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err == nil {
		defer tx.Rollback()
		err = j.progress(ctx, tx, args.name(), p)
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoRun
	}
	if err != nil {
		return nil, fmt.Errorf("riverrows: %s: %w", args.name(), err)
	}
	return p, nil
}

func (j *Jobs) progress(ctx context.Context, tx *sql.Tx, name string, p *Progress) error {
	var age, recent float64
	err := tx.QueryRowContext(ctx, "SELECT run, handed, estimate, began, extract(epoch FROM clock_timestamp() - began)::float8 FROM "+j.runs+" WHERE job = $1", name).
		Scan(&p.Run, &p.Handed, &p.Estimate, &p.Began, &age)
	if err != nil {
		return err
	}
	var span float64
	err = tx.QueryRowContext(ctx, "SELECT count(*), count(done), coalesce(sum(seen), 0)::bigint, coalesce(sum(written), 0)::bigint, coalesce(sum(conflicts), 0)::bigint, coalesce(sum(bad), 0)::bigint,"+
		" coalesce(sum(seen) FILTER (WHERE done > clock_timestamp() - $2 * interval '1 second'), 0)::float8,"+
		" coalesce(extract(epoch FROM max(done) - $3::timestamptz), 0)::float8"+
		" FROM "+j.parts+" WHERE run = $1", p.Run, lately.Seconds(), p.Began).
		Scan(&p.Parts, &p.Ended, &p.Rows, &p.Written, &p.Conflicts, &p.BadRows, &recent, &span)
	if err != nil {
		return err
	}
	if err := j.open(ctx, tx, p); err != nil {
		return err
	}
	if err := j.told(ctx, tx, p); err != nil {
		return err
	}
	p.Done = p.Handed && p.Ended == p.Parts
	p.Stopped = p.Handed && !p.Done && p.Ended+p.Failed == p.Parts
	if p.Done {
		age = span
	}
	p.Elapsed = time.Duration(age * float64(time.Second))
	if within := min(age, lately.Seconds()); within > 0 {
		p.Rate = recent / within
	}
	if p.Rate > 0 && p.Estimate >= p.Rows {
		p.Left = time.Duration(float64(p.Estimate-p.Rows) / p.Rate * float64(time.Second))
	}
	return nil
}

// open looks at the jobs of parts that are open.
func (j *Jobs) open(ctx context.Context, tx *sql.Tx, p *Progress) error {
	rows, err := tx.QueryContext(ctx, "SELECT coalesce(j.state::text, 'deleted'), count(*), coalesce(max(j.metadata->'output'->>'waiting'), '') FROM "+j.parts+" p LEFT JOIN "+j.river+" j ON j.id = p.river_job"+
		" WHERE p.run = $1 AND p.done IS NULL GROUP BY 1", p.Run)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var state, why string
		var n int64
		if err := rows.Scan(&state, &n, &why); err != nil {
			return err
		}
		switch {
		case state == "running":
			p.Running += n
			continue
		case state == "available" && why == "":
			p.Ready += n
			continue
		case state == "available", state == "scheduled", state == "retryable", state == "pending":
			p.Waiting += n
		default:
			p.Failed += n
			continue
		}
		if why != "" {
			p.Why = why
		}
	}
	return rows.Err()
}

// told reads what there is to tell of bad rows, and of parts that have failed.
func (j *Jobs) told(ctx context.Context, tx *sql.Tx, p *Progress) error {
	if p.BadRows > 0 {
		err := each(ctx, tx, func(rows *sql.Rows) error {
			var text string
			var bad []BadRow
			if err := rows.Scan(&text); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(text), &bad); err != nil {
				return err
			}
			p.Bad = append(p.Bad, bad[:min(len(bad), maxTold-len(p.Bad))]...)
			return nil
		}, "SELECT told FROM "+j.parts+" WHERE run = $1 AND told <> '' ORDER BY part LIMIT $2", p.Run, maxTold)
		if err != nil {
			return err
		}
	}
	if p.Failed == 0 {
		return nil
	}
	return each(ctx, tx, func(rows *sql.Rows) error {
		var f Failure
		if err := rows.Scan(&f.Part, &f.State, &f.Error); err != nil {
			return err
		}
		p.Failures = append(p.Failures, f)
		return nil
	}, "SELECT p.part, coalesce(j.state::text, 'deleted'), coalesce(j.errors[array_upper(j.errors, 1)]->>'error', '') FROM "+j.parts+" p LEFT JOIN "+j.river+" j ON j.id = p.river_job"+
		" WHERE p.run = $1 AND p.done IS NULL AND (j.id IS NULL OR j.state IN ('completed', 'cancelled', 'discarded')) ORDER BY p.part LIMIT 5", p.Run)
}

func each(ctx context.Context, tx *sql.Tx, fn func(*sql.Rows) error, query string, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
