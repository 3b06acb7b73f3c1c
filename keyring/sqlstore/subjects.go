package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/structseal/structseal/keyring"
)

// maxInSQLite is how many subjects one statement asks SQLite for, which had 999
// parameters for a statement until 3.32.
const maxInSQLite = 500

// LoadSubjects implements [keyring.SubjectStore] with one SELECT (in SQLite, one
// for each 500 subjects).
//
// Errors: keyring.ErrName; keyring.ErrTooLarge for more than 1,000 subjects;
// keyring.ErrCorrupt; keyring.ErrUnavailable; ctx's own; the database's.
func (s *Store) LoadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	found, err := s.loadSubjects(ctx, name, subjects)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	return found, nil
}

func (s *Store) loadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	if err := checkCall(ctx, name); err != nil {
		return nil, err
	}
	if len(subjects) > keyring.MaxSubjectBatch {
		return nil, fmt.Errorf("%w: asked for %d subjects of at most %d", keyring.ErrTooLarge, len(subjects), keyring.MaxSubjectBatch)
	}
	most := keyring.MaxSubjectBatch
	if s.dialect == SQLite {
		most = maxInSQLite
	}
	found := make(map[keyring.SubjectHash]keyring.Record)
	for len(subjects) > 0 {
		n := min(most, len(subjects))
		if err := s.loadSome(ctx, name, subjects[:n], most, found); err != nil {
			return nil, err
		}
		subjects = subjects[n:]
	}
	return found, nil
}

// loadSome adds to found.
func (s *Store) loadSome(ctx context.Context, name string, subjects []keyring.SubjectHash, most int, found map[keyring.SubjectHash]keyring.Record) error {
	// Drivers and servers keep a plan for each text: there are few texts, because
	// the last hash stands for those that are missing to the next power of two.
	n := 1
	for n < len(subjects) {
		n *= 2
	}
	n = min(n, most)
	args := make([]any, 0, 1+n)
	args = append(args, name)
	for i := range n {
		h := subjects[min(i, len(subjects)-1)]
		args = append(args, h[:])
	}
	rows, err := s.conn().QueryContext(ctx, s.sql.subjects(s.dialect, n), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var subject, data []byte // Scan copies into them
		var revision sql.NullInt64
		var unfit int64
		if err := rows.Scan(&subject, &revision, &data, &unfit); err != nil {
			return err
		}
		if err := s.fit(unfit); err != nil {
			return err
		}
		if !revision.Valid {
			continue // the outer join's
		}
		h, err := hash(subject)
		if err != nil {
			return err
		}
		if found[h], err = record(revision.Int64, data); err != nil {
			return err
		}
	}
	return rows.Err()
}

func hash(b []byte) (h keyring.SubjectHash, err error) {
	if len(b) != len(h) {
		return h, fmt.Errorf("%w: a subject's hash of %d bytes in the table", keyring.ErrCorrupt, len(b))
	}
	return keyring.SubjectHash(b), nil
}

// CompareAndSwapSubject implements [keyring.SubjectStore] with one INSERT or
// UPDATE.
//
// Errors: those of CompareAndSwap; keyring.ErrTooLarge for more than
// keyring.MaxSubjectSize bytes.
func (s *Store) CompareAndSwapSubject(ctx context.Context, name string, subject keyring.SubjectHash, old uint64, next keyring.Record) error {
	if err := s.swapSubject(ctx, name, subject, old, next); err != nil {
		return s.wrap(ctx, err)
	}
	return nil
}

func (s *Store) swapSubject(ctx context.Context, name string, subject keyring.SubjectHash, old uint64, next keyring.Record) error {
	if err := checkCall(ctx, name); err != nil {
		return err
	}
	data, err := checkSwap(old, next, keyring.MaxSubjectSize)
	if err != nil {
		return err
	}
	if old == 0 {
		return s.change(ctx, old, s.sql.insertSubject, name, subject[:], int64(next.Revision), data)
	}
	return s.change(ctx, old, s.sql.updateSubject, int64(next.Revision), data, name, subject[:], int64(old))
}

// ListSubjects implements [keyring.SubjectStore] with one SELECT, along the primary
// key.
//
// Errors: those of LoadSubjects; keyring.ErrTooLarge for a limit that is not 1 to
// 1,000.
func (s *Store) ListSubjects(ctx context.Context, name string, after keyring.SubjectHash, limit int) ([]keyring.SubjectHash, error) {
	list, err := s.listSubjects(ctx, name, after, limit)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	return list, nil
}

func (s *Store) listSubjects(ctx context.Context, name string, after keyring.SubjectHash, limit int) (list []keyring.SubjectHash, err error) {
	if err := checkCall(ctx, name); err != nil {
		return nil, err
	}
	if limit < 1 || limit > keyring.MaxSubjectBatch {
		return nil, fmt.Errorf("%w: asked for %d subjects, of 1 to %d", keyring.ErrTooLarge, limit, keyring.MaxSubjectBatch)
	}
	rows, err := s.conn().QueryContext(ctx, s.sql.listSubjects, name, after[:], limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var subject []byte
		var unfit int64
		if err := rows.Scan(&subject, &unfit); err != nil {
			return nil, err
		}
		if err := s.fit(unfit); err != nil {
			return nil, err
		}
		if subject == nil {
			continue // the outer join's
		}
		h, err := hash(subject)
		if err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, rows.Err()
}
