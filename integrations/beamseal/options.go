package beamseal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

// Options are for all verbs; nil is fine. They are part of the pipeline's description,
// which runners store and show: no place for personal data.
type Options struct {
	// Bind has what structseal.Bind is given, by label: the same for every element.
	// Integers are in decimal.
	Bind map[string]string `json:",omitempty"`
	// Only has what structseal.Only is given. Without it Reencrypt leaves fields that
	// are tagged det=.
	Only []string `json:",omitempty"`
}

func (o *Options) options() []structseal.Option {
	var opts []structseal.Option
	for _, label := range slices.Sorted(maps.Keys(o.Bind)) {
		opts = append(opts, structseal.Bind(label, o.Bind[label]))
	}
	if len(o.Only) > 0 {
		opts = append(opts, structseal.Only(o.Only...))
	}
	return opts
}

// verb is what the DoFns have in common. It is all that is serialized of them, but for
// the name of a function: no key, and nothing that opens one.
type verb struct {
	Ring    string
	Options Options

	ring *keyring.Keyring
	opts []structseal.Option
}

func newVerb(ring string, opts *Options) verb {
	v := verb{Ring: ring}
	if opts != nil {
		v.Options = Options{Bind: maps.Clone(opts.Bind), Only: slices.Clone(opts.Only)}
	}
	return v
}

// open gets a worker its ring.
func (v *verb) open(ctx context.Context) (err error) {
	v.opts = v.Options.options()
	v.ring, err = openRing(ctx, v.Ring)
	return err
}

// notTheElement are errors that the next element would meet, too, and a later try
// perhaps not.
var notTheElement = []error{
	context.Canceled, context.DeadlineExceeded,
	keyring.ErrUnavailable, keyring.ErrConflict, keyring.ErrClosed, keyring.ErrWrongKEK, keyring.ErrKeyCheck,
	kmsprovider.ErrRejected, kmsprovider.ErrNotFound, kmsprovider.ErrDenied, kmsprovider.ErrDisabled,
	kmsprovider.ErrWrongAnswer, kmsprovider.ErrUnavailable, kmsprovider.ErrThrottled,
	structseal.ErrNotApproved,
}

// ofElement tells whether an error is about the element: it goes to the bad ones.
// Otherwise it is returned as what fails the bundle, so that the runner tries again.
func ofElement(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("beamseal: %w", ctx.Err())
	}
	for _, known := range notTheElement {
		if errors.Is(err, known) {
			return fmt.Errorf("beamseal: %w", err)
		}
	}
	if _, ok := errors.AsType[*structseal.FieldError](err); !ok {
		return fmt.Errorf("beamseal: %w", err) // of the type or the options
	}
	return nil
}
