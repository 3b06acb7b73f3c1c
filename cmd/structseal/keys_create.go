package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
)

// createReport is the answer of `keys create --json`.
type createReport struct {
	Format string      `json:"format"` // "structseal-keys-create/1"
	Ring   string      `json:"ring"`
	Pin    string      `json:"pin"`
	Keys   []keyReport `json:"keys"`
}

func keysCreateCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a ring",
		Long: `Create makes a ring with one key of each purpose, wrapped by every --kms, and
prints its pin. The pin is no secret: it belongs into the configuration of the
programs that open the ring.

The directory or the tables of the store are made if they aren't there. With
--new-kek the key files that --kms names are made, too: back them up, apart from
the store, because nothing opens without them. It overwrites nothing.`,
		Example: `  structseal keys create --store file:///var/lib/app/ring --ring customers --kms file:///etc/app/customers.kek --new-kek`,
		Args:    cobra.NoArgs,
	}
	suite := cmd.Flags().String("suite", "default", "suite of the data key: default or compact")
	newKEK := cmd.Flags().Bool("new-kek", false, "make the key files that --kms names")
	completes(cmd, "suite", "default", "compact")
	return g.run(cmd, func(ctx context.Context, w *work, _ []string) error {
		s, err := dataSuite(*suite)
		if err != nil {
			return err
		}
		store, err := w.ringStore(ctx, true)
		if err != nil {
			return err
		}
		// Before key files are made for nothing.
		if _, err := store.Load(ctx, w.Ring); err == nil {
			return fmt.Errorf("ring %s: %w", w.Ring, keyring.ErrExists)
		} else if !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
		if *newKEK {
			if err := makeKeyFiles(w.KMS); err != nil {
				return err
			}
		}
		kms, err := w.openKMS(ctx)
		if err != nil {
			return err
		}
		opts, err := w.ringOptions(ctx, true)
		if err != nil {
			return err
		}
		opts.Also = kms[1:]
		ring, pin, err := keyring.Create(ctx, w.Ring, store, kms[0], &keyring.CreateOptions{Suite: s, Actor: w.Actor, OpenOptions: *opts})
		if !pin.IsZero() && err != nil {
			err = fmt.Errorf("%w; the ring was made, and its pin is %s", err, pin)
		}
		if err != nil {
			return err
		}
		w.onClose(ring.Close)
		if w.asJSON {
			return printJSON(cmd.OutOrStdout(), createReport{"structseal-keys-create/1", ring.Name(), pin.String(), reportKeys(ring)})
		}
		fmt.Fprintf(cmd.OutOrStdout(), "ring %s, pin %s\n", ring.Name(), pin)
		return nil
	})
}

// makeKeyFiles makes those of the key-encryption keys that are files.
func makeKeyFiles(uris []string) error {
	made := 0
	for _, uri := range uris {
		if !strings.HasPrefix(uri, "file:") {
			continue
		}
		err := kmsurl.CreateFile(uri)
		if errors.Is(err, kmsurl.ErrURI) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		made++
	}
	if made == 0 {
		return usageError{errors.New("--new-kek makes key files, and no --kms names one: the key-encryption keys of a KMS are made there")}
	}
	return nil
}
