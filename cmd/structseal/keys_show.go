package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

// showReport is the answer of `keys show --json`.
type showReport struct {
	Format   string         `json:"format"` // "structseal-keys-show/1"
	Ring     string         `json:"ring"`
	Pin      string         `json:"pin"`
	Revision uint64         `json:"revision"`
	KEKs     []string       `json:"keks"`
	Keys     []keyReport    `json:"keys"`
	Dropped  uint64         `json:"dropped"`
	History  []changeReport `json:"history"`
}

type changeReport struct {
	Revision uint64 `json:"revision"`
	At       string `json:"at"`
	Actor    string `json:"actor"`
	Op       string `json:"op"`
	Key      string `json:"key"`
	Note     string `json:"note"`
}

func keysShowCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [KEY]",
		Short: "Show the ring, or one key, and what was done to it",
		Long: `Show tells the ring's pin, the key-encryption keys that wrap it, and who has done
what to its keys when: the last 256 changes. With a key it tells of that one.`,
		Example: "  structseal keys show\n  structseal keys show 9f31c2aa",
		Args:    cobra.MaximumNArgs(1),
	}
	return g.run(cmd, func(ctx context.Context, w *work, args []string) error {
		if len(args) == 1 { // before anything is opened
			if _, err := keyID(args[0]); err != nil {
				return err
			}
		}
		ring, err := w.openRing(ctx)
		if err != nil {
			return err
		}
		r := showReport{Format: "structseal-keys-show/1", Ring: ring.Name(), Pin: ring.Pin().String(), Revision: ring.Revision(), KEKs: keksOf(ring), Keys: reportKeys(ring), History: []changeReport{}}
		if len(args) == 1 {
			k, err := findKey(ring, args[0])
			if err != nil {
				return err
			}
			r.Keys = []keyReport{reportKey(k)}
		}
		history := ring.History()
		r.Dropped = history.Dropped
		for _, c := range history.Changes {
			if id := hexID(c.Key); len(args) == 0 || id == r.Keys[0].ID {
				r.History = append(r.History, changeReport{c.Revision, timeText(c.At), c.Actor, c.Op, id, c.Note})
			}
		}
		if w.asJSON {
			return printJSON(cmd.OutOrStdout(), r)
		}
		return r.print(cmd.OutOrStdout())
	})
}

// keksOf lists the key-encryption keys that wrap anything of the ring.
func keksOf(ring *keyring.Keyring) []string {
	all := []string{}
	for _, k := range ring.Keys() {
		all = append(all, k.KEKs...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// print tells a person.
func (r *showReport) print(out io.Writer) error {
	fmt.Fprintf(out, "ring %s, revision %d\npin  %s\n", r.Ring, r.Revision, r.Pin)
	for _, id := range r.KEKs {
		fmt.Fprintf(out, "kek  %s\n", id)
	}
	for _, k := range r.Keys {
		fmt.Fprintf(out, "key  %s, %s, %s, %s, created %s, changed %s", k.ID, k.Purpose, k.State, k.Suite, k.Created, k.Changed)
		if k.Messages > 0 {
			fmt.Fprintf(out, ", at most %d messages", k.Messages)
		}
		fmt.Fprintln(out)
	}
	if r.Dropped > 0 {
		fmt.Fprintf(out, "%d older changes are no longer held\n", r.Dropped)
	}
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range r.History {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", c.At, c.Op, c.Key, c.Actor, c.Note)
	}
	return tw.Flush()
}
