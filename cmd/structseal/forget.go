package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

// forgetReport is the answer of `forget --json`.
type forgetReport struct {
	Format      string               `json:"format"` // "structseal-forget/1"
	Certificate *keyring.Certificate `json:"certificate"`
}

func forgetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "forget SUBJECT",
		Short: "Destroy the keys of a person, so that nothing opens what was sealed for it",
		Long: `Forget destroys the keys of a subject, in every version: what was sealed for it can't
be decrypted any more, and nothing is sealed for it. Rows stay where they are.
SUBJECT is the value of the field that is tagged subject; - reads it from standard
input, because a command line is seen by others.

It prints a certificate: from when on the fields are closed, from when on they are
irrecoverable, and what is left. Interrupted and repeated it completes what it
began.

Without --tombstones, a store outside of the ring's and of its backups, a restored
backup of the store opens the subject again.`,
		Example: "  structseal forget c-1 --tombstones file:///var/lib/forgotten -o c-1.certificate.json",
		Args:    cobra.ExactArgs(1),
	}
	g := newGiven(cmd, "store", "ring", "pin", "actor", "tombstones")
	kind := cmd.Flags().String("kind", "", "kind of the subject: K for fields tagged subject=K")
	file := cmd.Flags().StringP("output", "o", "", "file for the certificate as JSON")
	token := confirmFlag(cmd)
	return g.run(cmd, func(ctx context.Context, w *work, args []string) error {
		subject := keyring.Subject{Kind: *kind, ID: args[0]}
		if args[0] == "-" {
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 2048))
			if err != nil {
				return err
			}
			subject.ID = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
		}
		ring, err := w.openRing(ctx)
		if err != nil {
			return err
		}
		p, err := w.planForget(ctx, ring, subject)
		if err != nil {
			return err
		}
		if err := w.confirm(ring, p, *token); err != nil {
			return err
		}
		certificate, err := ring.Forget(ctx, subject, &keyring.ForgetOptions{Actor: w.Actor})
		if err != nil {
			return err
		}
		if *file != "" {
			text, err := json.MarshalIndent(certificate, "", "  ")
			if err == nil {
				err = writeNew(*file, append(text, '\n'))
			}
			if err != nil {
				return fmt.Errorf("the subject is forgotten; its certificate was not written, do it again for one: %w", err)
			}
		}
		if w.asJSON {
			return printJSON(cmd.OutOrStdout(), forgetReport{"structseal-forget/1", certificate})
		}
		fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSuffix(certificate.String(), "\n"))
		return nil
	})
}

func (w *work) planForget(ctx context.Context, ring *keyring.Keyring, subject keyring.Subject) (plan, error) {
	name := fmt.Sprintf("%q", subject.ID)
	if subject.Kind != "" {
		name = subject.Kind + " " + name
	}
	p := plan{what: []string{fmt.Sprintf("ring %s: the keys of subject %s are destroyed; what was sealed for it can't be decrypted any more", ring.Name(), name)}}
	keys, err := ring.Subject(ctx, subject)
	keys.Release()
	switch {
	case errors.Is(err, keyring.ErrForgotten):
		p.notes = append(p.notes, "It is forgotten already: doing it again completes it, and gives the certificate again.")
	case errors.Is(err, keyring.ErrUnknownKey):
		p.notes = append(p.notes, "It has no keys: is it spelt like this, and of this kind? Forgetting it makes sure that it gets none.")
	case err == nil:
	case errors.Is(err, keyring.ErrSubject), later(err), ctx.Err() != nil:
		return plan{}, err
	default: // its keys may go all the same
		p.notes = append(p.notes, fmt.Sprintf("Its keys can't be opened: %v", err))
	}
	if w.Tombstones == "" {
		p.notes = append(p.notes, "Without --tombstones a restored backup of the store opens it again.")
	}
	return p, nil
}
