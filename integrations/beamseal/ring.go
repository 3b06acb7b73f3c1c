package beamseal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/structseal/structseal/keyring"
)

// ErrRing: a ring that wasn't registered, or not as it should be. It is an error when
// the pipeline is made, and on a worker whose program registers less than the one that
// made it.
var ErrRing = errors.New("no such ring registered")

// RegisterRing says how a worker opens a ring. The name is what the verbs are given, and
// all of it that a pipeline carries; it needn't be the ring's own. Call it in an init
// function, so that workers on other machines do the same. open is called once in each
// process, when the first worker needs the ring, and again only after an error; the ring
// stays open until the process ends. The context ends with the worker's start: it is for
// the call alone.
//
// A name that is empty or registered twice, and a nil open, are [ErrRing] from the verbs.
func RegisterRing(name string, open func(ctx context.Context) (*keyring.Keyring, error)) {
	rings.Lock()
	defer rings.Unlock()
	o := &opener{open: open, gate: make(chan struct{}, 1)}
	switch {
	case name == "":
		o.err = errors.New("the empty name")
	case open == nil:
		o.err = errors.New("registered with nil")
	case rings.byName[name] != nil:
		o.err = errors.New("registered twice")
	}
	rings.byName[name] = o
}

var rings = struct {
	sync.Mutex
	byName map[string]*opener
}{byName: map[string]*opener{}}

// opener has the ring of this process, once it is open.
type opener struct {
	open func(ctx context.Context) (*keyring.Keyring, error)
	err  error         // of the registration
	gate chan struct{} // one opens, the others wait
	ring *keyring.Keyring
}

func findRing(name string) (*opener, error) {
	rings.Lock()
	defer rings.Unlock()
	o := rings.byName[name]
	if o == nil {
		return nil, fmt.Errorf("beamseal: ring %.120q: %w: call RegisterRing in an init function of this program", name, ErrRing)
	}
	if o.err != nil {
		return nil, fmt.Errorf("beamseal: ring %.120q: %w: %w", name, ErrRing, o.err)
	}
	return o, nil
}

func openRing(ctx context.Context, name string) (*keyring.Keyring, error) {
	o, err := findRing(name)
	if err != nil {
		return nil, err
	}
	select {
	case o.gate <- struct{}{}:
		defer func() { <-o.gate }()
	case <-ctx.Done():
		return nil, fmt.Errorf("beamseal: ring %q: %w", name, ctx.Err())
	}
	if o.ring != nil {
		return o.ring, nil
	}
	ring, err := o.open(ctx)
	if err == nil && ring == nil {
		err = fmt.Errorf("%w: its function returned nil", ErrRing)
	}
	if err != nil {
		return nil, fmt.Errorf("beamseal: ring %q: %w", name, err)
	}
	o.ring = ring
	return ring, nil
}
