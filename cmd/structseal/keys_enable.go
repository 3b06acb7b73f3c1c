package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

func keysEnableCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "enable KEY",
		Short: "Bring a key back that was disabled, or destroyed and not erased",
		Long: `Enable brings a key back that was disabled, and one that is being destroyed as long
as it isn't erased. It decrypts then, and never encrypts.`,
		Example: "  structseal keys enable 9f31c2aa",
		Args:    cobra.ExactArgs(1),
	}
	return g.run(cmd, func(ctx context.Context, w *work, args []string) error {
		ring, k, err := w.keyOf(ctx, args)
		if err != nil {
			return err
		}
		if err := ring.Enable(ctx, k.ID, &keyring.ChangeOptions{Actor: w.Actor}); err != nil {
			return err
		}
		return w.changed(ring, fmt.Sprintf("key %s is enabled", hexID(k.ID)), k.ID)
	})
}
