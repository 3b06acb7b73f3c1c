package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run does what main does, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "structseal",
		Short:         "Look after records that structseal encrypts",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.New("a verb is missing")
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(inventoryCommand(), versionCommand())
	err := root.ExecuteContext(ctx)
	var f failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &f):
		if f.err != nil {
			fmt.Fprintf(stderr, "structseal: %v\n", f.err)
		}
		return 1
	}
	fmt.Fprintf(stderr, "structseal: %v\nSee structseal --help\n", err)
	return 2
}

// A failure is what a verb returns for exit code 1. It is printed, unless the verb has
// said everything itself.
type failure struct{ err error }

func (f failure) Error() string {
	if f.err == nil {
		return "findings"
	}
	return f.err.Error()
}

func (f failure) Unwrap() error { return f.err }

// errFindings ends a verb that has told its findings.
var errFindings = failure{}

// printJSON writes a verb's answer for programs.
func printJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	if err != nil {
		return failure{err}
	}
	return nil
}
