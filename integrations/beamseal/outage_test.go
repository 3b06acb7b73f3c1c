package beamseal_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/integrations/beamseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/structsealtest"
)

// What the KMS or the store doesn't answer is no element's fault: nothing is bad, the
// bundle fails. Prism doesn't try a bundle again, it ends the job with the error; the same
// job works when the KMS is back.
func TestUnavailable(t *testing.T) {
	const n = 2000
	for _, answer := range []error{kmsprovider.ErrUnavailable, kmsprovider.ErrDenied} {
		ring := awayRing.admin(t)
		var rows []customer
		for i := range n {
			row, err := structseal.Encrypt(t.Context(), ring, newCustomer(int64(i+1)))
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		if _, err := ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
		// The workers' ring is open and has used the new key, but not the old one.
		name := freshRing(t, &awayRing)
		p, s := beam.NewPipelineWithRoot()
		must(t)(beamseal.Encrypt[customer](s, name, put(t, s, []customer{newCustomer(1)}), nil))
		mustRun(t, p, map[string]int64{"encrypted": 1})

		pipeline := func() (*beam.Pipeline, func() []customer, func() []beamseal.Bad[customer]) {
			p, s := beam.NewPipelineWithRoot()
			out, bad := must(t)(beamseal.Reencrypt[customer](s, name, put(t, s, rows), nil))
			return p, take[customer](t, s, out), take[beamseal.Bad[customer]](t, s, bad)
		}
		awayRing.kms.answer(answer)
		p, done, bad := pipeline()
		_, err := run(t, p)
		awayRing.kms.answer(nil)
		if err == nil || !strings.Contains(err.Error(), answer.Error()) || !strings.Contains(err.Error(), "customer.email") {
			t.Fatalf("%v", err)
		}
		noCanary(t, "the error", err.Error())
		if len(done()) != 0 || len(bad()) != 0 {
			t.Errorf("%d elements and %d bad ones of a bundle that failed", len(done()), len(bad()))
		}
		if answer != kmsprovider.ErrUnavailable {
			continue // the ring doesn't ask again at once
		}
		p, done, bad = pipeline()
		mustRun(t, p, map[string]int64{"reencrypted": n})
		if len(byID(done())) != n || len(done()) != n || len(bad()) != 0 {
			t.Errorf("%d elements, %d bad", len(done()), len(bad()))
		}
	}
}

// oneBadRead is a store that fails once to read subjects.
type oneBadRead struct {
	keyring.SubjectStore
	armed atomic.Bool
}

func (s *oneBadRead) LoadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	if s.armed.CompareAndSwap(true, false) {
		return nil, errors.New("connection lost")
	}
	return s.SubjectStore.LoadSubjects(ctx, name, subjects)
}

// A store that is away for the moment of one element fails its bundle; the job is run
// again and has everything.
func TestStoreAwayOnce(t *testing.T) {
	const n = 50
	store := &oneBadRead{SubjectStore: keyring.NewMemoryStore()}
	world := registered{store: store}
	admin := world.admin(t)
	var rows []patient
	for i := range n {
		open, _ := sealedPatient(newPatient(i))
		row, err := structseal.Encrypt(t.Context(), admin, open)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	name := freshRing(t, &world)
	pipeline := func() (*beam.Pipeline, func() []plainPatient, func() []beamseal.Bad[patient]) {
		p, s := beam.NewPipelineWithRoot()
		out, bad := must(t)(beamseal.DecryptTo(s, name, put(t, s, rows), plainOf, nil))
		return p, take[plainPatient](t, s, out), take[beamseal.Bad[patient]](t, s, bad)
	}
	store.armed.Store(true)
	p, done, bad := pipeline()
	_, err := run(t, p)
	if err == nil || !strings.Contains(err.Error(), keyring.ErrUnavailable.Error()) || len(done()) != 0 || len(bad()) != 0 {
		t.Fatalf("%d elements, %d bad, %v", len(done()), len(bad()), err)
	}
	p, done, bad = pipeline()
	mustRun(t, p, map[string]int64{"decrypted": n})
	if len(done()) != n || len(bad()) != 0 {
		t.Errorf("%d elements, %d bad", len(done()), len(bad()))
	}
}

// A ring that doesn't open fails the start of the worker; it is tried again for the next.
func TestRingDoesNotOpen(t *testing.T) {
	var tried atomic.Int64
	inner := structsealtest.Ring(t)
	beamseal.RegisterRing(t.Name(), func(context.Context) (*keyring.Keyring, error) {
		switch tried.Add(1) {
		case 1:
			return nil, errors.New("no config")
		case 2:
			return nil, nil
		}
		return inner, nil
	})
	for _, want := range []string{"no config", beamseal.ErrRing.Error(), ""} {
		p, s := beam.NewPipelineWithRoot()
		out, _ := must(t)(beamseal.Encrypt[customer](s, t.Name(), put(t, s, []customer{newCustomer(1)}), nil))
		took := take[customer](t, s, out)
		_, err := run(t, p)
		if want == "" && (err != nil || len(took()) != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if tried.Load() != 3 {
		t.Errorf("opened %d times", tried.Load())
	}
}
