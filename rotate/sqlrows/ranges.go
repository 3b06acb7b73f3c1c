package sqlrows

import (
	"context"
	"database/sql"
	"fmt"
	"iter"

	"github.com/structseal/structseal/rotate"
)

// A Range is a part of a table's rows: those behind one position, up to and with
// another one. Positions are as in [Table.Scan]; "" is before the first row, or behind
// the last one.
type Range struct {
	After string `json:"after,omitempty"`
	UpTo  string `json:"up_to,omitempty"`
}

// Ranges divides the rows into ranges of so many, for an engine that hands them out
// itself; see [rotate.RunPart]. The last one has no end: rows that are added meanwhile
// belong to it. It reads an index, and makes a query for each range.
//
// Errors: rotate.ErrMismatch for a key that rows can't be gone through by; the
// database's.
func (t *Table) Ranges(ctx context.Context, rows int) iter.Seq2[Range, error] {
	return t.RangesAfter(ctx, "", rows)
}

// RangesAfter is Ranges for the rows behind a position, which is the UpTo of an earlier
// range: so an engine that was stopped goes on.
//
// Errors: those of Ranges; rotate.ErrMismatch if the position is none of this table.
func (t *Table) RangesAfter(ctx context.Context, after string, rows int) iter.Seq2[Range, error] {
	return func(yield func(Range, error) bool) {
		if rows <= 0 {
			rows = t.perPart
		}
		for after := after; ; {
			r, err := t.rangeBehind(ctx, after, rows)
			if !yield(r, err) || err != nil || r.UpTo == "" {
				return
			}
			after = r.UpTo
		}
	}
}

func (t *Table) rangeBehind(ctx context.Context, after string, rows int) (Range, error) {
	key, err := t.position(after)
	if err != nil {
		return Range{}, err
	}
	upto, err := t.boundary(ctx, t.db, key, rows)
	if err != nil {
		return Range{}, fmt.Errorf("sqlrows: divide %s: %w", t.name, err)
	}
	return Range{after, upto.String}, nil
}

// position is the key that a text is; nil for none.
func (t *Table) position(text string) ([]any, error) {
	if text == "" {
		return nil, nil
	}
	return decodeKey(text, len(t.keys))
}

// Part returns a range as what [rotate.RunPart] does. complete is called in the
// transaction of its last batch, with what was done in it and the batches before: an
// engine notes there that the range is done. With an error from it nothing of the batch
// is written.
//
// The part is not safe for concurrent use. If two work on the same range nothing is
// lost: the second one finds the work done.
//
// Errors: rotate.ErrMismatch if the positions are none of this table.
func (t *Table) Part(r Range, complete func(context.Context, *sql.Tx, Done) error) (rotate.Part, error) {
	p := &ranged{t: t, reached: sql.NullString{String: r.After, Valid: r.After != ""}, complete: complete}
	_, err := t.position(r.After)
	if err != nil {
		return nil, err
	}
	p.upto, err = t.position(r.UpTo)
	return p, err
}

// Steps is Part with a note in the transaction of each batch, not of the last one alone:
// for an engine that remembers how far a range is. A range that begins at Reached goes on
// there.
//
// Errors: those of Part.
func (t *Table) Steps(r Range, note func(context.Context, *sql.Tx, Step) error) (rotate.Part, error) {
	p, err := t.Part(r, nil)
	if err == nil {
		p.(*ranged).note = note
	}
	return p, err
}

// A Step is what one batch has done of a range.
type Step struct {
	rotate.Batch                    // Done: it was the last one
	Bad          []*rotate.RowError // values that are left as they are
	Reached      string             // position of the last row that is done
}

// Done is what was done of a range.
type Done struct {
	Rows      int                // read
	Written   int                // of them
	Conflicts int                // of them, that somebody else wrote meanwhile
	Bad       []*rotate.RowError // values that are left as they are
}

// ranged is a part that an engine has handed out.
type ranged struct {
	t        *Table
	reached  sql.NullString
	upto     []any
	done     Done // in the batches that are durable
	complete func(context.Context, *sql.Tx, Done) error
	note     func(context.Context, *sql.Tx, Step) error // or this one
}

// Batch implements [rotate.Part].
func (p *ranged) Batch(ctx context.Context, limit int, change func(context.Context, []rotate.Row) error) (rotate.Batch, error) {
	sum := p.done
	b, err := p.t.batch(ctx, p.reached, p.upto, limit, change, func(ctx context.Context, tx *sql.Tx, b done) error {
		if p.note != nil {
			return p.note(ctx, tx, Step{b.Batch, b.bad, b.reached.String})
		}
		sum = Done{p.done.Rows + b.Rows, p.done.Written + b.Written, p.done.Conflicts + b.Conflicts, append(p.done.Bad[:len(p.done.Bad):len(p.done.Bad)], b.bad...)}
		if !b.Done {
			return nil
		}
		return p.complete(ctx, tx, sum)
	})
	if err != nil {
		return rotate.Batch{}, err
	}
	p.done, p.reached = sum, b.reached
	return b.Batch, nil
}

// Release implements [rotate.Part]: the engine knows by itself.
func (p *ranged) Release(context.Context) error { return nil }
