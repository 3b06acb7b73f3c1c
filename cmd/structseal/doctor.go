package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// doctorReport is the answer of `doctor --json`.
type doctorReport struct {
	Format string    `json:"format"` // "structseal-doctor/1"
	OK     bool      `json:"ok"`     // exit code 0: nothing failed
	Checks []finding `json:"checks"`
}

// A finding is the result of one check.
type finding struct {
	Check  string `json:"check"` // "store", "kek", …; see docs/cli-json.md
	About  string `json:"about"` // which one, if there are several
	Status status `json:"status"`
	What   string `json:"what"`
	Do     string `json:"do"`
}

type status string

const (
	isFine    status = "ok"
	isWarning status = "warning"
	isFailed  status = "failed"
	isSkipped status = "skipped"
)

// An examination is one call of doctor.
type examination struct {
	*work
	report doctorReport
	sample int
	source []string
}

func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether ring, KMS and rows are as they should be",
		Long: `Doctor looks, and changes nothing:

  store      it can be reached, its tables are of this version, the ring is in it
  ring       it opens under the pin
  kek        each key-encryption key is reachable, enabled, not pending deletion,
             and opens every key of the ring
  clock      of this machine, against the databases and the ring's history
  keys       none is near its budget, no new one waits for a program to use it
  manifest   it fits the tables, and with --source the Go source
  plaintext  none is in the sealed columns of the first rows of each table

Rows are looked at when --dsn and --manifest are given. What can't be looked at is
told as skipped. The exit code is 1 when something failed; warnings leave it 0.`,
		Example: "  structseal doctor\n  structseal doctor --dsn postgres://app@db/crm --manifest structseal.json --sample 10000",
		Args:    cobra.NoArgs,
	}
	g := newGiven(cmd, "store", "ring", "pin", "tombstones", "dsn", "manifest")
	sample := cmd.Flags().Int("sample", 1000, "rows of each table to look at")
	source := cmd.Flags().StringArray("source", nil, "Go packages that the manifest is of, such as ./...")
	return g.run(cmd, func(ctx context.Context, w *work, _ []string) error {
		if *sample < 1 {
			return usageError{fmt.Errorf("--sample is a number of rows, not %d", *sample)}
		}
		if w.Ring == "" { // everything else may be what is wrong
			return missing("ring")
		}
		x := &examination{work: w, sample: *sample, source: *source}
		x.report = doctorReport{Format: "structseal-doctor/1", OK: true, Checks: []finding{}}
		ring := x.lookAtRing(ctx)
		x.lookAtRows(ctx, ring)
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.asJSON {
			if err := printJSON(cmd.OutOrStdout(), x.report); err != nil {
				return err
			}
		} else {
			x.print()
		}
		if !x.report.OK {
			return errFindings
		}
		return nil
	})
}

// found notes a finding.
func (x *examination) found(s status, check, about, what, do string) {
	x.report.Checks = append(x.report.Checks, finding{check, about, s, what, do})
	if s == isFailed {
		x.report.OK = false
	}
}

// failed notes what went wrong, if anything did.
func (x *examination) failed(check, about string, err error, do string) bool {
	if err == nil {
		return false
	}
	x.found(isFailed, check, about, err.Error(), do)
	return true
}

// print tells a person.
func (x *examination) print() {
	out := x.cmd.OutOrStdout()
	n := make(map[status]int)
	for _, f := range x.report.Checks {
		n[f.Status]++
		about := ""
		if f.About != "" {
			about = " " + f.About
		}
		fmt.Fprintf(out, "%-8s %s%s: %s\n", f.Status, f.Check, about, f.What)
		if f.Do != "" {
			fmt.Fprintf(out, "%-8s %s\n", "", f.Do)
		}
	}
	fmt.Fprintf(out, "%d ok, %d failed, %d skipped, %s\n", n[isFine], n[isFailed], n[isSkipped], count(n[isWarning], "warning"))
}
