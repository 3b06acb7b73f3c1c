package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// Signals are the interrupts of a call. The first one ends the context, unless the verb
// drains: then it closes a channel, for the verb to stop behind what it is at, and the
// second one ends the context.
type signals struct {
	drains atomic.Bool
	drain  chan struct{}
	say    atomic.Pointer[func()]
}

type signalsKey struct{}

// withSignals returns a context that interrupts end. stop gives them back.
func withSignals(ctx context.Context, stderr io.Writer) (_ context.Context, stop func()) {
	s := &signals{drain: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, signalsKey{}, s))
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-interrupts:
		}
		if s.drains.Load() {
			if say := s.say.Load(); say != nil {
				(*say)()
			} else {
				fmt.Fprintln(stderr, "structseal: finishing what is under way; interrupt again to abort")
			}
			close(s.drain)
			select {
			case <-ctx.Done():
				return
			case <-interrupts:
			}
		}
		cancel()
	}()
	return ctx, func() {
		signal.Stop(interrupts)
		cancel()
	}
}

// draining returns a channel that the first interrupt closes. Whoever calls it stops
// then, with errDrained.
func draining(ctx context.Context) <-chan struct{} {
	s, ok := ctx.Value(signalsKey{}).(*signals)
	if !ok {
		return nil
	}
	s.drains.Store(true)
	return s.drain
}

// onInterrupt says what the first interrupt of a verb that drains prints, instead of a
// line on standard error.
func onInterrupt(ctx context.Context, say func()) {
	if s, ok := ctx.Value(signalsKey{}).(*signals); ok {
		s.say.Store(&say)
	}
}
