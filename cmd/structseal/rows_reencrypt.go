package main

import (
	"github.com/spf13/cobra"

	"github.com/structseal/structseal/rotate"
)

func rowsReencryptCommand(o *rowsFlags) *cobra.Command {
	return jobCommand(&cobra.Command{
		Use:   "reencrypt",
		Short: "Seal what is under old keys with the primary key",
		Long: `Reencrypt seals each value that isn't under the primary key anew: same values, same
place. What is current is skipped by its header, without decrypting it. What is
plaintext stays so.

A row is written only if all that was read of it is still there, so what the
application writes meanwhile is never lost. Any number of workers may run at once,
on as many machines. A worker that is killed loses the batch that it was at; the
next one goes on, after a minute, or at once if it has the same --worker.

Ctrl-C ends it after the batch that it is at, with exit code 5 and the command that
goes on. Ctrl-C again gives the batch up.

With --engine river, in PostgreSQL, it does no work itself: it hands parts of the
table to the processes that run structseal worker, and shows how far they are. Ctrl-C
only ends the looking on then.`,
		Example: "  structseal rows reencrypt --config structseal.config.json --rows-per-second 2000",
	}, o, rotate.Reencrypt)
}
