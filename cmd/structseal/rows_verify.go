package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/rotate"
)

// verifiedEvent is what is in the tables, and which keys may be destroyed.
type verifiedEvent struct {
	event
	*rotate.Report
}

func rowsVerifyCommand(o *rowsFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Count which keys the rows use",
		Long: `Verify reads all rows and counts which keys their ciphertexts name, and what is
plaintext, malformed or of a key that the ring doesn't have. It looks at headers,
decrypts nothing and writes nothing.

With --everything it also tells which keys may be destroyed. Say so only if the
tables that it looks at are all places that hold ciphertexts of the ring: think of
backups, replicas, exports and queues. structseal keys destroy counts once more,
itself.

Exit code 1 if anything was found that isn't a ciphertext of the ring.`,
		Example: "  structseal rows verify --config structseal.config.json --everything",
	}
	everything := cmd.Flags().Bool("everything", false, "these tables are all that holds ciphertexts of the ring")
	return o.verb(cmd, func(ctx context.Context, w *rowsWork) error {
		if err := o.open(ctx, w); err != nil {
			return err
		}
		return w.verify(ctx, *everything)
	})
}

func (w *rowsWork) verify(ctx context.Context, everything bool) error {
	var sources []rotate.Source
	for _, t := range w.tables {
		sources = append(sources, w.watch(ctx, t))
	}
	report, _, err := rotate.Verify(ctx, w.ring, sources, &rotate.VerifyOptions{Everything: everything})
	if err != nil {
		return err
	}
	var plain, other int64
	for _, s := range report.Sources {
		for _, b := range s.Bad {
			w.tell.badRow(b)
		}
		for _, f := range s.Fields {
			plain += f.Plaintext
			other += f.Malformed + f.Unknown
		}
	}
	w.tell.answer(report.String(), verifiedEvent{newEvent("verified"), report})
	if plain+other > 0 {
		return fmt.Errorf("%s plaintext, %d malformed or of unknown keys", count64(plain, "value"), other)
	}
	return nil
}
