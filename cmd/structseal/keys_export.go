package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring/insecuretink"
)

// exportReport is the answer of `keys export --json`.
type exportReport struct {
	Format string `json:"format"` // "structseal-keys-export/1"
	Ring   string `json:"ring"`
	File   string `json:"file"`
}

func keysExportCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the keys in the clear, as a Tink keyset",
		Long: `Export writes the data keys, or with --deterministic those, in the clear, as a JSON
keyset of Tink: to leave structseal, or to read the data in another language. Who
has the file reads everything: encrypt or destroy it at once. The keys of subjects
are not in it. It overwrites nothing.`,
		Example: "  structseal keys export --cleartext -o keyset.json",
		Args:    cobra.NoArgs,
	}
	f := cmd.Flags()
	file := f.StringP("output", "o", "", "the file, made with mode 0600")
	clear := f.Bool("cleartext", false, "yes, in the clear")
	deterministic := f.Bool("deterministic", false, "the deterministic keys")
	return g.run(cmd, func(ctx context.Context, w *work, _ []string) error {
		switch {
		case !*clear:
			return usageError{errors.New("--cleartext is missing: the file has the keys in the clear, and opens everything")}
		case *file == "":
			return usageError{errors.New("--output is missing: keys aren't written to terminals")}
		}
		ring, err := w.openRing(ctx)
		if err != nil {
			return err
		}
		export := insecuretink.Export
		if *deterministic {
			export = insecuretink.ExportDeterministic
		}
		var keyset bytes.Buffer
		if err := export(ctx, ring, &keyset); err != nil {
			return err
		}
		if err := writeNew(*file, keyset.Bytes()); err != nil {
			return err
		}
		if w.asJSON {
			return printJSON(cmd.OutOrStdout(), exportReport{"structseal-keys-export/1", ring.Name(), *file})
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: keys of ring %s in the clear\n", *file, ring.Name())
		return nil
	})
}

// writeNew writes a file of the user's own that wasn't there.
func writeNew(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
