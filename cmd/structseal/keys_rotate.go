package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
)

func keysRotateCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Begin to use a new key",
		Long: `Rotate publishes a new key. Nobody encrypts with it yet: it becomes the primary
when every program must have seen it (max_stale and ttl, 65 minutes), by the next
program that runs Maintain, or by --wait, which stays until then. Interrupted and
repeated it goes on with the same key. What is stored stays as it is: see rows
reencrypt.

With --now the new key is the primary at once, for emergencies: programs that
haven't heard of it go on with the old one, or must reach the store to read.`,
		Example: "  structseal keys rotate\n  structseal keys rotate --purpose subject-wrap --wait",
		Args:    cobra.NoArgs,
	}
	purpose := cmd.Flags().String("purpose", "data", "data, deterministic or subject-wrap")
	suite := cmd.Flags().String("suite", "", "default or compact, for data keys (default that of the old key)")
	now := cmd.Flags().Bool("now", false, "make it the primary at once")
	wait := cmd.Flags().Bool("wait", false, "stay until it is the primary")
	token := confirmFlag(cmd)
	completes(cmd, "purpose", "data", "deterministic", "subject-wrap")
	completes(cmd, "suite", "default", "compact")
	return g.run(cmd, func(ctx context.Context, w *work, _ []string) error {
		p, err := keyring.ParsePurpose(*purpose)
		if err != nil {
			return usageError{err}
		}
		var s crypto.Suite
		if *suite != "" {
			if s, err = dataSuite(*suite); err != nil {
				return err
			}
		}
		if *now && *wait {
			return usageError{errors.New("--now doesn't wait: leave out one of --now and --wait")}
		}
		ring, err := w.openRing(ctx)
		if err != nil {
			return err
		}
		if *now {
			what := fmt.Sprintf("ring %s: a new %s key becomes the primary at once", ring.Name(), p)
			if *suite != "" {
				what += ", suite " + *suite
			}
			if err := w.confirm(ring, plan{
				what:  []string{what},
				notes: []string{"Programs that can't reach the store won't read what is written with it."},
			}, *token); err != nil {
				return err
			}
		}
		id, err := ring.Rotate(ctx, p, &keyring.RotateOptions{Suite: s, Now: *now, Actor: w.Actor})
		if err != nil {
			return err
		}
		if *now {
			return w.changed(ring, fmt.Sprintf("key %s is the primary", hexID(id)), id)
		}
		for {
			err := ring.Promote(ctx, id, &keyring.PromoteOptions{Actor: w.Actor})
			early := (*keyring.WaitError)(nil)
			switch {
			case err == nil:
				return w.changed(ring, fmt.Sprintf("key %s is the primary", hexID(id)), id)
			case errors.As(err, &early) && !*wait:
				return w.changed(ring, fmt.Sprintf("key %s is published; it may become the primary in %v", hexID(id), early.Remaining.Round(time.Second)), id)
			case errors.As(err, &early):
				err = w.stay(ctx, ring, early, time.Minute) // somebody may have watched for longer
			}
			if err != nil {
				return err
			}
		}
	})
}

func dataSuite(name string) (crypto.Suite, error) {
	switch name {
	case "default":
		return crypto.Default, nil
	case "compact":
		return crypto.Compact, nil
	}
	return 0, usageError{fmt.Errorf("--suite is default or compact, not %q", name)}
}
