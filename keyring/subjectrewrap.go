package keyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/structseal/structseal/crypto"
)

// RewrapSubjectsOptions are optional: nil and the zero value are the defaults.
type RewrapSubjectsOptions struct {
	// After is where to go on: the Last of a Progress. Zero: from the first one.
	After SubjectHash
	// Limit is how many subjects to look at. 0: all.
	Limit int
	// Progress is told after each page.
	Progress func(p RewrapProgress)
}

// RewrapProgress is how far RewrapSubjects is.
type RewrapProgress struct {
	Seen      int         // subjects looked at
	Rewrapped int         // of them, wrapped by the primary now
	Failed    int         // of them, left alone because their records are bad
	Last      SubjectHash // go on behind it
	Done      bool        // there are no more
}

// RewrapSubjects wraps the keys of all subjects by the primary subject-wrap key,
// after that was rotated: unwrapped, wrapped, unwrapped again and compared, and
// stored by a compare-and-swap each. No ciphertext is touched, and no KMS called
// per subject. Subjects that are wrapped by it already, and tombstones, are only
// read. It can be interrupted anywhere and repeated, or resumed with After;
// Maintain does it in the background.
//
// Errors: those of EnsureSubject. Of bad records (ErrCorrupt, ErrFormat,
// ErrTampered, ErrUnknownKey) the first few are returned when all others are done;
// any other error ends it, and the subjects before have been rewrapped, as the
// progress returned says.
func (r *Keyring) RewrapSubjects(ctx context.Context, opts *RewrapSubjectsOptions) (RewrapProgress, error) {
	if opts == nil {
		opts = new(RewrapSubjectsOptions)
	}
	p, err := r.core().subjects.rewrap(ctx, *opts)
	return p, ringError(r.name, err)
}

func (s *subjects) rewrap(ctx context.Context, opts RewrapSubjectsOptions) (p RewrapProgress, err error) {
	p.Last = opts.After
	if err := s.ring.refresh(ctx); err != nil {
		return p, err
	}
	var bad badRecords
	err = s.each(ctx, opts.After, opts.Limit, func(page []SubjectHash, rows map[SubjectHash]Record, last bool) error {
		primary, _, err := s.wrapKey(ctx, 0)
		if err != nil {
			return err
		}
		n, err := s.rewrapPage(ctx, page, rows, primary.ID(), &bad)
		p.Rewrapped += n
		if err != nil {
			return err
		}
		p.Failed = bad.n
		p.Seen += len(page)
		if len(page) > 0 {
			p.Last = page[len(page)-1]
		}
		p.Done = last
		if opts.Progress != nil {
			opts.Progress(p)
		}
		return nil
	})
	return p, cmp.Or(err, bad.err())
}

// badRecords are those that are left alone.
type badRecords struct {
	mu   sync.Mutex
	n    int
	list []error // the first few
}

// add takes an error that is one record's own affair.
func (b *badRecords) add(err error) bool {
	for _, own := range []error{ErrCorrupt, ErrFormat, ErrTampered, ErrTooLarge, ErrUnknownKey, ErrKeyDestroyed, ErrKeyDisabled} {
		if errors.Is(err, own) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.n++; len(b.list) < 5 {
				b.list = append(b.list, err)
			}
			return true
		}
	}
	return false
}

func (b *badRecords) err() error {
	if b.n == 0 {
		return nil
	}
	return fmt.Errorf("%d subjects left alone: %w", b.n, errors.Join(b.list...))
}

// each goes over all records of subjects, a page at a time.
func (s *subjects) each(ctx context.Context, after SubjectHash, limit int, fn func(page []SubjectHash, rows map[SubjectHash]Record, last bool) error) error {
	if s.store == nil {
		return errNoSubjects
	}
	for seen := 0; ; {
		size := MaxSubjectBatch
		if limit > 0 {
			size = min(size, limit-seen)
		}
		page, err := s.list(ctx, after, size)
		if err != nil {
			return err
		}
		rows := map[SubjectHash]Record{}
		if len(page) > 0 {
			if rows, err = s.read(ctx, s.store, page); err != nil {
				return err
			}
			after = page[len(page)-1]
		}
		last := len(page) < size
		if err := fn(page, rows, last); err != nil {
			return err
		}
		if seen += len(page); last || limit > 0 && seen >= limit {
			return nil
		}
	}
}

func (s *subjects) list(ctx context.Context, after SubjectHash, limit int) ([]SubjectHash, error) {
	c := s.ring.core()
	return ask(ctx, c, s.store.gate, &c.counts.reads, func(ctx context.Context) ([]SubjectHash, error) {
		return s.store.ListSubjects(ctx, s.ring.name, after, limit)
	})
}

// rewrapPage rewraps those of a page that another key wraps, and counts them.
func (s *subjects) rewrapPage(ctx context.Context, page []SubjectHash, rows map[SubjectHash]Record, primary uint32, bad *badRecords) (int, error) {
	var n atomic.Int64
	err := severally(len(page), storeCalls, func(i int) error {
		done, err := s.rewrapOne(ctx, page[i], rows[page[i]], primary)
		if done {
			n.Add(1)
		}
		if bad.add(err) {
			return nil
		}
		return err
	})
	return int(n.Load()), err
}

// wrappedBy returns the id of the key that wraps a subject's; 0 if it is forgotten.
func wrappedBy(h SubjectHash, r Record) (uint32, error) {
	rec, err := parseSubject(r)
	if err == nil && rec.state != subjectOpen {
		return 0, nil
	}
	var id uint32
	if err == nil {
		id, err = crypto.KeyID(rec.rest)
	}
	if err != nil {
		return 0, fmt.Errorf("subject %x: %w", h[:8], err)
	}
	return id, nil
}

// rewrapOne rewraps a subject whose keys another key wraps, starting from what a
// page had of it.
func (s *subjects) rewrapOne(ctx context.Context, h SubjectHash, r Record, primary uint32) (done bool, err error) {
	again := false
	err = untilUncontended(ctx, func() error {
		if again {
			rows, err := s.read(ctx, s.store, []SubjectHash{h})
			if err != nil {
				return err
			}
			r = rows[h]
		}
		again = true
		if r.Revision == 0 {
			return nil // gone: nobody deletes records, but a restore may
		}
		id, err := wrappedBy(h, r)
		if err != nil || id == 0 || id == primary {
			return err
		}
		if err := s.rewrapRecord(ctx, h, r); err != nil {
			return fmt.Errorf("subject %x: %w", h[:8], err)
		}
		done = true
		return nil
	})
	return done, err
}

func (s *subjects) rewrapRecord(ctx context.Context, h SubjectHash, r Record) error {
	now, err := s.parse(ctx, h, r)
	if err != nil {
		return err
	}
	_, secrets, err := s.unwrap(ctx, h, now)
	if err != nil {
		return err
	}
	defer clear(secrets)
	key, _, err := s.wrapKey(ctx, 0)
	if err != nil {
		return err
	}
	next, err := sealSubject(s.ring.name, h, now.next(), key, secrets)
	if err != nil {
		return err
	}
	subjectHook("rewrapped")
	return s.swap(ctx, s.store, h, r.Revision, next)
}

// rewrapJob is how far Maintain is with rewrapping subjects.
type rewrapJob struct {
	primary uint32
	after   SubjectHash
	done    bool // all of them were looked at
	// settled: nobody wrapped by another key any more when it began.
	settled bool
}

// rewrapSome is what Maintain does of RewrapSubjects in one call. It goes on where
// the last call ended, as long as the primary is the same. Processes that haven't
// noticed the new one yet go on wrapping by the old one, so it looks twice: at
// once, and when all have noticed.
func (r *Keyring) rewrapSome(ctx context.Context) (int, error) {
	s := r.core().subjects
	snap := r.live.Load()
	if snap == nil {
		return 0, ErrClosed
	}
	primary := uint32(snap.primary[SubjectWrap].ID)
	others, settled := false, true
	for _, e := range snap.byID {
		if e.Purpose == SubjectWrap && e.State == Enabled {
			others = true
			settled = settled && snap.retired(e) >= r.core().quiet()
		}
	}
	s.mu.Lock()
	if s.job.primary != primary || s.job.done && settled && !s.job.settled {
		s.job = rewrapJob{primary: primary, settled: settled}
	}
	job := s.job
	s.mu.Unlock()
	if !others || job.done {
		return 0, nil
	}
	p, err := s.rewrap(ctx, RewrapSubjectsOptions{After: job.after, Limit: 10_000})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.job.primary == primary && s.job.settled == job.settled {
		s.job.after, s.job.done = p.Last, p.Done
	}
	return p.Rewrapped, err
}

// CountSubjects counts, for each subject-wrap key, the subjects whose keys it
// wraps: what a census must have counted, instead of rows, before such a key may
// be destroyed. It unwraps each: a record that only says so proves nothing. A store
// that keeps no subjects has none.
//
// Errors: ErrCensus if c is another ring's; those of RewrapSubjects, at the first.
func (r *Keyring) CountSubjects(ctx context.Context, c *Census) error {
	return ringError(r.name, r.core().subjects.count(ctx, c))
}

func (s *subjects) count(ctx context.Context, c *Census) error {
	if c == nil || c.ring != s.ring.name {
		return fmt.Errorf("%w: it is another ring's, or none", ErrCensus)
	}
	if s.store != nil {
		if err := s.countEach(ctx, c); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subjects = true
	return nil
}

func (s *subjects) countEach(ctx context.Context, c *Census) error {
	return s.each(ctx, SubjectHash{}, 0, func(page []SubjectHash, rows map[SubjectHash]Record, last bool) error {
		return severally(len(page), runtime.GOMAXPROCS(0), func(i int) error {
			h := page[i]
			r, ok := rows[h]
			if !ok {
				return nil
			}
			id, err := s.countOne(ctx, h, r)
			if err != nil {
				return fmt.Errorf("subject %x: %w", h[:8], err)
			}
			if id != 0 {
				c.Count(id, 1)
			}
			return nil
		})
	})
}

func (s *subjects) countOne(ctx context.Context, h SubjectHash, r Record) (uint32, error) {
	rec, err := s.parse(ctx, h, r)
	if err != nil || rec.state != subjectOpen {
		return 0, err
	}
	_, secrets, err := s.unwrap(ctx, h, rec)
	clear(secrets)
	if err != nil {
		return 0, err
	}
	return crypto.KeyID(rec.rest)
}
