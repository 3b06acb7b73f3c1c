package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

func keysDisableCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disable KEY",
		Short: "Take a key out of use, until it is enabled",
		Long: `Disable takes a key out of use: what names it can't be decrypted, here at once and in
other programs within ttl (5 minutes). Enable undoes it. The primary can't be
disabled: rotate first.`,
		Example: "  structseal keys disable 9f31c2aa",
		Args:    cobra.ExactArgs(1),
	}
	return g.run(cmd, func(ctx context.Context, w *work, args []string) error {
		ring, k, err := w.keyOf(ctx, args)
		if err != nil {
			return err
		}
		if err := ring.Disable(ctx, k.ID, &keyring.ChangeOptions{Actor: w.Actor}); err != nil {
			return err
		}
		return w.changed(ring, fmt.Sprintf("key %s is disabled", hexID(k.ID)), k.ID)
	})
}
