package keyring

import (
	"context"
	"encoding/hex"
	"fmt"
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
// all that was derived from it. Other processes notice within OpenOptions.TTL, or
// MaxStale if they are cut off from the store.
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
	// The ids of the keys that are about to go stand in the outside tombstone:
	// a restored row is known by them.
	row, err := s.readOne(ctx, s.store, h)
	if err != nil {
		return nil, err
	}
	var doomed []uint32
	if row != nil {
		doomed = append(slices.Clone(row.retired), row.ids()...)
	}
	if err := s.buryOutside(ctx, h, opts.Actor, doomed); err != nil {
		return nil, err
	}
	subjectHook("outside")
	if row, err = s.bury(ctx, s.store, h, opts.Actor, nil); err != nil {
		return nil, err
	}
	subjectHook("buried")
	// Keys that were added between the two steps belong outside, too.
	if err := s.buryOutside(ctx, h, opts.Actor, row.retired); err != nil {
		return nil, err
	}
	s.forgotten(subj)
	again, err := s.readOne(ctx, s.store, h)
	if err == nil && (again == nil || again.state != subjectForgotten) {
		err = fmt.Errorf("%w: the tombstone of the subject is gone: was a backup restored? Forget it again", ErrRollback)
	}
	if err != nil {
		return nil, err
	}
	subjectHook("checked")
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

func (s *subjects) readOne(ctx context.Context, store SubjectStore, h SubjectHash) (*stored, error) {
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
func (s *subjects) buryOutside(ctx context.Context, h SubjectHash, actor string, doomed []uint32) error {
	if s.opts.Tombstones == nil {
		return nil
	}
	if _, err := s.bury(ctx, s.opts.Tombstones, h, actor, doomed); err != nil {
		return fmt.Errorf("tombstones: %w", err)
	}
	return nil
}

// bury makes sure that a store holds a tombstone, and returns it. It lists the keys
// that the record had, and those that are doomed elsewhere.
func (s *subjects) bury(ctx context.Context, store SubjectStore, h SubjectHash, actor string, doomed []uint32) (out *stored, err error) {
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
		next.retire(next.ids())
		next.retire(doomed)
		next.keys = nil
		if n := len(next.retired); n > maxSubjectRetired {
			return fmt.Errorf("%w: %d destroyed keys of a subject", ErrTooLarge, n)
		}
		if now != nil && now.state == subjectForgotten {
			if len(next.retired) == len(now.retired) {
				out = now
				return nil
			}
		} else {
			next.state, next.at, next.actor = subjectForgotten, unixNow(), actor
		}
		out = &stored{subjectRecord: *next}
		return s.putTombstone(ctx, store, h, now, next)
	})
	return out, err
}

func (s *subjects) putTombstone(ctx context.Context, store SubjectStore, h SubjectHash, now *stored, next *subjectRecord) error {
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

// Revive lets a forgotten subject have keys again, new ones: a person who comes
// back. What was sealed before stays closed for ever. Reviving what isn't
// forgotten does nothing. It can be repeated.
//
// Errors: those of Forget.
func (r *Keyring) Revive(ctx context.Context, subj Subject, opts *ForgetOptions) error {
	if opts == nil {
		opts = new(ForgetOptions)
	}
	return ringError(r.name, r.core().subjects.revive(ctx, subj, *opts))
}

func (s *subjects) revive(ctx context.Context, subj Subject, opts ForgetOptions) error {
	h, err := s.begin(ctx, subj, opts.Actor)
	if err != nil {
		return err
	}
	if err := untilUncontended(ctx, func() error { return s.reviveOnce(ctx, h, opts.Actor) }); err != nil {
		return err
	}
	s.forgotten(subj)
	return nil
}

// reviveOnce goes outside first: the destroyed keys are listed there, so that
// their row can't come back when the tombstone is no longer in its way.
func (s *subjects) reviveOnce(ctx context.Context, h SubjectHash, actor string) error {
	row, err := s.readOne(ctx, s.store, h)
	if err != nil {
		return err
	}
	if t := s.opts.Tombstones; t != nil {
		mark, err := s.readOne(ctx, t, h)
		if err != nil {
			return fmt.Errorf("tombstones: %w", err)
		}
		if mark != nil && mark.state == subjectForgotten {
			if row != nil && row.state == subjectOpen {
				return fmt.Errorf("%w: a tombstone stands outside and the store has keys: forget it again first", ErrForgotten)
			}
			next := mark.next()
			next.state, next.at, next.actor = subjectRevived, unixNow(), actor
			if row != nil {
				next.retire(row.retired)
			}
			if err := s.putTombstone(ctx, t, h, mark, next); err != nil {
				return fmt.Errorf("tombstones: %w", err)
			}
		}
	}
	subjectHook("revived outside")
	if row == nil || row.state != subjectForgotten {
		return nil
	}
	next := row.next()
	next.state, next.at, next.actor = subjectOpen, 0, ""
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

// certificate makes the certificate of a tombstone.
func (s *subjects) certificate(ctx context.Context, h SubjectHash, rec *subjectRecord) (*Certificate, error) {
	at := unixTime(rec.at)
	c := &Certificate{
		Format:    certificateFormat,
		Ring:      s.ring.name,
		Subject:   hex.EncodeToString(h[:]),
		Keys:      []string{},
		Actor:     rec.actor,
		Forgotten: at,
		ClosedAt:  at.Add(s.opts.MaxStale),
	}
	for _, id := range rec.retired {
		c.Keys = append(c.Keys, fmt.Sprintf("%08x", id))
	}
	c.NotCovered = []NotCovered{
		{What: "processes that hold the subject's keys: those that reach the key store until " + at.Add(s.opts.TTL).Format(time.RFC3339) + ", those that are cut off from it until closed_at", Until: &c.ClosedAt},
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
	if s.opts.Tombstones == nil {
		c.NotCovered = append(c.NotCovered, NotCovered{What: "a restored backup of the key store: no tombstones are kept outside of it, so it opens the subject again; forget again after each restore"})
	}
	err := s.root(ctx, func(root []byte) error { return c.sign(root) })
	return c, err
}

// VerifyCertificate checks that the ring made the certificate and that nothing in
// it was changed since. It says nothing about the store of today: Forget again
// does, and changes nothing if all is as it was.
//
// Errors: ErrCertificate; those of Key for the subject-hash key.
func (r *Keyring) VerifyCertificate(ctx context.Context, c *Certificate) error {
	s := r.core().subjects
	return ringError(r.name, s.root(ctx, func(root []byte) error { return c.verify(root, r.name) }))
}
