package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

// listReport is the answer of `keys list --json`.
type listReport struct {
	Format   string      `json:"format"` // "structseal-keys-list/1"
	Ring     string      `json:"ring"`
	Revision uint64      `json:"revision"`
	Keys     []keyReport `json:"keys"`
}

func keysListCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the keys",
		Example: "  structseal keys list",
		Args:    cobra.NoArgs,
	}
	return g.run(cmd, func(ctx context.Context, w *work, _ []string) error {
		ring, err := w.openRing(ctx)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if w.asJSON {
			return printJSON(out, listReport{"structseal-keys-list/1", ring.Name(), ring.Revision(), reportKeys(ring)})
		}
		tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "KEY\tPURPOSE\tSTATE\tSUITE\tCREATED\tWRAPPED BY")
		for _, k := range ring.Keys() {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", hexID(k.ID), k.Purpose, k.State, k.Suite, timeText(k.Created), strings.Join(k.KEKs, ", "))
		}
		return tw.Flush()
	})
}

func reportKeys(ring *keyring.Keyring) []keyReport {
	all := []keyReport{}
	for _, k := range ring.Keys() {
		all = append(all, reportKey(k))
	}
	return all
}
