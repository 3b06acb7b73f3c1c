package rows

import (
	"fmt"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// all runs a job to its end.
func all(t testing.TB, ring *keyring.Keyring, kind rotate.Kind, source rotate.Source, opts *rotate.Options) rotate.Progress {
	t.Helper()
	var last rotate.Progress
	for p, err := range rotate.Run(t.Context(), ring, kind, source, opts) {
		if err != nil {
			t.Fatal(err)
		}
		last = p
	}
	if !last.Done {
		t.Fatalf("the job has ended, and isn't done: %+v", last)
	}
	return last
}

// A quiet table: plan, run, verify, destroy.
func TestReencrypt(t *testing.T) {
	const n = 2500
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx, ring := t.Context(), s.ring(t)
			s.fill(t, ring, 1, n)
			old, err := ring.Primary(ctx, keyring.Data)
			if err != nil {
				t.Fatal(err)
			}
			id, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
			if err != nil {
				t.Fatal(err)
			}
			s.fill(t, ring, n+1, n+100) // under the new one
			table := s.table(t, &sqlrows.Options{PartRows: 1000})

			plan, err := rotate.Plan(ctx, ring, rotate.Reencrypt, table, nil)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Rows != n+100 || plan.ToWrite != n || plan.BadRows != 0 || plan.Plaintext != 0 {
				t.Errorf("plan: %v", plan)
			}
			p := all(t, ring, rotate.Reencrypt, table, nil)
			if p.Rows != n+100 || p.Written != n || p.Sealed != plan.Sealed || p.Current != plan.Current || p.Null != plan.Null || p.Conflicts != 0 {
				t.Errorf("run: %+v; plan: %v", p, plan)
			}
			s.check(t, ring, n+100, func(int64) int { return 0 })
			report, census, err := rotate.Verify(ctx, ring, []rotate.Source{table}, &rotate.VerifyOptions{Everything: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(report)
			if census.Counted(old.ID()) != 0 || census.Counted(id) != uint64(plan.Sealed+plan.Current) {
				t.Errorf("%d values name the old key, %d the new one", census.Counted(old.ID()), census.Counted(id))
			}
			// Once more: nothing to do.
			if p := all(t, ring, rotate.Reencrypt, table, nil); p.Written != 0 || p.Rows != n+100 {
				t.Errorf("again: %+v", p)
			}
			fmt.Fprintln(t.Output(), p.Rate)
		})
	}
}

// What a job did before it was stopped counts when it goes on.
func TestAllRows(t *testing.T) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ring := s.ring(t)
			s.fill(t, ring, 1, 1000)
			table := s.table(t, &sqlrows.Options{PartRows: 300})
			first := int64(0)
			for p, err := range rotate.Run(t.Context(), ring, rotate.Reencrypt, table, &rotate.Options{MaxBatch: 50}) {
				if err != nil {
					t.Fatal(err)
				}
				if first = p.Rows; first >= 500 {
					break
				}
			}
			p := all(t, ring, rotate.Reencrypt, table, &rotate.Options{MaxBatch: 50})
			if p.All != 1000 || p.Rows != 1000-first {
				t.Errorf("%d rows first, then %d, and %d in all", first, p.Rows, p.All)
			}
		})
	}
}
