package rotate

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrMismatch: the manifest and the table, or the manifest and what a job can do,
	// disagree. Nothing was done.
	ErrMismatch = errors.New("manifest and rows disagree")
	// ErrDone: every part of the job is done.
	ErrDone = errors.New("the job is done")
	// ErrBusy: other workers have what is left of the job.
	ErrBusy = errors.New("other workers have the rest")
	// ErrLost: the lease was over, and another worker has the part.
	ErrLost = errors.New("another worker has taken over")
	// ErrBadRows: rows were left as they are, because a value of theirs can't be opened.
	ErrBadRows = errors.New("rows were left as they are")
	// ErrPlaintext: plaintext in a column that is to hold ciphertext.
	ErrPlaintext = errors.New("plaintext in a sealed column")
)

// A RowError says which value of which row. It never holds the value.
type RowError struct {
	Source string // "customers"
	Row    string // primary key
	Field  string // path of labels, "customer.email"
	KeyID  uint32 // that the ciphertext names, 0 if none
	Err    error
}

func (e *RowError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s row %s: %s", e.Source, e.Row, e.Field)
	if e.KeyID != 0 {
		fmt.Fprintf(&b, ": key %08x", e.KeyID)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the cause.
func (e *RowError) Unwrap() error { return e.Err }
