package main

import "github.com/spf13/cobra"

// completes lets shells complete the value of a flag that takes one of a few.
func completes(cmd *cobra.Command, flag string, values ...cobra.Completion) {
	// The only error is a flag that isn't there, or was named twice: a test shows it.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
