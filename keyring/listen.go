package keyring

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// notices is what a ring was told of and has not looked at yet. Whoever can write
// to the channel can send as many notices as he likes, so looks have a limiter:
// unknownBurst at once, and then one per interval. What is told meanwhile waits
// and becomes one look. (A look for unknown key ids isn't one for notices, too: it
// may have begun before the change.)
type notices struct {
	limit limiter

	mu       sync.Mutex
	record   bool
	all      bool                 // subjects
	subjects map[SubjectHash]bool // of those that are at hand, so it is bounded
	working  bool
}

// listen runs until the ring is closed.
func (r *Keyring) listen() {
	c := r.core()
	ctx := c.bg.ctx
	for n := 0; ; n++ {
		began := time.Now()
		err := c.opts.Notifier.Listen(ctx, r.name, r.told)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			n = 0
		}
		if err == nil {
			err = errors.New("the notifier has returned")
		}
		if n == 0 {
			r.teller().tell(slog.LevelWarn, EventNoticesEnded, errorAttr(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff(n)):
		}
	}
}

// told takes a notice.
func (r *Keyring) told(n Notice) {
	c := r.core()
	c.counts.notices.Add(1)
	record := n.Missed || n.Subject == SubjectHash{}
	var subjects []SubjectHash
	if n.Missed {
		c.subjects.doubtAll()
	} else if !record {
		if !c.subjects.doubt(n.Subject) {
			return // nobody here knows that subject
		}
		subjects = []SubjectHash{n.Subject}
	}
	q := &c.notices
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(record, n.Missed, subjects)
	if !q.working && c.bg.ctx.Err() == nil {
		q.working = true
		go r.heed()
	}
}

func (q *notices) add(record, all bool, subjects []SubjectHash) {
	q.record, q.all = q.record || record, q.all || all
	if q.subjects == nil {
		q.subjects = make(map[SubjectHash]bool)
	}
	for _, h := range subjects {
		q.subjects[h] = true
	}
}

// take returns what is to be looked at; nothing ends the work.
func (q *notices) take() (record, all bool, subjects []SubjectHash) {
	q.mu.Lock()
	defer q.mu.Unlock()
	record, all, subjects = q.record, q.all, slices.Collect(maps.Keys(q.subjects))
	q.record, q.all, q.subjects = false, false, nil
	q.working = record || len(subjects) > 0
	return record, all, subjects
}

// heed looks at what was told, and ends when that is done. What can't be looked at
// is left to TTL after a few tries.
func (r *Keyring) heed() {
	c := r.core()
	q := &c.notices
	ctx := c.bg.ctx
	for failures := 0; ; {
		wait := time.Duration(0)
		if failures > 0 {
			wait = backoff(failures - 1)
		}
		if exhausted, _ := q.limit.exhausted(); exhausted {
			wait = max(wait, unknownInterval)
		}
		if wait > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
		// What is told from here on is looked at once more.
		record, all, subjects := q.take()
		if !record && len(subjects) == 0 || ctx.Err() != nil {
			return
		}
		var err error
		if record {
			err = r.refresh(ctx)
		}
		if all {
			subjects = c.subjects.known()
		}
		if len(subjects) > 0 {
			err = errors.Join(err, c.subjects.recheck(ctx, subjects))
		}
		q.limit.ended(err)
		if errors.Is(err, ErrUnavailable) && failures < retryBudget {
			failures++
			q.mu.Lock()
			q.add(record, all, subjects)
			q.mu.Unlock()
		} else {
			failures = 0
		}
	}
}

// doubt takes a notice about a subject, and reports whether that is at hand. Loads
// that are under way may have asked before the change, so what they bring isn't kept.
func (s *subjects) doubt(h SubjectHash) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.doubted) >= MaxSubjectBatch { // it must not grow without end
		s.doubtedAll, s.doubted = s.turn.Add(1), nil
	}
	if s.doubted == nil {
		s.doubted = make(map[SubjectHash]uint64)
	}
	s.doubted[h] = s.turn.Add(1)
	_, known = s.byHash[h]
	return known
}

func (s *subjects) doubtAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubtedAll, s.doubted = s.turn.Add(1), nil
}

// known returns the subjects that are at hand.
func (s *subjects) known() []SubjectHash {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.byHash))
}

// doubts reports whether an entry was asked for before a notice about it. s.mu is
// held.
func (s *subjects) doubts(e *subjectEntry) bool {
	return e.turn < s.doubtedAll || e.turn < s.doubted[e.hash]
}

// recheck lets go of those subjects whose records aren't what they were. It calls
// the stores once for MaxSubjectBatch of them, and the KMS never.
func (s *subjects) recheck(ctx context.Context, hashes []SubjectHash) error {
	for batch := range slices.Chunk(hashes, MaxSubjectBatch) {
		l, err := s.look(ctx, batch)
		if err == nil {
			err = l.away
		}
		if err != nil {
			return err
		}
		for _, h := range batch {
			s.recheckOne(ctx, h, l)
		}
	}
	return nil
}

func (s *subjects) recheckOne(ctx context.Context, h SubjectHash, l *look) {
	j, err := s.judge(ctx, h, l)
	forgotten := err == nil && j.state == subjectForgotten
	revision := l.rows[h].Revision
	s.mu.Lock()
	defer s.mu.Unlock()
	if forgotten {
		s.strays.wipe(&h)
	}
	subj, ok := s.byHash[h]
	if !ok {
		return
	}
	e, ok := s.cache.Peek(subj)
	switch {
	case !ok || e.turn > l.turn:
	case forgotten:
		if e.state != subjectForgotten {
			e.wipe() // whoever holds it
			s.cache.Remove(subj)
		}
	case revision < e.revision || l.outside[h].Revision < e.outside:
		// An older record: what is known stays, to refuse it by.
	case err != nil || j.state != e.state || revision != e.revision || l.outside[h].Revision != e.outside:
		s.cache.Remove(subj) // its next use loads it, or says what is wrong
	}
}
