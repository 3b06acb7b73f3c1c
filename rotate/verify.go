package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
)

// A Report is what Verify has counted.
type Report struct {
	Ring    string         `json:"ring"`
	Sources []SourceReport `json:"sources"`
	Keys    []KeyReport    `json:"keys"`
}

// A SourceReport is what is in one source.
type SourceReport struct {
	Source string       `json:"source"`
	Record string       `json:"record"`
	Rows   int64        `json:"rows"`
	Fields []FieldCount `json:"fields"`
	Bad    []*RowError  `json:"-"` // the first 20 values that are no ciphertexts of the ring
}

// A FieldCount counts the values of a field.
type FieldCount struct {
	Field     string           `json:"field"`     // path of labels
	Keys      map[string]int64 `json:"keys"`      // values that name a key of the ring, by its id
	Subjects  int64            `json:"subjects"`  // values under keys of subjects
	Null      int64            `json:"null"`      //
	Plaintext int64            `json:"plaintext"` //
	Malformed int64            `json:"malformed"` // like a ciphertext, and none
	Unknown   int64            `json:"unknown"`   // that name a key which the ring doesn't have
}

// A KeyReport says of a key whether it may be destroyed.
type KeyReport struct {
	ID       string        `json:"id"`
	Purpose  string        `json:"purpose"`
	State    string        `json:"state"`
	Values   uint64        `json:"values"` // that name it; for a subject-wrap key, subjects
	May      bool          `json:"may_be_destroyed"`
	Why      string        `json:"why,omitempty"` // not
	TooEarly bool          `json:"too_early"`     // time is all that is missing: verify again after Wait
	Wait     time.Duration `json:"wait_ns"`       // from now; 0 if it was over while this census was under way
}

// VerifyOptions are optional: nil and the zero value are the defaults.
type VerifyOptions struct {
	// Everything says that the sources are all places that hold ciphertexts of the
	// ring: backups, exports and queues were thought of. Only then does the census
	// prove anything; Destroy asks for it.
	Everything bool
	// RowsOnly leaves the subjects uncounted, which takes a while where there are many:
	// for a look at values. The census proves nothing then.
	RowsOnly bool
	// Progress is told of each page.
	Progress func(source string, rows int64)
}

// Verify counts which keys the values of the sources name, headers only, and tells
// which keys of the ring may be destroyed, or from when. Nothing is decrypted or
// written. The census that it returns is the proof that keyring.Destroy asks for; it
// belongs to this process.
//
// Values of records with a subject name keys of the subject's own, which aren't the
// ring's: they are counted, and the subjects themselves by the key that wraps them.
//
// Errors: ErrMismatch; the source's; those of keyring.BeginCensus and CountSubjects;
// ctx's own.
func Verify(ctx context.Context, ring *keyring.Keyring, sources []Source, opts *VerifyOptions) (*Report, *keyring.Census, error) {
	if opts == nil {
		opts = new(VerifyOptions)
	}
	census, err := ring.BeginCensus(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("rotate: %w", err)
	}
	report := &Report{Ring: ring.Name(), Sources: []SourceReport{}, Keys: []KeyReport{}}
	known := make(map[uint32]bool)
	for _, k := range ring.Keys() {
		known[k.ID] = true
	}
	for _, source := range sources {
		s, err := verify(ctx, ring.Name(), source, known, census, opts)
		if err != nil {
			return nil, nil, fmt.Errorf("rotate: verify %s: %w", source.Name(), err)
		}
		report.Sources = append(report.Sources, *s)
	}
	if !opts.RowsOnly {
		if err := ring.CountSubjects(ctx, census); err != nil {
			return nil, nil, fmt.Errorf("rotate: %w", err)
		}
	}
	if opts.Everything && !opts.RowsOnly {
		census.Finish()
	}
	for _, k := range ring.Keys() {
		report.Keys = append(report.Keys, judge(ctx, ring, k, census))
	}
	return report, census, nil
}

func verify(ctx context.Context, ring string, source Source, known map[uint32]bool, census *keyring.Census, opts *VerifyOptions) (*SourceReport, error) {
	l, err := newLayout(source.Record(), ring)
	if err != nil {
		return nil, err
	}
	r := &SourceReport{Source: source.Name(), Record: l.record.Label}
	for i := range l.record.Fields {
		r.Fields = append(r.Fields, FieldCount{Field: l.record.FieldLabel(&l.record.Fields[i]), Keys: map[string]int64{}})
	}
	var s scratch
	err = each(ctx, source, func(rows []Row) error {
		for i := range rows {
			for c := range rows[i].Cells {
				r.count(&s, l, known, census, &rows[i], c)
			}
		}
		r.Rows += int64(len(rows))
		if opts.Progress != nil {
			opts.Progress(r.Source, r.Rows)
		}
		return ctx.Err()
	})
	return r, err
}

// count looks at the header of a value.
func (r *SourceReport) count(s *scratch, l *layout, known map[uint32]bool, census *keyring.Census, row *Row, field int) {
	f, cell := &r.Fields[field], &row.Cells[field]
	bad := func(id uint32, err error) {
		if len(r.Bad) < maxTold {
			r.Bad = append(r.Bad, &RowError{r.Source, row.Key, f.Field, id, err})
		}
	}
	if cell.Value == nil {
		f.Null++
		return
	}
	ct, err := decode(s, cell)
	switch {
	case err != nil:
		f.Malformed++
		bad(0, err)
		return
	case ct == nil:
		f.Plaintext++
		bad(0, ErrPlaintext)
		return
	}
	id, _ := crypto.KeyID(ct)
	if l.subject >= 0 && l.record.Fields[field].Det == "" {
		f.Subjects++
		return
	}
	census.Count(id, 1)
	f.Keys[keyText(id)]++
	if !known[id] {
		f.Unknown++
		bad(id, crypto.ErrUnknownKey)
	}
}

func keyText(id uint32) string { return fmt.Sprintf("%08x", id) }

// judge says of a key whether it may be destroyed.
func judge(ctx context.Context, ring *keyring.Keyring, k keyring.KeyInfo, census *keyring.Census) KeyReport {
	out := KeyReport{ID: keyText(k.ID), Purpose: k.Purpose.String(), State: k.State.String(), Values: census.Counted(k.ID)}
	switch k.State {
	case keyring.Primary:
		out.Why = "it is the primary"
		return out
	case keyring.Destroyed:
		out.Why = "it is destroyed"
		return out
	}
	err := ring.MayDestroy(ctx, k.ID, census)
	var wait *keyring.WaitError
	switch {
	case err == nil:
		out.May = true
	case errors.As(err, &wait):
		out.TooEarly, out.Wait = true, wait.Remaining
		out.Why = "verify again when the wait is over: until then a program could have written with it"
		if out.Wait == 0 {
			out.Why = "verify again, now: when this census began a program could still have written with it"
		}
	default:
		out.Why = err.Error()
	}
	return out
}

// String says it for people, a line for each field and key.
func (r *Report) String() string {
	var b strings.Builder
	for _, s := range r.Sources {
		fmt.Fprintf(&b, "%s (record %s): %d rows\n", s.Source, s.Record, s.Rows)
		for _, f := range s.Fields {
			fmt.Fprintf(&b, "  %s:", f.Field)
			keys := make([]string, 0, len(f.Keys))
			for id := range f.Keys {
				keys = append(keys, id)
			}
			slices.SortFunc(keys, func(x, y string) int { return cmp.Or(cmp.Compare(f.Keys[y], f.Keys[x]), cmp.Compare(x, y)) })
			for _, id := range keys {
				fmt.Fprintf(&b, " %d under %s,", f.Keys[id], id)
			}
			if f.Subjects > 0 {
				fmt.Fprintf(&b, " %d under keys of subjects,", f.Subjects)
			}
			fmt.Fprintf(&b, " %d NULL, %d plaintext, %d malformed, %d of unknown keys\n", f.Null, f.Plaintext, f.Malformed, f.Unknown)
		}
	}
	for _, k := range r.Keys {
		fmt.Fprintf(&b, "key %s (%s, %s): named by %d values; ", k.ID, k.Purpose, k.State, k.Values)
		switch {
		case k.May:
			b.WriteString("may be destroyed\n")
		case k.Wait > 0:
			fmt.Fprintf(&b, "may not be destroyed for another %v: %s\n", max(k.Wait, time.Second).Round(time.Second), k.Why)
		default:
			fmt.Fprintf(&b, "may not be destroyed: %s\n", k.Why)
		}
	}
	return b.String()
}
