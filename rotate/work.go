package rotate

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/manifest"
)

// A worker changes rows. It keeps no state of a batch, so that one which is rolled
// back can be done again.
type worker struct {
	kind     Kind
	source   Source
	from, to *keyring.Keyring
	old, new *layout
	det      bool
	index    Indexer
	dry      bool // tell, and seal nothing
}

// tally is what a row was found to be.
type tally struct {
	current, changed, null, plain, forgotten int // values
	indexes                                  int // made anew, or emptied
	bad                                      []*RowError
}

// change sets the New of what is to be written, on all cores, and returns what each
// row is.
func (w *worker) change(ctx context.Context, rows []Row) ([]tally, error) {
	if w.old.subject >= 0 {
		if err := w.warm(ctx, rows); err != nil {
			return nil, err
		}
	}
	const chunk = 64
	all := make([]tally, len(rows))
	var first error
	var mu sync.Mutex
	var wg sync.WaitGroup
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	for from := 0; from < len(rows); from += chunk {
		part := rows[from:min(from+chunk, len(rows))]
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			err := w.changeSome(ctx, part, all[from:])
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return all, first
}

// warm loads the keys of many subjects together. What fails here fails again, where
// it can be told of each row.
func (w *worker) warm(ctx context.Context, rows []Row) error {
	var subjects []keyring.Subject
	for i := range rows {
		if w.kind != Sweep || indexed(&rows[i]) {
			subjects = append(subjects, w.old.who(&rows[i]))
		}
	}
	err := w.from.WarmSubjects(ctx, subjects, w.kind == Backfill && !w.dry)
	if err == nil && w.to != w.from {
		err = w.to.WarmSubjects(ctx, subjects, !w.dry)
	}
	if errors.Is(err, keyring.ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	return nil
}

func (w *worker) changeSome(ctx context.Context, rows []Row, tallies []tally) error {
	var s scratch
	defer s.wipe()
	for i := range rows {
		t := &tallies[i]
		if err := w.changeRow(ctx, &rows[i], &s, t); err != nil {
			return err
		}
		rows[i].Bad = t.bad
		if len(t.bad) > 0 { // all of a row or nothing
			t.changed, t.indexes = 0, 0
			rows[i].keep()
		}
	}
	return nil
}

// scratch is memory that is used from row to row.
type scratch struct {
	binds, context, frame, plain, check []byte
}

func (s *scratch) wipe() {
	clear(s.plain[:cap(s.plain)])
	clear(s.check[:cap(s.check)])
}

// keys are whose keys a row uses: the ring's, or its subject's.
type keys struct {
	ring    *keyring.Keyring
	subject *keyring.SubjectKeys
}

func (k keys) primary(ctx context.Context, p keyring.Purpose) (*crypto.Key, error) {
	if k.subject != nil {
		return k.subject.Primary()
	}
	return k.ring.Primary(ctx, p)
}

func (k keys) named(ctx context.Context, p keyring.Purpose, id uint32) (*crypto.Key, error) {
	if k.subject != nil {
		return k.subject.Key(ctx, id)
	}
	return k.ring.Key(ctx, p, id)
}

func (k keys) release() {
	if k.subject != nil {
		k.subject.Release()
	}
}

// keysOf finds the keys of a row in a ring.
func (w *worker) keysOf(ctx context.Context, ring *keyring.Keyring, l *layout, row *Row, create bool) (keys, error) {
	if l.subject < 0 {
		return keys{ring: ring}, nil
	}
	find := ring.Subject
	if create {
		find = ring.EnsureSubject
	}
	k, err := find(ctx, l.who(row))
	return keys{ring: ring, subject: &k}, err
}

// A rowWorker has what the values of one row share.
type rowWorker struct {
	*worker
	ctx       context.Context
	row       *Row
	old, next keys
	acquired  bool
	failed    error // to find the keys
	s         *scratch
	t         *tally
}

// changeRow looks at the values of a row and seals anew what is to be. An error is
// what ends the batch: nobody can be asked. What is wrong with the row alone goes
// into the tally.
func (w *worker) changeRow(ctx context.Context, row *Row, s *scratch, t *tally) error {
	r := rowWorker{worker: w, ctx: ctx, row: row, s: s, t: t}
	row.keep()
	for i := range row.Binds {
		if row.Binds[i] == "" && hasValue(row) {
			return r.bad(0, 0, fmt.Errorf("%w: the column of bind field %s is empty", ErrMismatch, w.old.record.Binds[i].Label))
		}
	}
	defer r.release()
	switch w.kind {
	case Sweep:
		return r.sweep()
	case Reindex:
		return r.reindex()
	}
	for i := range row.Cells {
		if err := r.cell(i); err != nil {
			return err
		}
	}
	return nil
}

// acquire finds the keys of the row when the first value needs them.
func (r *rowWorker) acquire() error {
	if r.acquired || r.failed != nil {
		return r.failed
	}
	w := r.worker
	if r.old, r.failed = w.keysOf(r.ctx, w.from, w.old, r.row, w.kind == Backfill && !w.dry); r.failed != nil {
		return r.failed
	}
	if r.next = r.old; w.to != w.from {
		if r.next, r.failed = w.keysOf(r.ctx, w.to, w.new, r.row, !w.dry); r.failed != nil {
			r.old.release()
			return r.failed
		}
	}
	r.acquired = true
	r.s.binds = w.old.binds(r.s.binds[:0], r.row) // the same for each ring
	return nil
}

func (r *rowWorker) release() {
	if !r.acquired {
		return
	}
	r.old.release()
	if r.to != r.from {
		r.next.release()
	}
}

// bad notes what is wrong with a value, or returns an error if it isn't the value.
func (r *rowWorker) bad(field int, id uint32, err error) error {
	e := &RowError{r.source.Name(), r.row.Key, r.worker.old.record.FieldLabel(&r.worker.old.record.Fields[field]), id, err}
	// A key that is wiped in use isn't the value's fault.
	if errors.Is(err, keyring.ErrUnavailable) || errors.Is(err, crypto.ErrWiped) || r.ctx.Err() != nil {
		return e
	}
	r.t.bad = append(r.t.bad, e)
	return nil
}

func (r *rowWorker) cell(i int) error {
	cell, field := &r.row.Cells[i], &r.worker.old.record.Fields[i]
	if cell.Value == nil {
		r.t.null++
		return nil
	}
	if field.Det != "" && !r.det {
		r.t.current++
		return nil
	}
	ct, err := decode(r.s, cell)
	if err == nil && ct == nil && r.kind == Backfill {
		err = checkPlain(field, cell.Value)
	}
	switch {
	case err != nil:
		return r.bad(i, 0, err)
	case ct == nil && r.kind != Backfill:
		r.t.plain++
		return nil
	case ct == nil && r.dry:
		r.t.changed++
		return nil
	}
	switch err := r.acquire(); {
	case errors.Is(err, keyring.ErrForgotten):
		r.t.forgotten++
		return nil
	case err != nil:
		return r.bad(i, 0, err)
	}
	purpose := r.worker.old.purpose(i)
	primary, err := r.next.primary(r.ctx, purpose)
	if err != nil {
		return r.bad(i, 0, err)
	}
	plain := cell.Value
	if ct != nil {
		id, _ := crypto.KeyID(ct)
		if id == primary.ID() && r.to == r.from {
			r.t.current++
			return nil
		}
		key, err := r.old.named(r.ctx, purpose, id)
		if err == nil && r.kind == Backfill {
			r.t.current++
			return nil
		}
		if err == nil && !r.dry {
			r.s.context = r.worker.old.context(r.s.context[:0], i, r.s.binds)
			r.s.plain, err = key.Open(r.s.plain[:0], ct, r.s.context)
			plain = r.s.plain
		}
		if err != nil && r.isCurrent(purpose, id, i, ct) {
			r.t.current++
			return nil
		}
		if err != nil {
			return r.bad(i, id, err)
		}
	}
	if !r.dry {
		r.s.context = r.new.context(r.s.context[:0], i, r.s.binds)
		if cell.New, err = seal(r.s, primary, plain, r.s.context, r.texts(i, cell, ct)); err != nil {
			return r.bad(i, primary.ID(), err)
		}
	}
	r.t.changed++
	return nil
}

// texts reports whether a column gets the text form: what was there decides, and for
// a plaintext its column and its form.
func (r *rowWorker) texts(i int, cell *Cell, ct []byte) bool {
	if cell.Text {
		return true
	}
	if ct != nil {
		return bytes.HasPrefix(cell.Value, []byte(crypto.TextPrefix))
	}
	return r.worker.old.record.Fields[i].Form == manifest.FormString
}

// isCurrent reports whether a value is the other ring's already. Ids of two rings may
// be equal by chance, so it is opened.
func (r *rowWorker) isCurrent(p keyring.Purpose, id uint32, field int, ct []byte) bool {
	if r.to == r.from {
		return false
	}
	key, err := r.next.named(r.ctx, p, id)
	if err != nil {
		return false
	}
	r.s.context = r.new.context(r.s.context[:0], field, r.s.binds)
	r.s.check, err = key.Open(r.s.check[:0], ct, r.s.context)
	return err == nil
}

// keep takes back what was to be written.
func (r *Row) keep() {
	for _, list := range [][]Cell{r.Cells, r.Indexes} {
		for i := range list {
			list[i].New, list[i].Empty = nil, false
		}
	}
}

func hasValue(row *Row) bool {
	for i := range row.Cells {
		if row.Cells[i].Value != nil {
			return true
		}
	}
	return false
}

// decode returns the ciphertext of a cell, valid until the next call; nil if it holds
// plaintext. What begins like a ciphertext and is none is neither: Decrypt doesn't let
// it pass for plaintext either.
func decode(s *scratch, cell *Cell) ([]byte, error) {
	if cell.Text || bytes.HasPrefix(cell.Value, []byte(crypto.TextPrefix)) {
		if !bytes.HasPrefix(cell.Value, []byte(crypto.TextPrefix)) {
			return nil, nil
		}
		ct, err := crypto.ParseText(s.frame[:0], string(cell.Value))
		if err != nil {
			return nil, err
		}
		s.frame = ct
		if _, err := crypto.KeyID(ct); err != nil {
			return nil, crypto.ErrMalformed // base64 of something else
		}
		return ct, nil
	}
	if _, err := crypto.KeyID(cell.Value); errors.Is(err, crypto.ErrNotEncrypted) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return cell.Value, nil
}

// seal returns the value for the column, after it has opened again to what it was
// made of.
func seal(s *scratch, key *crypto.Key, plain, context []byte, text bool) ([]byte, error) {
	ct, err := key.Seal(nil, plain, context)
	if err != nil {
		return nil, err
	}
	if s.check, err = key.Open(s.check[:0], ct, context); err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(s.check, plain) != 1 {
		return nil, errors.New("what was sealed opens to something else: the memory of this machine may be bad")
	}
	if text {
		return crypto.AppendText(nil, ct), nil
	}
	return ct, nil
}

// checkPlain refuses a plaintext that the program couldn't read back.
func checkPlain(f *manifest.Field, value []byte) error {
	if f.Form != manifest.FormSealed {
		return nil
	}
	return checkSealed(f.Type, value)
}
