package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/rotate"
)

const proofHelp = `
The proof is a count, made here and now: no value in any table of the manifest may
name the key, and the count must have begun long enough after the key was last used.
--everything says that these are all places that hold ciphertexts of the ring:
backups, exports and queues were thought of. For a subject-wrap key the subjects are
counted, and no manifest is needed.

--wait stays until the time has passed, and counts again. --force does without count
and wait: what still names the key is lost.`

func keysDestroyCommand(g *given) *cobra.Command {
	return g.destruction(&cobra.Command{
		Use:   "destroy KEY",
		Short: "Take a key out of use for good; its wraps stay until it is erased",
		Long: `Destroy is the first of two steps: what names the key can't be decrypted any more.
Enable brings it back, until keys erase takes its bytes, a week later.
` + proofHelp,
		Example: "  structseal keys destroy 9f31c2aa --manifest structseal.json --dsn postgres://app@db/crm --everything",
	}, (*keyring.Keyring).Destroy)
}

func keysEraseCommand(g *given) *cobra.Command {
	return g.destruction(&cobra.Command{
		Use:   "erase KEY",
		Short: "Erase a key that is being destroyed",
		Long: `Erase is the second step of destroying a key, destroy_wait (7 days) after the first:
its wraps are erased. Nothing brings it back but a backup of the ring.
` + proofHelp,
		Example: "  structseal keys erase 9f31c2aa --manifest structseal.json --dsn postgres://app@db/crm --everything",
	}, (*keyring.Keyring).Erase)
}

// A destruction is what one of the two verbs was told.
type destruction struct {
	w                       *work
	ring                    *keyring.Keyring
	key                     keyring.KeyInfo
	force, everything, wait bool
}

type destroyFunc func(*keyring.Keyring, context.Context, uint32, *keyring.Census, *keyring.DestroyOptions) error

func (g *given) destruction(cmd *cobra.Command, do destroyFunc) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	g.add(cmd.Flags(), "dsn", "manifest")
	d := new(destruction)
	cmd.Flags().BoolVar(&d.everything, "everything", false, "the tables of the manifest are all that holds ciphertexts")
	cmd.Flags().BoolVar(&d.wait, "wait", false, "stay until it may be done")
	cmd.Flags().BoolVar(&d.force, "force", false, "without count and wait: emergencies only")
	token := confirmFlag(cmd)
	return g.run(cmd, func(ctx context.Context, w *work, args []string) (err error) {
		if d.force && (d.wait || d.everything) {
			return usageError{errors.New("--force neither counts nor waits: leave it out, or --everything and --wait")}
		}
		if !d.force && !d.everything {
			return usageError{errors.New("--everything is missing: a key may be destroyed when all places that hold ciphertexts of the ring were counted, backups and exports too; see --help")}
		}
		d.w = w
		if d.ring, d.key, err = w.keyOf(ctx, args); err != nil {
			return err
		}
		return d.run(ctx, cmd.Name(), do, *token)
	})
}

func (d *destruction) run(ctx context.Context, verb string, do destroyFunc, token string) error {
	id := hexID(d.key.ID)
	switch erase := verb == "erase"; {
	case d.key.State == keyring.Destroyed:
		return d.w.changed(d.ring, fmt.Sprintf("key %s is erased", id), d.key.ID)
	case !erase && d.key.State == keyring.Destroying:
		return d.w.changed(d.ring, fmt.Sprintf("key %s is being destroyed since %s; keys erase is next", id, timeText(d.key.Changed)), d.key.ID)
	case erase && d.key.State != keyring.Destroying:
		return fmt.Errorf("key %s: %w: it is %s; keys destroy comes first", id, keyring.ErrState, d.key.State)
	case d.key.State == keyring.Primary:
		return fmt.Errorf("key %s: %w: it is the primary; rotate first", id, keyring.ErrState)
	}
	p := plan{what: []string{fmt.Sprintf("ring %s: key %s (%s, %s): %s", d.ring.Name(), id, d.key.Purpose, d.key.State, map[string]string{
		"destroy": "taken out of use; what names it can't be decrypted; keys enable brings it back until it is erased",
		"erase":   "its bytes are erased; nothing brings it back but a backup of the ring",
	}[verb])}}
	var census *keyring.Census
	if d.force {
		p.what = append(p.what, "By force: nobody has looked whether anything names the key. What does is lost.")
	} else {
		var err error
		var notes []string
		if census, notes, err = d.prove(ctx); err != nil && !(d.wait && errors.Is(err, keyring.ErrTooEarly)) {
			return err
		}
		p.notes = notes
		if err != nil {
			p.notes = append(p.notes, fmt.Sprintf("Not yet: %v. --wait stays until then.", err))
		}
	}
	if err := d.w.confirm(d.ring, p, token); err != nil {
		return err
	}
	for {
		err := do(d.ring, ctx, d.key.ID, census, &keyring.DestroyOptions{Force: d.force, Actor: d.w.Actor})
		early := (*keyring.WaitError)(nil)
		if err == nil {
			break
		}
		if !d.wait || !errors.As(err, &early) {
			return err
		}
		if err := d.w.stay(ctx, d.ring, early, early.Remaining); err != nil {
			return err
		}
		if census, _, err = d.prove(ctx); err != nil && !errors.Is(err, keyring.ErrTooEarly) {
			return err
		}
	}
	return d.w.changed(d.ring, fmt.Sprintf("key %s is %s", id, map[string]string{
		"destroy": "being destroyed: erase it when destroy_wait is over",
		"erase":   "erased; backups of the ring may have it still",
	}[verb]), d.key.ID)
}

// prove counts, and tells what was counted. The error says why the key may not be
// destroyed, or erased.
func (d *destruction) prove(ctx context.Context) (*keyring.Census, []string, error) {
	var sources []rotate.Source
	var notes []string
	if d.key.Purpose != keyring.SubjectWrap {
		tables, err := d.w.openTables(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range tables {
			sources = append(sources, t)
		}
		m, err := d.w.loadManifest()
		if err != nil {
			return nil, nil, err
		}
		_, apart, err := d.w.tablesOf(m)
		if err != nil {
			return nil, nil, err
		}
		if len(apart) > 0 {
			notes = append(notes, "Not counted, because the manifest knows no table: "+strings.Join(apart, ", "))
		}
		for label, r := range d.w.Rows {
			if len(r.Without) > 0 {
				notes = append(notes, fmt.Sprintf("Not counted, because the settings leave them out: %s of %s", strings.Join(r.Without, ", "), label))
			}
		}
	}
	report, census, err := rotate.Verify(ctx, d.ring, sources, &rotate.VerifyOptions{Everything: d.everything})
	if err != nil {
		return nil, nil, err
	}
	for _, s := range report.Sources {
		notes = append(notes, fmt.Sprintf("Counted: %d rows of %s (record %s)", s.Rows, s.Source, s.Record))
	}
	err = d.ring.MayDestroy(ctx, d.key.ID, census)
	if early := (*keyring.WaitError)(nil); errors.As(err, &early) {
		err = fmt.Errorf("key %s is named by nothing, but somebody could have written with it since: %w", hexID(d.key.ID), err)
	}
	return census, notes, err
}
