package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/manifest"
)

// versionReport is the answer of `version --json`.
type versionReport struct {
	Format   string `json:"format"` // "structseal-version/1"
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Manifest string `json:"manifest"` // format of the manifests that it reads and writes
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versionReport{
				Format:   "structseal-version/1",
				Version:  "(devel)",
				Go:       runtime.Version(),
				Platform: runtime.GOOS + "/" + runtime.GOARCH,
				Manifest: manifest.Format,
			}
			if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
				v.Version = info.Main.Version
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), v)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "structseal %s, %s, %s, %s\n", v.Version, v.Go, v.Platform, v.Manifest)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer for programs")
	return cmd
}
