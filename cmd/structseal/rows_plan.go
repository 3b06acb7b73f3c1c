package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/rotate"
)

// planEvent is what a job would do with a table.
type planEvent struct {
	event
	*rotate.Forecast
}

func rowsPlanCommand(o *rowsFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Tell what reencrypt would do, or backfill",
		Long: `Plan reads all rows and tells what reencrypt would do with them, or with
--backfill what backfill would. It writes nothing. It looks at the headers of
ciphertexts and decrypts none, so a damaged value is found by the job alone.

Exit code 1 if there are values that the job couldn't do.`,
		Example: "  structseal rows plan --config structseal.config.json --record customer",
	}
	backfill := cmd.Flags().Bool("backfill", false, "plan a backfill")
	det := cmd.Flags().Bool("deterministic", false, "plan with fields tagged det=DOMAIN, too")
	return o.verb(cmd, func(ctx context.Context, w *rowsWork) error {
		if err := o.open(ctx, w); err != nil {
			return err
		}
		kind := rotate.Reencrypt
		if *backfill {
			kind = rotate.Backfill
		}
		return w.plan(ctx, kind, &rotate.Options{Deterministic: *det})
	})
}

func (w *rowsWork) plan(ctx context.Context, kind rotate.Kind, opts *rotate.Options) error {
	bad := int64(0)
	for _, t := range w.tables {
		f, err := rotate.Plan(ctx, w.ring, kind, w.watch(ctx, t), opts)
		if err != nil {
			return err
		}
		for _, b := range f.Bad {
			w.tell.badRow(b)
		}
		bad += f.BadRows
		w.tell.answer(f.String(), planEvent{newEvent("plan"), f})
	}
	if bad > 0 {
		return fmt.Errorf("%s would be left: a value of theirs can't be done", count64(bad, "row"))
	}
	return nil
}
