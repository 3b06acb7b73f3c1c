package beamseal

import (
	"context"
	"errors"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/structseal/structseal"
)

// Counters count elements, each of them once in each verb.
const namespace = "structseal"

var (
	encrypted   = beam.NewCounter(namespace, "encrypted")
	decrypted   = beam.NewCounter(namespace, "decrypted")
	reencrypted = beam.NewCounter(namespace, "reencrypted")
	current     = beam.NewCounter(namespace, "current")
	forgotten   = beam.NewCounter(namespace, "forgotten")
	bad         = beam.NewCounter(namespace, "bad")
)

// failed sorts an element that could not be done: it is emitted and counted, or the error
// that fails the bundle is returned.
func failed[E any](ctx context.Context, element E, err error, emit func(Bad[E])) error {
	if err := ofElement(ctx, err); err != nil {
		return err
	}
	gone := errors.Is(err, structseal.ErrForgotten)
	emit(Bad[E]{Element: element, Error: err.Error(), Forgotten: gone})
	if gone {
		forgotten.Inc(ctx, 1)
	} else {
		bad.Inc(ctx, 1)
	}
	return nil
}
