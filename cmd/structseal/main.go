package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run does what main does, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "structseal",
		Short:         "Look after records that structseal encrypts",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          needVerb,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(doctorCommand(), forgetCommand(), inventoryCommand(), keysCommand(), rowsCommand(), versionCommand(), workerCommand())
	ctx, stop := withSignals(ctx, stderr)
	defer stop()
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	switch {
	case err == nil, errors.As(err, new(told)):
	case code == exitUsage:
		fmt.Fprintf(stderr, "structseal: %v\nSee structseal --help\n", err)
	default:
		fmt.Fprintf(stderr, "structseal: %v\n", err)
	}
	return code
}

// needVerb is what a command does that only has others under it.
func needVerb(*cobra.Command, []string) error { return errors.New("a verb is missing") }

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
