package main

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

// The exit codes. docs/cli.md has them.
const (
	exitDone        = 0
	exitFailed      = 1 // findings, or a failure that repeating alone won't mend
	exitUsage       = 2 // a command line that makes no sense
	exitPlanned     = 3 // nothing was done: the plan was printed, with its token
	exitLater       = 4 // nothing or half of it was done: the same call later may do it
	exitInterrupted = 5 // drained, or aborted: the same call goes on
)

// A failure is what a verb returns for exit codes other than 2. It is printed, unless
// the verb has said everything itself.
type failure struct{ err error }

func (f failure) Error() string {
	if f.err == nil {
		return "findings"
	}
	return f.err.Error()
}

func (f failure) Unwrap() error { return f.err }

// errFindings ends a verb that has told its findings.
var errFindings = told{failure{}}

// A usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

var (
	// errPlanned ends a verb that has printed what it would do.
	errPlanned = errors.New("not confirmed")
	// errDrained ends a verb that was asked to stop, and has stopped behind a batch.
	errDrained = errors.New("stopped: the same call goes on")
)

// exitCode returns the code for what a verb has failed with.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errPlanned):
		return exitPlanned
	case errors.Is(err, errDrained), errors.Is(err, context.Canceled):
		return exitInterrupted
	case later(err):
		return exitLater
	case errors.As(err, new(failure)):
		return exitFailed
	}
	return exitUsage
}

// later reports whether the same call may succeed without anybody changing anything.
func later(err error) bool {
	return kmsprovider.Retryable(err) || errors.Is(err, keyring.ErrUnavailable) || errors.Is(err, keyring.ErrTooEarly) || errors.Is(err, keyring.ErrConflict)
}

// errorReport is the answer of a verb that failed, with --json.
type errorReport struct {
	Format  string        `json:"format"` // "structseal-error/1"
	Verb    string        `json:"verb"`
	Kind    string        `json:"kind"`
	Message string        `json:"message"`
	Wait    time.Duration `json:"wait_ns"` // how long to wait before the same call, 0 if unknown
}

// ended makes of a verb's error what run prints and exits with.
func ended(cmd *cobra.Command, err error, asJSON bool) error {
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(usageError)), errors.As(err, new(told)):
		return err
	case errors.As(err, new(told)):
		return err
	case errors.Is(err, errPlanned):
		return told{err}
	case !asJSON:
		return failure{err}
	}
	r := errorReport{Format: "structseal-error/1", Verb: verbName(cmd), Kind: kindOf(err), Message: err.Error()}
	if wait := (*keyring.WaitError)(nil); errors.As(err, &wait) {
		r.Wait = wait.Remaining
	}
	if err := printJSON(cmd.OutOrStdout(), r); err != nil {
		return err
	}
	return told{failure{err}}
}

// A told error has been printed.
type told struct{ error }

func (t told) Unwrap() error { return t.error }

// verbName is the command without the name of the program.
func verbName(cmd *cobra.Command) string {
	if parent := cmd.Parent(); parent != nil && parent.HasParent() {
		return verbName(parent) + " " + cmd.Name()
	}
	return cmd.Name()
}

// kinds are what programs can branch on, the first one that fits.
var kinds = []struct {
	err  error
	name string
}{
	{errDrained, "interrupted"},
	{context.Canceled, "interrupted"},
	{keyring.ErrTooEarly, "too-early"},
	{keyring.ErrConflict, "conflict"},
	{keyring.ErrTampered, "tampered"},
	{keyring.ErrRollback, "rollback"},
	{keyring.ErrPinMismatch, "pin-mismatch"},
	{keyring.ErrWrongKEK, "wrong-kek"},
	{keyring.ErrKeyCheck, "wrong-key"},
	{keyring.ErrNotFound, "not-found"},
	{keyring.ErrExists, "exists"},
	{keyring.ErrUnknownKey, "unknown-key"},
	{keyring.ErrState, "state"},
	{keyring.ErrInUse, "in-use"},
	{keyring.ErrCensus, "no-proof"},
	{keyring.ErrUnreachable, "last-kek"},
	{fs.ErrNotExist, "not-found"},
	{kmsprovider.ErrDenied, "kms-denied"},
	{kmsprovider.ErrDisabled, "kms-disabled"},
	{kmsprovider.ErrNotFound, "kms-not-found"},
	{kmsprovider.ErrRejected, "kms-rejected"},
	{kmsprovider.ErrThrottled, "unavailable"},
	{kmsprovider.ErrUnavailable, "unavailable"},
	{keyring.ErrUnavailable, "unavailable"},
	{context.DeadlineExceeded, "unavailable"},
}

func kindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return "failed"
}
