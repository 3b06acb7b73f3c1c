package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"
)

// A work is one call of a verb that works with rings or rows: its settings, and what
// was opened by them.
type work struct {
	*settings
	cmd     *cobra.Command
	asJSON  bool
	closers []func() error

	databases []*database // of stores
}

// onClose notes what to do when the verb has ended. The last one is done first.
func (w *work) onClose(f func() error) { w.closers = append(w.closers, f) }

func (w *work) close() error {
	var errs []error
	for _, f := range slices.Backward(w.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// A verb is what a command does. Errors are failures (exit code 1 and above), unless
// they are a usageError.
type verb func(ctx context.Context, w *work, args []string) error

// run makes a cobra function of a verb, and gives it the flag --json.
func (g *given) run(cmd *cobra.Command, do verb) *cobra.Command {
	asJSON := cmd.Flags().Bool("json", false, "answer for programs")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := g.load(cmd.Flags())
		if err == nil {
			w := &work{settings: s, cmd: cmd, asJSON: *asJSON}
			err = do(cmd.Context(), w, args)
			err = errors.Join(err, w.close())
		}
		return ended(cmd, err, *asJSON)
	}
	return cmd
}
