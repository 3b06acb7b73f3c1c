package rotate

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/manifest"
)

// checkIndexes refuses a job over indexes that has nothing to do, or can't do it.
func checkIndexes(kind Kind, l *layout, index Indexer) error {
	r := l.record
	switch {
	case kind != Sweep && kind != Reindex:
		return nil
	case len(r.Indexes) == 0:
		return fmt.Errorf("%w: record %s has no indexes", ErrMismatch, r.Label)
	case kind == Sweep && l.subject < 0:
		return fmt.Errorf("%w: record %s has no subject, so that none of its rows is ever forgotten", ErrMismatch, r.Label)
	case kind == Reindex && index == nil:
		return fmt.Errorf("%w: record %s: who makes its indexes? See Options.Index", ErrMismatch, r.Label)
	}
	for i := range r.Indexes {
		if l.fieldOf(&r.Indexes[i]) < 0 {
			return fmt.Errorf("%w: record %s: index %s is of the field %s, which isn't among those of the job", ErrMismatch, r.Label, r.Indexes[i].Label, r.Indexes[i].Of)
		}
	}
	return nil
}

// fieldOf is which field an index is of, -1 if it is none.
func (l *layout) fieldOf(x *manifest.Index) int {
	return slices.IndexFunc(l.record.Fields, func(f manifest.Field) bool { return strings.Join(f.Path, ".") == x.Of })
}

// indexed reports whether a row has an index that isn't empty.
func indexed(row *Row) bool {
	return slices.ContainsFunc(row.Indexes, func(c Cell) bool { return c.Value != nil })
}

// sweep empties the indexes of a row whose subject is forgotten.
func (r *rowWorker) sweep() error {
	if !indexed(r.row) {
		return nil
	}
	err := r.acquire()
	switch {
	case errors.Is(err, keyring.ErrForgotten):
		for i := range r.row.Indexes {
			r.setIndex(i, nil)
		}
		return nil
	case errors.Is(err, crypto.ErrUnknownKey): // a subject without keys wasn't forgotten
		return nil
	case err != nil:
		return r.bad(0, 0, err)
	}
	return nil
}

// reindex makes the indexes of a row anew.
func (r *rowWorker) reindex() error {
	for i := range r.row.Indexes {
		index := &r.worker.old.record.Indexes[i]
		field := r.worker.old.fieldOf(index)
		plain, left, err := r.open(field)
		if err != nil {
			return err
		}
		if left {
			continue
		}
		var value []byte
		if plain != nil {
			if value, err = r.index(r.ctx, index, r.row, plain); err != nil {
				if err := r.bad(field, 0, fmt.Errorf("index %s: %w", index.Label, err)); err != nil {
					return err
				}
				continue
			}
		}
		r.setIndex(i, value)
	}
	return nil
}

// open decrypts a value; nil for NULL, and for that of a forgotten subject. left: it is
// plaintext, or bad, and that is noted.
func (r *rowWorker) open(field int) (plain []byte, left bool, err error) {
	cell := &r.row.Cells[field]
	if cell.Value == nil {
		r.t.null++
		return nil, false, nil
	}
	ct, err := decode(r.s, cell)
	if err != nil {
		return nil, true, r.bad(field, 0, err)
	}
	if ct == nil {
		r.t.plain++
		return nil, true, nil
	}
	switch err := r.acquire(); {
	case errors.Is(err, keyring.ErrForgotten):
		r.t.forgotten++
		return nil, false, nil
	case err != nil:
		return nil, true, r.bad(field, 0, err)
	}
	id, _ := crypto.KeyID(ct)
	key, err := r.old.named(r.ctx, r.worker.old.purpose(field), id)
	if err == nil {
		r.s.context = r.worker.old.context(r.s.context[:0], field, r.s.binds)
		r.s.plain, err = key.Open(r.s.plain[:0], ct, r.s.context)
	}
	if err != nil {
		return nil, true, r.bad(field, id, err)
	}
	r.t.current++
	if r.s.plain == nil {
		r.s.plain = []byte{}
	}
	return r.s.plain, false, nil
}

// setIndex has an index written if it isn't what it is to be.
func (r *rowWorker) setIndex(i int, value []byte) {
	cell := &r.row.Indexes[i]
	if (cell.Value == nil) == (value == nil) && bytes.Equal(cell.Value, value) {
		return
	}
	cell.New, cell.Empty = value, value == nil
	r.t.indexes++
}
