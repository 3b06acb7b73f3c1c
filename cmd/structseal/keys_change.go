package main

import (
	"context"
	"fmt"
	"time"

	"github.com/structseal/structseal/keyring"
)

// changedReport is the answer of the verbs that change keys, with --json.
type changedReport struct {
	Format   string      `json:"format"` // "structseal-keys-rotate/1" and so on
	Ring     string      `json:"ring"`
	Revision uint64      `json:"revision"`
	Keys     []keyReport `json:"keys"` // those that were changed, as they are now
}

// changed tells what was done. Without keys it was done to all of them.
func (w *work) changed(ring *keyring.Keyring, text string, keys ...uint32) error {
	if !w.asJSON {
		fmt.Fprintln(w.cmd.OutOrStdout(), text)
		return nil
	}
	r := changedReport{Format: "structseal-keys-" + w.cmd.Name() + "/1", Ring: ring.Name(), Revision: ring.Revision(), Keys: []keyReport{}}
	for _, k := range ring.Keys() {
		if len(keys) == 0 || k.ID == keys[0] {
			r.Keys = append(r.Keys, reportKey(k))
		}
	}
	return printJSON(w.cmd.OutOrStdout(), r)
}

// keyOf reads the argument of a verb and opens the ring that has the key.
func (w *work) keyOf(ctx context.Context, args []string) (*keyring.Keyring, keyring.KeyInfo, error) {
	if _, err := keyID(args[0]); err != nil { // before anything is opened
		return nil, keyring.KeyInfo{}, err
	}
	ring, err := w.openRing(ctx)
	if err != nil {
		return nil, keyring.KeyInfo{}, err
	}
	k, err := findKey(ring, args[0])
	return ring, k, err
}

// stay waits for as long as wait says, but no longer than limit, and watches the ring
// meanwhile: only a process that runs sees time pass. What it has seen it tells the
// others, once a minute. The first interrupt ends it.
func (w *work) stay(ctx context.Context, ring *keyring.Keyring, wait *keyring.WaitError, limit time.Duration) error {
	if !w.asJSON {
		fmt.Fprintf(w.cmd.ErrOrStderr(), "structseal: key %s: waiting, %v to go at most\n", hexID(wait.Key), wait.Remaining.Round(time.Second))
	}
	for until := time.Now().Add(min(wait.Remaining, limit)); ; {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(min(left, time.Minute))
		select {
		case <-timer.C:
		case <-draining(ctx):
			return errDrained
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := ring.Maintain(ctx); err != nil {
			return err
		}
	}
}
