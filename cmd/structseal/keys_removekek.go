package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

func keysRemoveKEKCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove-kek ID|URI",
		Short: "Remove a key-encryption key from the ring",
		Long: `Remove-kek deletes every wrap by a key-encryption key. It is refused unless another one
of --kms has opened every key just now. Programs that have only that one can't open
the ring any more. Backups of the ring still hold the wraps.`,
		Example: "  structseal keys remove-kek local:0f3c9a7712de4455",
		Args:    cobra.ExactArgs(1),
	}
	token := confirmFlag(cmd)
	return g.run(cmd, func(ctx context.Context, w *work, args []string) error {
		ring, err := w.openRing(ctx)
		if err != nil {
			return err
		}
		id, err := w.kekID(ctx, ring, args[0])
		if err != nil {
			return err
		}
		all := keksOf(ring)
		if !slices.Contains(all, id) {
			return fmt.Errorf("ring %s: %w: %s is none of its key-encryption keys", ring.Name(), keyring.ErrWrongKEK, id)
		}
		p := plan{what: []string{fmt.Sprintf("ring %s: every wrap by %s is deleted", ring.Name(), id)}}
		for _, other := range all {
			if other != id {
				p.notes = append(p.notes, "What remains: "+other)
			}
		}
		p.notes = append(p.notes, "Programs that have only this one can't open the ring any more.")
		if err := w.confirm(ring, p, *token); err != nil {
			return err
		}
		if err := ring.RemoveKEK(ctx, id, &keyring.ChangeOptions{Actor: w.Actor}); err != nil {
			return err
		}
		return w.changed(ring, fmt.Sprintf("ring %s is no longer wrapped by %s", ring.Name(), id))
	})
}
