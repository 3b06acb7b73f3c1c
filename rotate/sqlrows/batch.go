package sqlrows

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/rotate"
)

// claimed is a part of a job that a worker has.
type claimed struct {
	t       *Table
	id      string
	job     rotate.Job
	number  int64
	reached sql.NullString // what is done: up to and with this key
	upto    []any          // nil: to the end
}

// Batch implements [rotate.Part].
func (p *claimed) Batch(ctx context.Context, limit int, change func(context.Context, []rotate.Row) error) (rotate.Batch, error) {
	b, err := p.t.batch(ctx, p.reached, p.upto, limit, change, p.advance)
	if err != nil {
		return rotate.Batch{}, err
	}
	p.reached = b.reached
	return b.Batch, nil
}

// done is what a transaction has done, and how far it came.
type done struct {
	rotate.Batch
	reached sql.NullString
	bad     []*rotate.RowError
}

// batch does the next rows behind a position, up to a key, in one transaction, in which
// remember writes what is to be known of it.
func (t *Table) batch(ctx context.Context, after sql.NullString, upto []any, limit int, change func(context.Context, []rotate.Row) error, remember func(context.Context, *sql.Tx, done) error) (done, error) {
	begin, err := t.position(after.String)
	if err != nil {
		return done{}, err
	}
	query, args := t.between(t.sql.columns, begin, upto, limit)
	rows, err := t.read(ctx, t.db, t.d.number(query), args)
	if err != nil {
		return done{}, fmt.Errorf("sqlrows: read %s: %w", t.name, refused(err))
	}
	given := plain(rows)
	if err := change(ctx, given); err != nil {
		return done{}, err
	}
	out := done{Batch: rotate.Batch{Rows: len(rows), Done: len(rows) < limit}, reached: after}
	if len(rows) > 0 {
		text, err := encodeKey(rows[len(rows)-1].key)
		if err != nil {
			return done{}, err
		}
		out.reached = sql.NullString{String: text, Valid: true}
		if upto != nil && !out.Done {
			end, err := encodeKey(upto)
			if err != nil {
				return done{}, err
			}
			out.Done = text == end // nothing can be between
		}
	}
	err = t.transaction(ctx, func(tx *sql.Tx) error {
		out.Written, out.Conflicts, out.bad = 0, 0, nil
		if err := t.strict(ctx, tx); err != nil {
			return err
		}
		w := writer{t: t, tx: tx, change: change, prepared: make(map[string]*sql.Stmt)}
		defer w.close()
		for i := range rows {
			r := rows[i]
			r.Row = given[i]
			written, conflict, err := w.write(ctx, &r)
			if err != nil {
				return err
			}
			if written {
				out.Written++
			}
			if conflict {
				out.Conflicts++
			}
			out.bad = append(out.bad, r.Bad...)
		}
		return remember(ctx, tx, out)
	})
	if err != nil {
		return done{}, fmt.Errorf("sqlrows: write %s: %w", t.name, refused(err))
	}
	return out, nil
}

// strict refuses a connection to MySQL that would cut a ciphertext which is too long for
// its column, with a warning that nobody sees.
func (t *Table) strict(ctx context.Context, tx *sql.Tx) error {
	if t.d.Dialect != sqlstore.MySQL {
		return nil
	}
	var mode string
	if err := tx.QueryRowContext(ctx, "SELECT @@sql_mode").Scan(&mode); err != nil {
		return err
	}
	if !strings.Contains(mode, "STRICT_TRANS_TABLES") && !strings.Contains(mode, "STRICT_ALL_TABLES") {
		return mismatch("sql_mode isn't strict: what is too long for a column would be cut. Connect with sql_mode STRICT_TRANS_TABLES")
	}
	return nil
}

// A writer writes the rows of a batch.
type writer struct {
	t        *Table
	tx       *sql.Tx
	change   func(context.Context, []rotate.Row) error
	prepared map[string]*sql.Stmt // most rows are written by the same statement
}

func (w *writer) close() {
	for _, s := range w.prepared {
		s.Close()
	}
}

// execute returns how many rows a statement has met.
func (w *writer) execute(ctx context.Context, query string, args []any) (int64, error) {
	s := w.prepared[query]
	if s == nil {
		var err error
		if s, err = w.tx.PrepareContext(ctx, query); err != nil {
			return 0, err
		}
		w.prepared[query] = s
	}
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// write writes a row as it was to be, or, if somebody else has written it, as it is to
// be now.
func (w *writer) write(ctx context.Context, r *row) (written, conflict bool, err error) {
	for ; r.Changes(); conflict = true {
		query, args := w.t.update(r)
		n, err := w.execute(ctx, query, args)
		switch {
		case err != nil:
			return false, false, err
		case n == 1:
			return true, conflict, nil
		case n > 1:
			return false, false, mismatch("the key %s of table %s isn't unique", r.Key, w.t.name)
		case conflict:
			return false, false, mismatch("table %s, row %s: locked and read, it still isn't what it is compared with: a trigger or a type changes what is written into a column", w.t.name, r.Key)
		}
		now, err := w.t.read(ctx, w.tx, w.t.sql.lock, r.key)
		if err != nil {
			return false, false, err
		}
		if len(now) == 0 {
			return false, true, nil // deleted
		}
		one := []rotate.Row{now[0].Row}
		if err := w.change(ctx, one); err != nil {
			return false, false, err
		}
		*r = now[0]
		r.Row = one[0]
	}
	return false, conflict, nil
}

// advance writes how far the part is, if it still is this worker's, and as far as this
// worker knows: a database that has crashed, or a replica that has taken its place, may
// have lost what it had committed, rows and positions alike.
func (p *claimed) advance(ctx context.Context, tx *sql.Tx, b done) error {
	last := 0
	if b.Done {
		last = 1
	}
	query := "UPDATE " + p.t.parts + " SET reached = ?, done = ?, seen = seen + ?, written = written + ?, lease = " + p.t.d.now() + " + ? WHERE job = ? AND run = ? AND part = ? AND owner = ? AND done = 0 AND " + p.t.d.same(column{name: "reached", text: true}, p.reached.String)
	result, err := tx.ExecContext(ctx, p.t.d.number(query), b.reached, last, b.Rows, b.Written, p.job.Lease.Milliseconds(), p.id, p.job.Run, p.number, p.job.Worker, p.reached)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return rotate.ErrLost
	}
	return nil
}

// Release implements [rotate.Part].
func (p *claimed) Release(ctx context.Context) error {
	query := "UPDATE " + p.t.parts + " SET owner = '' WHERE job = ? AND run = ? AND part = ? AND owner = ?"
	if _, err := p.t.db.ExecContext(ctx, p.t.d.number(query), p.id, p.job.Run, p.number, p.job.Worker); err != nil {
		return fmt.Errorf("sqlrows: %w", err)
	}
	return nil
}
