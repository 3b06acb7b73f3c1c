package sqlrows

import (
	"errors"
	"regexp"

	"github.com/structseal/structseal/rotate"
)

// refused wraps an error with rotate.ErrMismatch if it is what the database will say
// again however often it is asked: a value that doesn't fit its column, a constraint, a
// right that is missing.
func refused(err error) error {
	if err == nil || errors.Is(err, rotate.ErrMismatch) || !permanent(err) {
		return err
	}
	return refusal{err}
}

// A refusal is an error of the database's, and an ErrMismatch.
type refusal struct{ error }

func (r refusal) Unwrap() []error { return []error{r.error, rotate.ErrMismatch} }

// permanent goes by the class of the SQLSTATE: 22 data, 23 constraints, 42 rights and
// names. The driver of PostgreSQL has a method for it, MySQL's has it in the text, and
// SQLite has a code of its own, whose low byte is 19 for constraints.
func permanent(err error) bool {
	state := ""
	if s := interface{ SQLState() string }(nil); errors.As(err, &s) {
		state = s.SQLState()
	} else if m := mysqlState.FindStringSubmatch(err.Error()); m != nil {
		state = m[1]
	}
	if len(state) == 5 {
		return state[:2] == "22" || state[:2] == "23" || state[:2] == "42"
	}
	if c := interface{ Code() int }(nil); errors.As(err, &c) {
		return c.Code()&0xff == 19
	}
	return false
}

var mysqlState = regexp.MustCompile(`Error \d+ \(([0-9A-Z]{5})\): `)
