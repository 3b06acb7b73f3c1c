package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

// A plan is what a destructive verb would do.
type plan struct {
	what  []string // what would be done; the token is of these
	notes []string // what else to know; may be another thing the next time
}

// planReport is the answer of a destructive verb that was not confirmed, with --json.
type planReport struct {
	Format   string   `json:"format"` // "structseal-plan/1"
	Verb     string   `json:"verb"`
	Ring     string   `json:"ring"`
	Revision uint64   `json:"revision"`
	What     []string `json:"what"`
	Notes    []string `json:"notes"`
	Token    string   `json:"token"`
}

// confirmFlag adds the flag that takes a plan's token.
func confirmFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("confirm", "", "do it: the token of the plan that was printed")
}

// confirm returns nil if token is that of the plan. Else it prints the plan with its
// token, and returns errPlanned. A token fits one plan, on the ring as it is now.
func (w *work) confirm(ring *keyring.Keyring, p plan, token string) error {
	want := tokenOf(verbName(w.cmd), ring, p)
	if token == want {
		return nil
	}
	if w.asJSON {
		r := planReport{"structseal-plan/1", verbName(w.cmd), ring.Name(), ring.Revision(), p.what, p.notes, want}
		if r.Notes == nil {
			r.Notes = []string{}
		}
		if err := printJSON(w.cmd.OutOrStdout(), r); err != nil {
			return err
		}
		return errPlanned
	}
	out := w.cmd.OutOrStdout()
	for _, line := range slices.Concat(p.what, p.notes) {
		fmt.Fprintln(out, line)
	}
	if token != "" {
		fmt.Fprintln(out, "The token is that of another plan, or the ring has changed since.")
	}
	fmt.Fprintf(out, "Nothing was done. To do this, give the same command with --confirm %s\n", want)
	return errPlanned
}

// tokenOf says which plan it is, and of which ring in which state. It is no secret.
// Steps of a message count and of the ring's clock, which are frequent, aren't changes.
func tokenOf(verb string, ring *keyring.Keyring, p plan) string {
	h := sha256.New()
	changed := uint64(0)
	if all := ring.History().Changes; len(all) > 0 {
		changed = all[len(all)-1].Revision
	}
	for _, part := range append([]string{"structseal-plan/1", verb, ring.Pin().String(), ring.Name(), strconv.FormatUint(changed, 10)}, p.what...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	sum := h.Sum(nil)
	return fmt.Sprintf("%x-%x", sum[:2], sum[2:4])
}
