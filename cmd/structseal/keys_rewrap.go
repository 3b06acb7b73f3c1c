package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
)

// rewrapReport is the answer of `keys rewrap --json`.
type rewrapReport struct {
	Format   string      `json:"format"` // "structseal-keys-rewrap/1"
	Ring     string      `json:"ring"`
	Revision uint64      `json:"revision"`
	Done     bool        `json:"done"` // false: --dry-run
	KEKs     []string    `json:"keks"`
	Keys     []rewrapKey `json:"keys"` // those to change
	Subjects int         `json:"subjects"`
	Failed   int         `json:"subjects_failed"`
}

type rewrapKey struct {
	ID     string   `json:"id"`
	Wrap   []string `json:"wrap"`
	Remove []string `json:"remove"`
}

func keysRewrapCommand(g *given) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rewrap",
		Short: "Wrap the same keys by other key-encryption keys",
		Long: `Rewrap wraps the ring's keys, which stay the same; no ciphertext is touched. Without
--to it completes what is missing: wraps by key-encryption keys that were away. With
--to it moves the ring to those given, and removes all other wraps in the end; this
has to be confirmed. --renew wraps anew what is wrapped, after a KMS has rotated a
key-encryption key.

With --subjects it wraps the keys of all subjects by the primary subject-wrap key
instead, after that was rotated.

It can be interrupted anywhere and repeated.`,
		Example: "  structseal keys rewrap --renew\n  structseal keys rewrap --to hcvault:///transit/keys/customers --kms file:///etc/app/old.kek --kms hcvault:///transit/keys/customers",
		Args:    cobra.NoArgs,
	}
	f := cmd.Flags()
	to := f.StringArray("to", nil, "ID or URI of a key-encryption key to wrap by; again for further ones")
	renew := f.Bool("renew", false, "wrap anew what is wrapped")
	dry := f.Bool("dry-run", false, "say what would be done")
	subjects := f.Bool("subjects", false, "wrap the keys of subjects by the primary subject-wrap key")
	token := confirmFlag(cmd)
	return g.run(cmd, func(ctx context.Context, w *work, _ []string) error {
		if *subjects && (len(*to) > 0 || *renew || *dry) {
			return usageError{errors.New("--subjects stands alone")}
		}
		ring, err := w.openRing(ctx)
		if err != nil {
			return err
		}
		if *subjects {
			return w.rewrapSubjects(ctx, ring)
		}
		target := keyring.RewrapTarget{Renew: *renew, Actor: w.Actor}
		for _, text := range *to {
			id, err := w.kekID(ctx, ring, text)
			if err != nil {
				return err
			}
			target.KEKs = append(target.KEKs, id)
		}
		p, err := ring.PlanRewrap(ctx, target)
		if err != nil {
			return err
		}
		if *dry {
			return w.rewrapped(ring, p, false)
		}
		if slices.ContainsFunc(p.Keys, func(k keyring.RewrapKey) bool { return len(k.Remove) > 0 }) {
			if err := w.confirm(ring, plan{
				what:  append([]string{fmt.Sprintf("ring %s: wrapped by %s and nothing else", ring.Name(), strings.Join(p.KEKs, ", "))}, planLines(p)...),
				notes: []string{"Programs that have only what is removed can't open the ring any more."},
			}, *token); err != nil {
				return err
			}
		}
		if p, err = ring.Rewrap(ctx, target); err != nil {
			return err
		}
		return w.rewrapped(ring, p, true)
	})
}

// planLines are the lines of a plan that say what is done to which key.
func planLines(p *keyring.RewrapPlan) []string {
	return strings.Split(strings.TrimSpace(p.String()), "\n")[1:]
}

func (w *work) rewrapped(ring *keyring.Keyring, p *keyring.RewrapPlan, done bool) error {
	out := w.cmd.OutOrStdout()
	if w.asJSON {
		r := rewrapReport{Format: "structseal-keys-rewrap/1", Ring: ring.Name(), Revision: ring.Revision(), Done: done, KEKs: append([]string{}, p.KEKs...), Keys: []rewrapKey{}}
		for _, k := range p.Keys {
			r.Keys = append(r.Keys, rewrapKey{hexID(k.ID), append([]string{}, k.Wrap...), append([]string{}, k.Remove...)})
		}
		return printJSON(out, r)
	}
	fmt.Fprint(out, p)
	if done {
		fmt.Fprintf(out, "done: %s\n", count(len(p.Keys), "key"))
	}
	return nil
}

// rewrapSubjects wraps subjects in pages, and stops behind one at the first interrupt.
func (w *work) rewrapSubjects(ctx context.Context, ring *keyring.Keyring) error {
	r := rewrapReport{Format: "structseal-keys-rewrap/1", Ring: ring.Name(), Done: true, KEKs: keksOf(ring), Keys: []rewrapKey{}}
	var bad []error
	var after keyring.SubjectHash
	for done := false; !done; {
		select {
		case <-draining(ctx):
			return errDrained
		default:
		}
		p, err := ring.RewrapSubjects(ctx, &keyring.RewrapSubjectsOptions{After: after, Limit: keyring.MaxSubjectBatch})
		r.Subjects += p.Rewrapped
		r.Failed += p.Failed
		if err != nil {
			if p.Failed == 0 || ctx.Err() != nil {
				return err
			}
			if len(bad) < 20 {
				bad = append(bad, err)
			}
		}
		if p.Seen == 0 && !p.Done {
			return fmt.Errorf("ring %s: no subject was looked at: %w", ring.Name(), errors.Join(bad...))
		}
		after, done = p.Last, p.Done
	}
	if len(bad) > 0 {
		return fmt.Errorf("%s rewrapped, %d left alone: %w", count(r.Subjects, "subject"), r.Failed, errors.Join(bad...))
	}
	r.Revision = ring.Revision()
	if w.asJSON {
		return printJSON(w.cmd.OutOrStdout(), r)
	}
	fmt.Fprintf(w.cmd.OutOrStdout(), "%s rewrapped\n", count(r.Subjects, "subject"))
	return nil
}

// kekID returns the ID of the key-encryption key that text names: by its ID, as keys
// show has it, or by its URI.
func (w *work) kekID(ctx context.Context, ring *keyring.Keyring, text string) (string, error) {
	if slices.Contains(keksOf(ring), text) {
		return text, nil
	}
	if err := kmsurl.Check(text); err != nil {
		return "", usageError{fmt.Errorf("no key-encryption key of ring %s has this ID, and as a URI: %w; see structseal keys show", ring.Name(), err)}
	}
	p, err := w.openKEK(ctx, text)
	if err != nil {
		return "", err
	}
	return p.ID(), nil
}
