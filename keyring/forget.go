package keyring

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"slices"
	"time"
)

// ForgetOptions are optional: nil and the zero value are the defaults.
type ForgetOptions struct {
	// Actor stands in the tombstones and in the certificate: who forgot. At most
	// 100 printable ASCII characters.
	Actor string
}

// Forget destroys the keys of a subject, in every version: what was sealed for it
// can't be opened any more, and nothing is sealed for it unless it is revived. In
// this order: OpenOptions.LegalHold is asked; a tombstone is written outside, to
// OpenOptions.Tombstones; the subject's record is replaced by a tombstone, in one
// compare-and-swap; both are read again; what this process holds is wiped, with
// all that was derived from it. Other processes notice within OpenOptions.TTL, with
// OpenOptions.Notifier at once, and if they are cut off from the store within MaxStale.
//
// Forget can be interrupted anywhere and repeated: forgetting what is forgotten
// completes it and returns a certificate of the first time. A subject without keys
// is forgotten, too: it will have none.
//
// What a certificate says is honest about what is left; see [Certificate].
//
// Errors: ErrLegalHold; ErrSubject; ErrActor; ErrUnavailable: then it may be
// half done, repeat it; ErrConflict; ErrRollback if the tombstones are not there
// after they were written; ErrCorrupt, ErrFormat, ErrTampered for the subject's
// record, which is left alone; ErrClosed; ctx's own.
func (r *Keyring) Forget(ctx context.Context, subj Subject, opts *ForgetOptions) (*Certificate, error) {
	if opts == nil {
		opts = new(ForgetOptions)
	}
	cert, err := r.core().subjects.forget(ctx, subj, *opts)
	return cert, ringError(r.name, err)
}

func (s *subjects) forget(ctx context.Context, subj Subject, opts ForgetOptions) (*Certificate, error) {
	h, err := s.begin(ctx, subj, opts.Actor)
	if err != nil {
		return nil, err
	}
	if s.opts.LegalHold != nil {
		if err := s.opts.LegalHold(ctx, subj); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLegalHold, err)
		}
	}
	// The ids of the keys that are about to go stand in the outside tombstone, too.
	row, err := s.readOne(ctx, s.store, h)
	if err != nil {
		return nil, err
	}
	subj = subj.clone()
	var closed *subjectEntry
	// Also when it fails halfway: a tombstone that stands counts for this process.
	defer func() { s.settle(subj, h, closed) }()
	doomed := new(subjectRecord)
	if row != nil {
		doomed.life = row.life
		doomed.retired = append(slices.Clone(row.retired), row.ids()...)
	}
	if err := s.buryOutside(ctx, h, opts.Actor, doomed); err != nil {
		return nil, err
	}
	subjectHook("outside")
	if row, err = s.bury(ctx, s.store, h, opts.Actor, new(subjectRecord)); err != nil {
		return nil, err
	}
	subjectHook("buried")
	// Keys that were added between the two steps belong outside, too.
	if err := s.buryOutside(ctx, h, opts.Actor, &row.subjectRecord); err != nil {
		return nil, err
	}
	again, err := s.readOne(ctx, s.store, h)
	if err == nil && (again == nil || again.state != subjectForgotten) {
		err = fmt.Errorf("%w: the tombstone of the subject is gone: was a backup restored? Forget it again", ErrRollback)
	}
	if err != nil {
		return nil, err
	}
	subjectHook("checked")
	closed = (&subjectEntry{hash: h, asked: time.Now(), state: subjectForgotten, revision: again.revision, digest: maphash.Bytes(s.seed, again.data)}).held()
	return s.certificate(ctx, h, &again.subjectRecord)
}

// begin checks what a change of a subject is given.
func (s *subjects) begin(ctx context.Context, subj Subject, actor string) (h SubjectHash, err error) {
	if err := subj.validate(); err != nil {
		return h, err
	}
	if err := checkActor(actor); err != nil {
		return h, err
	}
	if s.store == nil {
		return h, errNoSubjects
	}
	hashes, err := s.hashes(ctx, []Subject{subj})
	if err != nil {
		return h, err
	}
	return hashes[0], nil
}

func (s *subjects) readOne(ctx context.Context, store *subjectSite, h SubjectHash) (*stored, error) {
	rows, err := s.read(ctx, store, []SubjectHash{h})
	if err != nil {
		return nil, err
	}
	r, ok := rows[h]
	if !ok {
		return nil, nil
	}
	return s.parse(ctx, h, r)
}

func (s *subjectRecord) ids() (ids []uint32) {
	for _, k := range s.keys {
		ids = append(ids, k.id)
	}
	return ids
}

// buryOutside is bury where the outside tombstones are kept, if they are.
func (s *subjects) buryOutside(ctx context.Context, h SubjectHash, actor string, doomed *subjectRecord) error {
	if s.outside == nil {
		return nil
	}
	if _, err := s.bury(ctx, s.outside, h, actor, doomed); err != nil {
		return fmt.Errorf("tombstones: %w", err)
	}
	return nil
}

// bury makes sure that a store holds a tombstone, and returns it. It lists the keys
// that the record had, and those that are doomed elsewhere.
func (s *subjects) bury(ctx context.Context, store *subjectSite, h SubjectHash, actor string, doomed *subjectRecord) (out *stored, err error) {
	err = untilUncontended(ctx, func() error {
		now, err := s.readOne(ctx, store, h)
		if err != nil {
			return err
		}
		var rec *subjectRecord
		if now != nil {
			rec = &now.subjectRecord
		}
		next := rec.next()
		next.state = subjectForgotten
		next.life = max(next.life, doomed.life)
		next.retire(next.ids())
		next.retire(doomed.retired)
		next.keys = nil
		if now != nil && now.state == subjectForgotten {
			if slices.Equal(next.retired, now.retired) && next.life == now.life {
				out = now
				return nil
			}
		} else {
			next.at, next.actor = unixNow(), actor
		}
		out = &stored{subjectRecord: *next}
		return s.putTombstone(ctx, store, h, now, next)
	})
	return out, err
}

func (s *subjects) putTombstone(ctx context.Context, store *subjectSite, h SubjectHash, now *stored, next *subjectRecord) error {
	var r Record
	if err := s.root(ctx, func(root []byte) (err error) {
		r, err = tombstone(root, s.ring.name, h, next)
		return err
	}); err != nil {
		return err
	}
	old := uint64(0)
	if now != nil {
		old = now.revision
	}
	return s.swap(ctx, store, h, old, r)
}

// ReviveOptions are optional: nil and the zero value are the defaults.
type ReviveOptions struct {
	// Actor stands in the outside tombstone: who revived. At most 100 printable
	// ASCII characters.
	Actor string
	// Now doesn't wait. It is for who knows that Forget was longer ago than
	// OpenOptions.MaxStale and TTL together, from a certificate's closed_at, say:
	// a process that hasn't noticed yet would go on sealing with the destroyed
	// keys, and what it seals is lost.
	Now bool
}

// Revive lets a forgotten subject have keys again, new ones: a person who comes
// back. What was sealed before stays closed for ever. Reviving what isn't
// forgotten does nothing. It can be repeated.
//
// It waits, in returning a [WaitError], until this process has known of the
// tombstone for MaxStale and TTL, on its monotonic clock: it has forgotten the
// subject itself, or this is not the first time that it is asked.
//
// Errors: ErrTooEarly as a *WaitError; but for that those of Forget.
func (r *Keyring) Revive(ctx context.Context, subj Subject, opts *ReviveOptions) error {
	if opts == nil {
		opts = new(ReviveOptions)
	}
	return ringError(r.name, r.core().subjects.revive(ctx, subj, *opts))
}

func (s *subjects) revive(ctx context.Context, subj Subject, opts ReviveOptions) error {
	h, err := s.begin(ctx, subj, opts.Actor)
	if err != nil {
		return err
	}
	if err := untilUncontended(ctx, func() error { return s.reviveOnce(ctx, h, opts) }); err != nil {
		return err
	}
	s.settle(subj.clone(), h, nil)
	return nil
}

// reviveOnce goes outside first: the new life begins there, so that a row of an
// earlier one can't come back when the tombstone is no longer in its way.
func (s *subjects) reviveOnce(ctx context.Context, h SubjectHash, opts ReviveOptions) error {
	row, err := s.readOne(ctx, s.store, h)
	if err != nil {
		return err
	}
	var mark *stored
	if s.outside != nil {
		if mark, err = s.readOne(ctx, s.outside, h); err != nil {
			return fmt.Errorf("tombstones: %w", err)
		}
	}
	inside := row != nil && row.state == subjectForgotten
	outside := mark != nil && mark.state == subjectForgotten
	if !inside && !outside {
		return nil
	}
	if outside && row != nil && !inside {
		return fmt.Errorf("%w: a tombstone stands outside and the store has keys: forget it again first", ErrForgotten)
	}
	if err := s.noticed(h, opts.Now); err != nil {
		return err
	}
	life := uint32(0)
	if inside {
		life = row.life + 1
	}
	if outside {
		life = max(life, mark.life+1)
		next := mark.next()
		next.state, next.life, next.at, next.actor = subjectRevived, life, unixNow(), opts.Actor
		if inside {
			next.retire(row.retired)
		}
		if err := s.putTombstone(ctx, s.outside, h, mark, next); err != nil {
			return fmt.Errorf("tombstones: %w", err)
		}
	} else if mark != nil {
		life = max(life, mark.life) // this was interrupted
	}
	subjectHook("revived outside")
	if !inside {
		return nil
	}
	next := row.next()
	next.state, next.life, next.at, next.actor = subjectOpen, life, 0, ""
	key, _, err := s.wrapKey(ctx, 0)
	if err != nil {
		return err
	}
	r, err := sealSubject(s.ring.name, h, next, key, nil)
	if err != nil {
		return err
	}
	return s.swap(ctx, s.store, h, row.revision, r)
}

// noticed says how long other processes may still hold the keys of a subject with
// a tombstone.
func (s *subjects) noticed(h SubjectHash, now bool) error {
	if now {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, _ := s.closings.Get(h)
	if c.since.IsZero() {
		c.since = time.Now()
		s.closings.Add(h, c)
	}
	if wait := s.ring.core().seenByAll() - time.Since(c.since); wait > 0 {
		return &WaitError{Op: "revive", Remaining: wait}
	}
	return nil
}

// certificate makes the certificate of a tombstone.
func (s *subjects) certificate(ctx context.Context, h SubjectHash, rec *subjectRecord) (*Certificate, error) {
	at := unixTime(rec.at)
	// The time stamp is cut to seconds, and was made before the tombstone was stored.
	stored := at.Add(s.ring.core().timeout + time.Second)
	c := &Certificate{
		Format:    certificateFormat,
		Ring:      s.ring.name,
		Subject:   hex.EncodeToString(h[:]),
		Keys:      []string{},
		Actor:     rec.actor,
		Forgotten: at,
		ClosedAt:  stored.Add(s.opts.MaxStale),
	}
	for _, id := range rec.retired {
		c.Keys = append(c.Keys, fmt.Sprintf("%08x", id))
	}
	c.NotCovered = []NotCovered{
		{What: "processes that hold the subject's keys: those that reach the key store until " + stored.Add(s.opts.TTL).Format(time.RFC3339) + ", those that are cut off from it until closed_at", Until: &c.ClosedAt},
		{What: "what was decrypted before: exports, logs, caches, search engines, memory dumps"},
		{What: "fields that the record leaves readable (bind fields, untagged fields), deterministic fields and blind indexes"},
		{What: "data about the subject in records that don't name it as their subject"},
	}
	if s.opts.BackupRetention > 0 {
		gone := at.Add(s.opts.BackupRetention)
		c.IrrecoverableAt = &gone
		c.NotCovered = append(c.NotCovered, NotCovered{What: "backups of the key store, together with the KMS", Until: &gone})
	} else {
		c.NotCovered = append(c.NotCovered, NotCovered{What: "backups of the key store, together with the KMS: until the last one that holds the keys has expired, or the key-encryption key is destroyed"})
	}
	restored := "a restored backup of the key store: no tombstones are kept outside of it, so it opens the subject again; forget again after each restore"
	if s.outside != nil {
		restored = "a restored backup of the key store: it has the keys again, which programs that look at the tombstones outside refuse and others don't; forget again after each restore"
	}
	c.NotCovered = append(c.NotCovered, NotCovered{What: restored})
	err := s.root(ctx, func(root []byte) error { return c.sign(root) })
	return c, err
}

// VerifyCertificate checks that the ring made the certificate and that nothing in
// it was changed since. It says nothing about the store of today.
//
// Errors: ErrCertificate; those of Key for the subject-hash key.
func (r *Keyring) VerifyCertificate(ctx context.Context, c *Certificate) error {
	s := r.core().subjects
	return ringError(r.name, s.root(ctx, func(root []byte) error { return c.verify(root, r.name) }))
}
