package structseal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/sealtag"
)

// An Option changes one call of a verb. The functions of this package that
// return one are all there are.
type Option func(*options)

type options struct {
	bind           []crypto.Binding // sorted by label
	only           labels
	onError        func(int, error) error
	literal        bool
	allowPlaintext bool
	plaintexts     *atomic.Int64
	reencryption   *Reencryption
	buffer         *[]byte
	err            error
}

// Bind authenticates a value that no field holds, such as the tenant of the
// connection: what was encrypted with it decrypts only with it. It applies to
// every record in the value, nested ones too. The marker's option require=label
// makes forgetting it an error. value is what a bind field may be: a string,
// []byte, [N]byte, an integer or an encoding.TextMarshaler, not its zero value.
//
// The verb returns ErrUnbound for an empty value, ErrInvalidArgument for a type
// that can't bind and for a label that is given twice or is a bind field's.
func Bind(label string, value any) Option {
	text, err := bindOptionText(value)
	if err == nil {
		err = sealtag.CheckLabel(label, false)
	}
	return func(o *options) {
		if err != nil {
			o.fail(fmt.Errorf("structseal: Bind(%q): %w", label, err))
			return
		}
		i, found := slices.BinarySearchFunc(o.bind, label, func(b crypto.Binding, l string) int { return cmp.Compare(b.Label, l) })
		if found {
			o.fail(invalid("Bind(%q) given twice", label))
			return
		}
		o.bind = slices.Insert(o.bind, i, crypto.Binding{Label: label, Value: text})
	}
}

// Only restricts a verb to some fields, for SELECTs and UPDATEs of some columns;
// the others are left as they are. Labels of nested structs are written with
// dots ("address.street"); the label of a struct means all of it. Bind fields
// must be there all the same. A nested record takes part if its field has a
// label that is named.
//
// The verb returns ErrInvalidArgument for a label that isn't a sealed field's.
func Only(paths ...string) Option {
	return func(o *options) {
		if o.only == nil {
			o.only = labels{}
		}
		for _, path := range paths {
			o.only.add(strings.Split(path, "."))
		}
		if len(paths) == 0 {
			o.fail(invalid("Only without a label"))
		}
	}
}

// OnError decides what one bad record does to a slice or a sequence. f is called
// in the caller's goroutine, in order, with the record's index and its
// *RecordError. If f returns nil the work goes on: in a slice the record's place
// holds T's zero value, a sequence leaves it out. An error that f returns ends
// the work. Without OnError the first bad record does. Encrypt and Decrypt
// ignore it.
func OnError(f func(index int, err error) error) Option {
	return func(o *options) { o.onError = f }
}

// Literal tells Encrypt that values which look like ciphertexts of this ring are
// data: without it they are ErrEncrypted or ErrForeignCiphertext. Decrypt
// ignores it.
func Literal() Option { return func(o *options) { o.literal = true } }

// AllowPlaintext tells Decrypt to let values pass that aren't encrypted, while
// an existing table is being migrated. Every one is added to count, if that
// isn't nil, once the whole call has succeeded: alert on it, and drop the option
// when it stays at zero, because it also lets through what an attacker writes in
// plain. Text that starts with "s1." and bytes that start with 0x01 are never
// let through. Encrypt ignores it.
func AllowPlaintext(count *atomic.Int64) Option {
	return func(o *options) { o.allowPlaintext, o.plaintexts = true, count }
}

func (o *options) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func newOptions(opts []Option) (*options, error) {
	if len(opts) == 0 {
		return &noOptions, nil
	}
	o := optionSets.Get().(*options)
	for _, opt := range opts {
		if opt == nil {
			return nil, invalid("a nil Option")
		}
		opt(o)
	}
	return o, o.err
}

var (
	noOptions  options
	optionSets = sync.Pool{New: func() any { return new(options) }}
)

// release keeps the memory of options that nothing uses any more.
func (o *options) release() {
	if o != &noOptions {
		*o = options{}
		optionSets.Put(o)
	}
}

// labels is a tree of label paths. An empty subtree means everything below.
type labels map[string]labels

func (l labels) add(path []string) {
	sub, ok := l[path[0]]
	switch {
	case len(path) == 1:
		l[path[0]] = labels{} // all of it, also if a part was named before
	case !ok:
		l[path[0]] = labels{}
		l[path[0]].add(path[1:])
	case len(sub) > 0:
		sub.add(path[1:])
	}
}

// pick returns what is left of the tree below label, and whether label is in.
// A nil tree has no restriction.
func (l labels) pick(label string) (labels, bool) {
	if l == nil {
		return nil, true
	}
	sub, ok := l[label]
	if len(sub) == 0 {
		sub = nil
	}
	return sub, ok
}

// validate reports the first path that p doesn't have.
func (l labels) validate(p *plan, prefix string) error {
	for label, sub := range l {
		i := slices.IndexFunc(p.fields, func(f field) bool { return f.label == label })
		if i < 0 || label == "" {
			return invalid("Only(%q): %s has no such sealed field", prefix+label, p.typ)
		}
		if len(sub) == 0 {
			continue
		}
		end := p.fields[i].node.end()
		if end.plan == nil {
			return invalid("Only(%q): %s.%s is no struct", prefix+label+".", p.typ, p.fields[i].name)
		}
		if err := sub.validate(end.plan, prefix+label+"."); err != nil {
			return err
		}
	}
	return nil
}
