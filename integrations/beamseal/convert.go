package beamseal

import (
	"fmt"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/reflectx"

	"github.com/structseal/structseal"
)

// conversion is a function of the user's between a record and its plain form. Beam
// carries its name.
type conversion[A, B any] struct {
	Function *beam.EncodedFunc `json:",omitempty"`

	call reflectx.Func1x2
}

func converting[A, B any](f func(A) (B, error)) conversion[A, B] {
	return conversion[A, B]{Function: &beam.EncodedFunc{Fn: reflectx.MakeFunc(f)}}
}

func (c *conversion[A, B]) check() error {
	if c.Function == nil {
		return nil
	}
	if _, ok := functions.Load(c.Function.Fn.Name()); !ok {
		return fmt.Errorf("beamseal: %w: function %s isn't registered", ErrPipeline, c.Function.Fn.Name())
	}
	return nil
}

func (c *conversion[A, B]) open() {
	if c.Function != nil {
		c.call = reflectx.ToFunc1x2(c.Function.Fn)
	}
}

// do converts; without a function A and B are one type. The function's own error may hold
// a value, so it isn't told.
func (c *conversion[A, B]) do(op string, a A) (B, error) {
	if c.Function == nil {
		return any(a).(B), nil
	}
	b, err := c.call.Call1x2(a)
	if err != nil {
		var none B
		return none, &structseal.FieldError{Op: op, Type: fmt.Sprintf("%T", a), Err: fmt.Errorf("%s returned an error", c.Function.Fn.Name())}
	}
	return b.(B), nil
}
