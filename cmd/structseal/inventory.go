package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/cmd/structseal/inventory"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/manifest/gosource"
)

// inventoryReport is the answer of `inventory --json`.
type inventoryReport struct {
	Format   string                  `json:"format"` // "structseal-inventory/1"
	OK       bool                    `json:"ok"`     // exit code 0
	File     string                  `json:"file"`
	Written  bool                    `json:"written"`
	Stale    bool                    `json:"stale"`
	Packages int                     `json:"packages"`
	Records  int                     `json:"records"`
	Fields   int                     `json:"fields"` // sealed ones
	Errors   []inventory.SourceError `json:"errors"`
	Problems []gosource.Problem      `json:"problems"`
	Changes  []manifest.Change       `json:"changes"`
	Notes    []gosource.Problem      `json:"notes"`
}

type inventoryOptions struct {
	load                  inventory.Options
	file, against         string
	check, accept, asJSON bool
}

func inventoryCommand() *cobra.Command {
	var o inventoryOptions
	cmd := &cobra.Command{
		Use:   "inventory [packages]",
		Short: "List the records of Go packages in a file",
		Long: `Inventory reads Go source and writes a manifest: every record with its labels,
sealed fields, bind fields, tables and columns. Commit the file. Nothing of the
packages is run.

Without packages it looks at ./... and without -o it writes structseal.json.

It refuses to write when a label is gone or means something else, because what
was encrypted under it can't be opened any more. --accept writes all the same.

With --check it writes nothing, and fails when the file doesn't say what the
source says (line numbers don't count), or on such a change. --against takes the
file to compare with, such as that of the branch that a pull request goes to:

    git show origin/main:structseal.json > /tmp/base.json
    structseal inventory --check --against /tmp/base.json ./...`,
		Example: "  structseal inventory ./...\n  structseal inventory --check ./...",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.load.Patterns = args
			if len(args) == 0 {
				o.load.Patterns = []string{"./..."}
			}
			return runInventory(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "output", "o", manifest.FileName, "the file")
	f.BoolVar(&o.check, "check", false, "write nothing, fail when the file is stale or a label broke")
	f.StringVar(&o.against, "against", "", "file with the older manifest (default the file itself)")
	f.BoolVar(&o.accept, "accept", false, "accept labels that are gone or changed meaning")
	f.StringVar(&o.load.Tags, "tags", "", "build tags, separated by commas")
	f.BoolVar(&o.asJSON, "json", false, "answer for programs")
	return cmd
}

func runInventory(ctx context.Context, o inventoryOptions, out io.Writer) error {
	report, err := takeInventory(ctx, o)
	if o.asJSON {
		if err != nil && len(report.Errors) == 0 {
			report.Errors = []inventory.SourceError{{Position: "-", Message: err.Error()}}
		}
		if err := printJSON(out, report); err != nil {
			return err
		}
	} else {
		if err != nil {
			return failure{err}
		}
		report.print(out, o)
	}
	if !report.OK {
		return errFindings
	}
	return nil
}

// takeInventory fills a report, and writes the file if nothing speaks against it.
func takeInventory(ctx context.Context, o inventoryOptions) (*inventoryReport, error) {
	report := &inventoryReport{Format: "structseal-inventory/1", File: o.file,
		Errors: []inventory.SourceError{}, Problems: []gosource.Problem{}, Changes: []manifest.Change{}, Notes: []gosource.Problem{}}
	inv, err := inventory.Load(ctx, o.load)
	if load := (*inventory.LoadError)(nil); errors.As(err, &load) {
		report.Errors = load.Errors
	}
	if err != nil {
		return report, err
	}
	report.Packages = inv.Packages
	report.Problems = append(report.Problems, inv.Problems...)
	report.Notes = append(report.Notes, inv.Notes...)
	now := inv.Manifest
	report.Records = len(now.Records)
	for _, r := range now.Records {
		report.Fields += len(r.Fields)
	}
	switch {
	case len(inv.Problems) > 0:
		return report, nil
	case len(now.Records) == 0:
		return report, fmt.Errorf("no records in %s: name those that declare them", count(inv.Packages, "package"))
	}
	if err := now.Validate(); err != nil {
		return report, err
	}

	committed, err := manifest.Load(o.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return report, err
	}
	older := committed
	if o.against != "" {
		if older, err = manifest.Load(o.against); err != nil {
			return report, err
		}
	}
	broken := false
	if older != nil {
		report.Changes = append(report.Changes, manifest.Compare(older, now)...)
		for _, c := range report.Changes {
			broken = broken || c.Breaking && !o.accept
		}
	}
	report.Stale = committed == nil || inventory.Stale(committed, now)
	switch {
	case o.check:
		report.OK = !report.Stale && !broken
	case !broken:
		if report.Written, err = inventory.Write(o.file, now); err != nil {
			return report, err
		}
		report.OK, report.Stale = true, false
	}
	return report, nil
}

// print tells a person.
func (r *inventoryReport) print(out io.Writer, o inventoryOptions) {
	for _, p := range r.Problems {
		fmt.Fprintln(out, p)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	broken := 0
	for _, c := range r.Changes {
		if c.Breaking {
			broken++
			fmt.Fprintln(out, "breaking:", c)
		} else {
			fmt.Fprintln(out, "change:", c)
		}
	}
	found := fmt.Sprintf("%s: %s, %s", r.File, count(r.Records, "record"), count(r.Fields, "sealed field"))
	switch {
	case len(r.Problems) > 0:
		fmt.Fprintf(out, "%s that package structseal refuses\n", count(len(r.Problems), "tag"))
	case r.Written:
		fmt.Fprintf(out, "%s, written\n", found)
	case r.OK:
		fmt.Fprintf(out, "%s, up to date\n", found)
	}
	if broken > 0 && !o.accept {
		fmt.Fprintf(out, "%s. --accept takes what is meant\n", count(broken, "breaking change"))
	}
	if r.Stale && o.check && len(r.Problems) == 0 {
		fmt.Fprintf(out, "%s is stale: run `structseal inventory -o %s %s` and commit it\n", r.File, r.File, strings.Join(o.load.Patterns, " "))
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
