package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
)

// However a verb was stopped, its end says what became of it, and with which exit code.
func TestEnds(t *testing.T) {
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		err    error
		writes bool
		code   int
		want   string
	}{
		"done":                      {t.Context(), nil, true, exitDone, ""},
		"drained":                   {t.Context(), errDrained, true, exitInterrupted, "stopped, and what was written is kept. To go on:\n    rows --table 'two words'"},
		"aborted, says the driver":  {stopped, errors.New("sqlite: interrupted (9)"), true, exitInterrupted, "what was written is kept. To go on:"},
		"a verb that reads":         {stopped, context.Canceled, false, exitInterrupted, "stopped; nothing was written"},
		"the store is away":         {t.Context(), keyring.ErrUnavailable, true, exitLater, keyring.ErrUnavailable.Error()},
		"something else":            {t.Context(), errors.New("why"), true, exitFailed, "why"},
		"a command line of nothing": {t.Context(), usageError{errors.New("why")}, true, exitUsage, "why"},
	} {
		cmd := &cobra.Command{Use: "rows"}
		cmd.Flags().String("table", "", "")
		if err := cmd.Flags().Set("table", "two words"); err != nil {
			t.Fatal(err)
		}
		for _, asJSON := range []bool{false, true} {
			var out, stderr bytes.Buffer
			w := &rowsWork{work: &work{cmd: cmd, asJSON: asJSON}, tell: newTeller(&out, &stderr, asJSON), resumable: c.writes}
			err := w.end(c.ctx, c.err)
			if code := exitCode(err); code != c.code {
				t.Errorf("%s: exit code %d, want %d: %v", name, code, c.code, err)
			}
			if !asJSON && err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %q, want %q", name, err, c.want)
			}
			if events := bytes.Count(out.Bytes(), []byte(`"event":"end"`)); asJSON != (events == 1) && c.code != exitUsage || c.code == exitUsage && events > 0 {
				t.Errorf("%s: %d ends: %s", name, events, &out)
			}
		}
	}
}
