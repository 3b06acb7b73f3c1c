package main

import (
	"github.com/spf13/cobra"

	"github.com/structseal/structseal/rotate"
)

func rowsBackfillCommand(o *rowsFlags) *cobra.Command {
	return jobCommand(&cobra.Command{
		Use:   "backfill",
		Short: "Encrypt what is still plaintext",
		Long: `Backfill encrypts the plaintext in sealed columns. Ciphertexts stay as they are.

All programs that read the table must allow plaintext meanwhile (the option
AllowPlaintext), and all that write it must encrypt. structseal rows verify tells
when nothing is left.

It works as reencrypt does: beside the application, by any number of workers, and
Ctrl-C ends it after the batch that it is at.`,
		Example: "  structseal rows backfill --config structseal.config.json --record customer",
	}, o, rotate.Backfill)
}
