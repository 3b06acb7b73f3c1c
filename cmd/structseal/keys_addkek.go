package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

func keysAddKEKCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add-kek URI",
		Short: "Wrap the ring by a further key-encryption key",
		Long: `Add-kek wraps every key of the ring by a further key-encryption key, so that any one
of them opens it. Then give it to all programs that open the ring. Interrupted and
repeated it completes what is missing.`,
		Example: "  structseal keys add-kek aws-kms://arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		Args:    cobra.ExactArgs(1),
	}
	newKEK := cmd.Flags().Bool("new-kek", false, "make the key file that URI names")
	return g.run(cmd, func(ctx context.Context, w *work, args []string) error {
		ring, err := w.openRing(ctx)
		if err != nil {
			return err
		}
		if *newKEK {
			if err := makeKeyFiles(args); err != nil {
				return err
			}
		}
		kms, err := w.openKEK(ctx, args[0])
		if err != nil {
			return err
		}
		if err := ring.AddKEK(ctx, kms, &keyring.ChangeOptions{Actor: w.Actor}); err != nil {
			return err
		}
		return w.changed(ring, fmt.Sprintf("ring %s is wrapped by %s, too", ring.Name(), kms.ID()))
	})
}
