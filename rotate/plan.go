package rotate

import (
	"context"
	"fmt"

	"github.com/structseal/structseal/keyring"
)

// A Forecast is what Run would do: a dry run as a value.
type Forecast struct {
	Source string `json:"source"`
	Record string `json:"record"`
	Kind   string `json:"kind"`

	Rows      int64 `json:"rows"`
	ToWrite   int64 `json:"rows_to_write"`
	BadRows   int64 `json:"bad_rows"`  // that would be left
	Sealed    int64 `json:"to_seal"`   // values
	Current   int64 `json:"current"`   // values with nothing to do
	Null      int64 `json:"null"`      // values
	Plaintext int64 `json:"plaintext"` // values that aren't encrypted and would be left so
	Forgotten int64 `json:"forgotten"` // values of forgotten subjects
	Indexes   int64 `json:"indexes"`   // to make anew, or to empty

	Bad []*RowError `json:"-"` // the first 20
}

const (
	scanPage = 1000
	maxTold  = 20
)

// Plan reads all rows, headers only, and tells what Run would do. Nothing is written
// and no value decrypted, so a value that its header promises and that doesn't open
// is found by Run alone. A Reindex is planned by decrypting them all.
//
// Errors: ErrMismatch; the source's; keyring.ErrUnavailable; ctx's own.
func Plan(ctx context.Context, ring *keyring.Keyring, kind Kind, source Source, opts *Options) (*Forecast, error) {
	r, err := newRunner(ring, kind, source, opts)
	if err != nil {
		return nil, err
	}
	r.dry = true
	f := &Forecast{Source: source.Name(), Record: r.old.record.Label, Kind: kind.String()}
	err = each(ctx, source, func(rows []Row) error {
		tallies, err := r.change(ctx, rows)
		if err != nil {
			return err
		}
		for _, t := range tallies {
			f.Rows++
			f.Sealed += int64(t.changed)
			f.Current += int64(t.current)
			f.Null += int64(t.null)
			f.Plaintext += int64(t.plain)
			f.Forgotten += int64(t.forgotten)
			f.Indexes += int64(t.indexes)
			if len(t.bad) > 0 {
				f.BadRows++
			} else if t.changed+t.indexes > 0 {
				f.ToWrite++
			}
			f.Bad = append(f.Bad, t.bad[:min(len(t.bad), maxTold-len(f.Bad))]...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("rotate: plan of %s: %w", source.Name(), err)
	}
	return f, nil
}

// each reads all rows of a source, page by page.
func each(ctx context.Context, source Source, fn func([]Row) error) error {
	for after := ""; ; {
		rows, next, err := source.Scan(ctx, after, scanPage)
		if err != nil {
			return err
		}
		if err := fn(rows); err != nil {
			return err
		}
		if after = next; after == "" {
			return nil
		}
	}
}

// String says it for people.
func (f *Forecast) String() string {
	return fmt.Sprintf("%s %s (record %s): %d of %d rows to write; values: %d to seal, %d current, %d NULL, %d plaintext left, %d of forgotten subjects; %d indexes to write; %d rows can't be done",
		f.Kind, f.Source, f.Record, f.ToWrite, f.Rows, f.Sealed, f.Current, f.Null, f.Plaintext, f.Forgotten, f.Indexes, f.BadRows)
}
