package sqlrows

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/rotate"
)

// A jobRow is what the table of jobs says of one.
type jobRow struct {
	run              int64
	frontier         sql.NullString // behind it nobody has begun
	handed, finished bool           // all rows are in parts; all parts are done
}

// Claim implements [rotate.Source]. Workers take turns: the row of the job is locked.
func (t *Table) Claim(ctx context.Context, job *rotate.Job) (rotate.Part, error) {
	id := t.jobName(job)
	if len(id) > 300 || len(job.Worker) > 100 {
		return nil, mismatch("the name of the job or of the worker is too long")
	}
	insert := "INSERT INTO " + t.jobs + " (job, run, handed, finished) VALUES (?, 1, 0, 0) ON CONFLICT (job) DO NOTHING"
	if t.d.Dialect == sqlstore.MySQL {
		insert = "INSERT IGNORE INTO " + t.jobs + " (job, run, handed, finished) VALUES (?, 1, 0, 0)"
	}
	if _, err := t.db.ExecContext(ctx, t.d.number(insert), id); err != nil {
		return nil, fmt.Errorf("sqlrows: %w", refused(err))
	}
	var p *claimed
	err := t.transaction(ctx, func(tx *sql.Tx) (err error) {
		p, err = t.claim(ctx, tx, id, job)
		return err
	})
	switch {
	case errors.Is(err, rotate.ErrDone), errors.Is(err, rotate.ErrBusy), errors.Is(err, rotate.ErrMismatch):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("sqlrows: claim a part of %s: %w", t.name, refused(err))
	case p == nil: // the job is finished, and that was written
		return nil, rotate.ErrDone
	}
	return p, nil
}

// jobName is what the tables of jobs call a job.
func (t *Table) jobName(job *rotate.Job) string { return job.ID + " in " + t.name }

// Counted implements [rotate.Counting].
func (t *Table) Counted(ctx context.Context, job *rotate.Job) (rows int64, err error) {
	query := t.d.number("SELECT coalesce(sum(seen), 0) FROM " + t.parts + " WHERE job = ? AND run = ?")
	if err := t.db.QueryRowContext(ctx, query, t.jobName(job), job.Run).Scan(&rows); err != nil {
		return 0, fmt.Errorf("sqlrows: %w", err)
	}
	return rows, nil
}

// transaction runs fn in one.
func (t *Table) transaction(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// claim returns nil for a job that it has finished.
func (t *Table) claim(ctx context.Context, tx *sql.Tx, id string, job *rotate.Job) (*claimed, error) {
	// A write first: it is what locks SQLite, and the row elsewhere.
	if _, err := tx.ExecContext(ctx, t.d.number("UPDATE "+t.jobs+" SET run = run WHERE job = ?"), id); err != nil {
		return nil, err
	}
	var j jobRow
	query := "SELECT run, frontier, handed, finished FROM " + t.jobs + " WHERE job = ?" + t.d.lock()
	if err := tx.QueryRowContext(ctx, t.d.number(query), id).Scan(&j.run, &j.frontier, &j.handed, &j.finished); err != nil {
		return nil, err
	}
	switch {
	case job.Run != 0 && (j.run != job.Run || j.finished):
		return nil, rotate.ErrDone
	case j.finished:
		j = jobRow{run: j.run + 1}
		if _, err := tx.ExecContext(ctx, t.d.number("UPDATE "+t.jobs+" SET run = ?, frontier = NULL, handed = 0, finished = 0 WHERE job = ?"), j.run, id); err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, t.d.number("DELETE FROM "+t.parts+" WHERE job = ?"), id); err != nil {
			return nil, err
		}
	}
	job.Run = j.run
	p, err := t.abandoned(ctx, tx, id, job)
	if p != nil || err != nil {
		return p, err
	}
	if !j.handed {
		return t.nextPart(ctx, tx, id, job, j)
	}
	var open int
	if err := tx.QueryRowContext(ctx, t.d.number("SELECT count(*) FROM "+t.parts+" WHERE job = ? AND run = ? AND done = 0"), id, j.run).Scan(&open); err != nil {
		return nil, err
	}
	if open > 0 {
		return nil, rotate.ErrBusy
	}
	_, err = tx.ExecContext(ctx, t.d.number("UPDATE "+t.jobs+" SET finished = 1 WHERE job = ?"), id)
	return nil, err
}

// abandoned takes over a part that was given back, or whose lease is over, or that the
// worker has by what the database says and has lost by its own account.
func (t *Table) abandoned(ctx context.Context, tx *sql.Tx, id string, job *rotate.Job) (*claimed, error) {
	var number int64
	var reached, upto sql.NullString
	query := "SELECT part, reached, upto FROM " + t.parts + " WHERE job = ? AND run = ? AND done = 0 AND (owner = '' OR owner = ? OR lease < " + t.d.now() + ") ORDER BY part LIMIT 1"
	err := tx.QueryRowContext(ctx, t.d.number(query), id, job.Run, job.Worker).Scan(&number, &reached, &upto)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	query = "UPDATE " + t.parts + " SET owner = ?, lease = " + t.d.now() + " + ? WHERE job = ? AND run = ? AND part = ?"
	if _, err := tx.ExecContext(ctx, t.d.number(query), job.Worker, job.Lease.Milliseconds(), id, job.Run, number); err != nil {
		return nil, err
	}
	return t.part(id, job, number, reached, upto)
}

// nextPart makes a part of the next rows. The last one has no end: rows that are added
// meanwhile belong to it.
func (t *Table) nextPart(ctx context.Context, tx *sql.Tx, id string, job *rotate.Job, j jobRow) (*claimed, error) {
	after, err := t.position(j.frontier.String)
	if err != nil {
		return nil, err
	}
	upto, err := t.boundary(ctx, tx, after, t.perPart)
	if err != nil {
		return nil, err
	}
	var number int64
	if err := tx.QueryRowContext(ctx, t.d.number("SELECT coalesce(max(part), 0) + 1 FROM "+t.parts+" WHERE job = ? AND run = ?"), id, job.Run).Scan(&number); err != nil {
		return nil, err
	}
	query := "INSERT INTO " + t.parts + " (job, run, part, reached, upto, owner, lease, done, seen, written) VALUES (?, ?, ?, ?, ?, ?, " + t.d.now() + " + ?, 0, 0, 0)"
	if _, err := tx.ExecContext(ctx, t.d.number(query), id, job.Run, number, j.frontier, upto, job.Worker, job.Lease.Milliseconds()); err != nil {
		return nil, err
	}
	handed := 0
	if !upto.Valid {
		handed = 1
	}
	if _, err := tx.ExecContext(ctx, t.d.number("UPDATE "+t.jobs+" SET frontier = ?, handed = ? WHERE job = ?"), upto, handed, id); err != nil {
		return nil, err
	}
	return t.part(id, job, number, j.frontier, upto)
}

// boundary is the key of the last row of the next part, NULL if there are fewer rows.
func (t *Table) boundary(ctx context.Context, q querier, after []any, rows int) (sql.NullString, error) {
	names, reverse := "", ""
	for i, c := range t.keys {
		if i > 0 {
			names, reverse = names+", ", reverse+", "
		}
		names += t.d.column(c.name)
		reverse += t.d.column(c.name) + " DESC"
	}
	inner, args := t.between(names, after, nil, rows)
	query := "SELECT " + names + ", count(*) OVER () FROM (" + inner + ") AS s ORDER BY " + reverse + " LIMIT 1"
	key := make([]any, len(t.keys))
	into := make([]any, 0, len(t.keys)+1)
	for i := range key {
		into = append(into, &key[i])
	}
	var n int
	err := q.QueryRowContext(ctx, t.d.number(query), args...).Scan(append(into, &n)...)
	if errors.Is(err, sql.ErrNoRows) || err == nil && n < rows {
		return sql.NullString{}, nil
	}
	if err != nil {
		return sql.NullString{}, err
	}
	for i, c := range t.keys {
		key[i] = c.value(key[i])
	}
	text, err := encodeKey(key)
	return sql.NullString{String: text, Valid: true}, err
}

func (t *Table) part(id string, job *rotate.Job, number int64, reached, upto sql.NullString) (*claimed, error) {
	end, err := t.position(upto.String)
	return &claimed{t: t, id: id, job: *job, number: number, reached: reached, upto: end}, err
}
