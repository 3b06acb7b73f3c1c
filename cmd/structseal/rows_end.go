package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// endEvent is the last one of each verb.
type endEvent struct {
	event
	OK     bool   `json:"ok"`     // exit code 0
	Exit   int    `json:"exit"`   // exit code
	Kind   string `json:"kind"`   // of the error, "" if ok
	Error  string `json:"error"`  // "" if ok
	Resume string `json:"resume"` // command that goes on, if it was stopped
}

// end tells how a verb ended, and returns the error that makes the exit code.
func (w *rowsWork) end(ctx context.Context, err error) error {
	if errors.As(err, new(usageError)) {
		return errors.Join(err, w.tell.close())
	}
	e := endEvent{event: newEvent("end"), OK: err == nil}
	if errors.Is(err, errDrained) || err != nil && ctx.Err() != nil {
		err = interrupted{errDrained, "stopped; nothing was written"}
		if w.resumable {
			e.Resume = resume(w.cmd)
			err = interrupted{errDrained, cmp.Or(w.stopped, "stopped, and what was written is kept")}
		}
	}
	if err != nil {
		err = failure{err}
		e.Exit, e.Kind, e.Error = exitCode(err), kindOf(err), err.Error()
	}
	if w.tell.bad > maxRows {
		w.tell.note("bad: %d in all", w.tell.bad)
	}
	if w.tell.asJSON {
		w.tell.answer("", e)
	}
	if failed := w.tell.close(); failed != nil {
		return failure{failed}
	}
	switch {
	case err != nil && w.tell.asJSON:
		return told{err}
	case e.Resume != "":
		return fmt.Errorf("%w. To go on:\n    %s", err, e.Resume)
	}
	return err
}

// An interrupted verb was stopped by a signal.
type interrupted struct {
	error
	text string
}

func (i interrupted) Error() string { return i.text }

func (i interrupted) Unwrap() error { return i.error }

func count64(n int64, what string) string { return count(int(n), what) }
