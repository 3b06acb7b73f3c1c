package main

import (
	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Look after the keys of a ring",
		Long: `Keys makes rings, and looks after the keys of one: which one encrypts, which ones
still decrypt, and by which key-encryption keys of which KMS they are wrapped.

The ring is named by --store, --ring, --pin and --kms, or by STRUCTSEAL_STORE,
STRUCTSEAL_RING, STRUCTSEAL_PIN and STRUCTSEAL_KMS (separated by commas), or in the
file that --config or STRUCTSEAL_CONFIG names. Passwords are never flags: they come
from PGPASSWORD, MYSQL_PWD or a URL in STRUCTSEAL_STORE.

What can't be undone is done in two steps: the verb prints what it would do and a
token, and does it when it is called again with --confirm TOKEN.`,
		Args: cobra.NoArgs,
		RunE: needVerb,
	}
	g := newGiven(cmd, "store", "ring", "pin", "actor")
	cmd.AddCommand(
		keysCreateCommand(g), keysListCommand(g), keysShowCommand(g), keysRotateCommand(g), keysRewrapCommand(g),
		keysAddKEKCommand(g), keysRemoveKEKCommand(g), keysDisableCommand(g), keysEnableCommand(g),
		keysDestroyCommand(g), keysEraseCommand(g), keysExportCommand(g),
	)
	return cmd
}

// keyReport is a key, for programs.
type keyReport struct {
	ID       string   `json:"id"`
	Purpose  string   `json:"purpose"`
	Suite    string   `json:"suite"`
	State    string   `json:"state"`
	Created  string   `json:"created"`
	Changed  string   `json:"changed"`
	Messages uint64   `json:"messages"`
	KEKs     []string `json:"keks"`
}

func reportKey(k keyring.KeyInfo) keyReport {
	return keyReport{
		ID: hexID(k.ID), Purpose: k.Purpose.String(), Suite: k.Suite, State: k.State.String(),
		Created: timeText(k.Created), Changed: timeText(k.Changed), Messages: k.Messages, KEKs: append([]string{}, k.KEKs...),
	}
}
