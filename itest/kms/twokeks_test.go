//go:build cgo

package kms

import (
	"errors"
	"testing"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

// P7, P9: a ring is wrapped by AWS and by SoftHSM. Whatever happens to one of them, every
// row opens, in programs that run and in those that start; rings are made and rotated,
// or nothing is stored where one lies; and afterwards both wrap everything, by Maintain
// or by Rewrap.
func TestTwoKEKs(t *testing.T) {
	approvedOnly(t)
	a, h := amazon(t), token11(t)
	n, read, begin := 0, 0, time.Now()
	for _, i := range ills() {
		if i.more && !long {
			continue
		}
		n++
		t.Run(i.name, func(t *testing.T) { read += suffer(t, newPair(t, a, h), i, n%2 == 0) })
	}
	t.Logf("%d ills, %d openings of rows; %v", n, read, time.Since(begin).Round(time.Second))
}

// suffer returns how many rows were opened.
func suffer(t *testing.T, p *pair, i ill, maintain bool) (read int) {
	ctx, sick, sound := t.Context(), p.kms[i.at], p.kms[1-i.at]
	w := newWorld(t, keyring.NewMemoryStore(), p.kms[:]...)
	opts := &keyring.OpenOptions{}
	if i.hangs {
		opts.CallTimeout = time.Second // the other one is asked after a tenth of it
	}
	open := func(opts *keyring.OpenOptions, kms ...kmsprovider.Provider) *keyring.Keyring {
		t.Helper()
		ring, err := w.open(t, opts, kms...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ring.Close() })
		return ring
	}
	reads := func(what string, ring *keyring.Keyring) {
		t.Helper()
		if err := w.readable(ctx, ring); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	warm := open(opts, p.kms[:]...)
	reads("before", warm)
	// One that asks again all the time if its keys are still good.
	restless := *opts
	restless.TTL = 20 * time.Millisecond
	asks := open(&restless, sick, sound)
	reads("before, asking all the time", asks)

	end := i.begin(t, p)
	t.Cleanup(func() { end() })
	reads("a program that runs", warm)
	asked, deadline := asks.Stats().Refreshes, time.Now().Add(time.Minute)
	for asks.Stats().Refreshes < asked+2 && time.Now().Before(deadline) {
		reads("a program that runs and asks all the time", asks)
	}
	if s := asks.Stats(); s.Refreshes < asked+2 || s.Refused+s.Expired > 0 {
		t.Errorf("a program that runs and asks all the time: %d looks, %d keys refused, %d expired", s.Refreshes-asked, s.Refused, s.Expired)
	}
	asks.Close()
	reads("a program that starts", open(opts, sound, sick))
	cold := open(opts, sick, sound)
	reads("a program that starts and asks the sick one first", cold)
	reads("a program with the sound one alone", open(opts, sound))
	if ring, err := w.open(t, opts, sick); !errors.Is(err, i.want) {
		t.Errorf("a program with the sick one alone: %v, want %q", err, i.want)
		if err == nil {
			ring.Close()
		}
	}

	// Writing.
	revision, added := cold.Revision(), 0
	for _, purpose := range []keyring.Purpose{keyring.Data, keyring.SubjectWrap} {
		_, err := cold.Rotate(ctx, purpose, &keyring.RotateOptions{Now: true})
		switch {
		case i.refuses && !errors.Is(err, keyring.ErrRewrap):
			t.Errorf("Rotate of %s with one that lies: %v, want %q", purpose, err, keyring.ErrRewrap)
		case !i.refuses && err != nil:
			t.Errorf("Rotate of %s: %v", purpose, err)
		case err == nil:
			added++
		}
	}
	if cold.Revision() != revision+uint64(added) {
		t.Errorf("revision %d after %d rotations, was %d", cold.Revision(), added, revision)
	}
	w.write(t, cold)
	reads("after writing", cold)
	cold.Close()
	var fresh *world
	made := 0
	if !i.hangs || long { // Create waits six times for one that hangs
		fresh, made = create(t, opts, i, sick, sound)
	}

	end()
	end = func() {}
	reads("a program that has run through it", warm)
	w.heal(t, added, p, i, maintain)
	if fresh != nil {
		fresh.heal(t, made, p, i, maintain)
		read += fresh.read
	}
	return read + w.read
}

// create makes a ring while one is ill: of the sound one alone, or none.
func create(t *testing.T, opts *keyring.OpenOptions, i ill, sick, sound kmsprovider.Provider) (w *world, made int) {
	t.Helper()
	ctx, store := t.Context(), keyring.NewMemoryStore()
	w = &world{store: store}
	ring, pin, err := keyring.Create(ctx, ringName, store, sick, &keyring.CreateOptions{
		OpenOptions: keyring.OpenOptions{Also: []kmsprovider.Provider{sound}, CallTimeout: opts.CallTimeout},
	})
	if i.refuses {
		_, loadErr := store.Load(ctx, ringName)
		if !errors.Is(err, keyring.ErrRewrap) || !errors.Is(loadErr, keyring.ErrNotFound) {
			t.Errorf("Create with one that lies: %v, and the store says %v", err, loadErr)
		}
		return nil, 0
	}
	if err != nil {
		t.Errorf("Create: %v", err)
		return nil, 0
	}
	defer ring.Close()
	if err := wrapped(ring, sound); err != nil {
		t.Errorf("Create: %v", err)
	}
	w.pin = pin
	w.write(t, ring)
	if w.index, err = blindIndex(ctx, ring); err != nil {
		t.Error(err)
	}
	return w, len(ring.Keys())
}

// heal lets both wrap everything again.
func (w *world) heal(t *testing.T, missing int, p *pair, i ill, maintain bool) {
	t.Helper()
	ring, err := w.open(t, nil, p.kms[:]...)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if missing > 0 && wrapped(ring, p.kms[:]...) == nil {
		t.Errorf("%s has wrapped, too", p.kms[i.at].ID())
	}
	if maintain {
		m, err := ring.Maintain(t.Context())
		if err != nil || m.Backfill != missing {
			t.Errorf("Maintain afterwards: %+v, %v; want %d wraps", m, err, missing)
		}
	} else {
		plan, err := ring.Rewrap(t.Context(), keyring.RewrapTarget{})
		if err != nil || len(plan.Keys) != missing {
			t.Errorf("Rewrap afterwards: %v, %v; want %d keys", plan, err, missing)
		}
	}
	if err := wrapped(ring, p.kms[:]...); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	for _, kms := range p.kms {
		if err := w.readableWith(t, kms); err != nil {
			t.Errorf("afterwards, with %s alone: %v", kms.ID(), err)
		}
	}
}

// Both are ill: the error says if waiting may help, nothing is stored, what runs goes
// on, and one that comes back is enough.
func TestBothKEKsIll(t *testing.T) {
	approvedOnly(t)
	a, h := amazon(t), token11(t)
	byName := make(map[string]ill)
	for _, i := range ills() {
		byName[i.name] = i
	}
	for _, c := range []struct {
		aws, hsm string
		wait     bool
	}{
		{"AWS is HungUp", "SoftHSM is HungUp", true},
		{"AWS is Silent", "SoftHSM is Silent", true},
		{"AWS is Unavailable", "SoftHSM is pulled out", true},
		{"AWS is Denied", "SoftHSM is Throttled", true},
		{"AWS is BadCertificate", "SoftHSM is Disabled", true},
		{"AWS lies OtherBytes", "SoftHSM is Unavailable", true},
		{"AWS is NotFound", "SoftHSM is Disabled", false},
		{"AWS is PendingDeletion", "SoftHSM is NotFound", false},
		{"AWS is WrongKeyID", "SoftHSM lies ZeroBytes", false},
		{"AWS lies Length16", "SoftHSM is Denied", false},
	} {
		t.Run(c.aws+", "+c.hsm, func(t *testing.T) {
			p := newPair(t, a, h)
			w := newWorld(t, keyring.NewMemoryStore(), p.kms[:]...)
			opts := &keyring.OpenOptions{}
			if byName[c.hsm].hangs {
				opts.CallTimeout = time.Second
			}
			warm, err := w.open(t, opts, p.kms[:]...)
			if err != nil {
				t.Fatal(err)
			}
			defer warm.Close()
			if err := w.readable(t.Context(), warm); err != nil {
				t.Fatal(err)
			}
			revision := warm.Revision()
			ends := []func(){byName[c.aws].begin(t, p), byName[c.hsm].begin(t, p)}
			defer func() {
				for _, end := range ends {
					end()
				}
			}()
			ring, err := w.open(t, opts, p.kms[:]...)
			if err == nil {
				ring.Close()
			}
			if !errors.Is(err, byName[c.aws].want) || !errors.Is(err, byName[c.hsm].want) || errors.Is(err, keyring.ErrUnavailable) != c.wait {
				t.Errorf("a program that starts: %v; want %q, %q; may be tried again: %v", err, byName[c.aws].want, byName[c.hsm].want, c.wait)
			}
			if err := w.readable(t.Context(), warm); err != nil {
				t.Errorf("a program that runs: %v", err)
			}
			if _, err := warm.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err == nil {
				t.Error("Rotate: no error")
			}
			// It writes with what it has, for which a compact key's budget is noted.
			w.write(t, warm)
			if r, err := w.store.Load(t.Context(), ringName); err != nil || r.Revision > revision+1 {
				t.Errorf("revision %d, was %d: %v", r.Revision, revision, err)
			}
			for len(ends) > 0 {
				ends[0]()
				ends = ends[1:]
				if err := w.readableWith(t, p.kms[:]...); err != nil {
					t.Errorf("one is back: %v", err)
				}
			}
			for _, kms := range p.kms {
				if err := w.readableWith(t, kms); err != nil {
					t.Errorf("both are back, with %s alone: %v", kms.ID(), err)
				}
			}
		})
	}
}

// One of two keys is destroyed for good. The ring gets another one in its place, and
// then the second may go, too.
func TestKEKIsDestroyed(t *testing.T) {
	approvedOnly(t)
	a, h, v := amazon(t), token11(t), vault(t)
	for at, destroy := range []func(t *testing.T, p place){a.destroy, h.destroy} {
		t.Run([]string{a.driver, h.driver}[at], func(t *testing.T) {
			ctx, p := t.Context(), newPair(t, a, h)
			w := newWorld(t, keyring.NewMemoryStore(), p.kms[:]...)
			third := openPlace(t, v.make(t))
			gone, left := p.kms[at], p.kms[1-at]
			destroy(t, p.places[at])
			logOut(t, p)
			ring, err := w.open(t, nil, p.kms[:]...)
			if err != nil {
				t.Fatal(err)
			}
			defer ring.Close()
			if err := w.readable(ctx, ring); err != nil {
				t.Errorf("one is destroyed: %v", err)
			}
			if err := ring.RemoveKEK(ctx, left.ID(), nil); !errors.Is(err, keyring.ErrUnreachable) || !errors.Is(err, kmsprovider.ErrNotFound) {
				t.Errorf("removing the one that is left: %v", err)
			}
			if err := wrapped(ring, p.kms[:]...); err != nil {
				t.Errorf("after a removal that was refused: %v", err)
			}
			if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true, Suite: crypto.Default}); err != nil {
				t.Error(err)
			}
			w.write(t, ring)
			if err := errors.Join(ring.RemoveKEK(ctx, gone.ID(), nil), ring.AddKEK(ctx, third, nil)); err != nil {
				t.Fatal(err)
			}
			if err := wrapped(ring, left, third); err != nil {
				t.Error(err)
			}
			for _, kms := range []kmsprovider.Provider{left, third} {
				if err := w.readableWith(t, kms); err != nil {
					t.Errorf("with %s alone: %v", kms.ID(), err)
				}
			}
			[]func(t *testing.T, p place){a.destroy, h.destroy}[1-at](t, p.places[1-at])
			logOut(t, p)
			again, err := w.open(t, nil, left, third)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if err := again.RemoveKEK(ctx, left.ID(), nil); err != nil {
				t.Error(err)
			}
			if err := w.moved(t, third); err != nil {
				t.Errorf("both are destroyed: %v", err)
			}
		})
	}
}
