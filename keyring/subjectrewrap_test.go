package keyring

import (
	"errors"
	"fmt"
	"testing"

	"github.com/structseal/structseal/crypto"
)

// P8, P7: rotating the wrapping key rewraps; the census counts subjects.
func TestRewrapSubjects(t *testing.T) {
	kms, store := newFakeKMS(), NewMemoryStore()
	ring, _ := mustCreate(t, "app", store, kms)
	ctx := t.Context()
	cts := make(map[Subject][]byte)
	for i := range 2500 {
		s := Subject{ID: fmt.Sprint(i)}
		cts[s] = sealFor(t, ring, s)
	}
	gone := Subject{ID: "gone"}
	sealFor(t, ring, gone)
	must[*Certificate](t)(ring.Forget(ctx, gone, nil))
	old := must[*crypto.Key](t)(ring.Primary(ctx, SubjectWrap)).ID()
	primary := must[uint32](t)(ring.Rotate(ctx, SubjectWrap, &RotateOptions{Now: true}))
	calls := kms.unwraps.Load()

	count := func() (uint64, uint64, *Census) {
		c := must[*Census](t)(ring.BeginCensus(ctx))
		if err := ring.CountSubjects(ctx, c); err != nil {
			t.Fatal(err)
		}
		c.Finish()
		return c.Counted(old), c.Counted(primary), c
	}
	if a, b, c := count(); a != 2500 || b != 0 {
		t.Errorf("%d by the old key, %d by the new one", a, b)
	} else if err := ring.Destroy(ctx, old, c, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a key that wraps subjects: %v", err)
	}
	rows := must[*Census](t)(ring.BeginCensus(ctx))
	rows.Finish()
	if err := ring.Destroy(ctx, old, rows, nil); !errors.Is(err, ErrCensus) {
		t.Errorf("a census of rows: %v", err)
	}
	// Interrupted, and resumed.
	p, err := ring.RewrapSubjects(ctx, &RewrapSubjectsOptions{Limit: 1100})
	if err != nil || p.Seen != 1100 || p.Done {
		t.Errorf("%+v, %v", p, err)
	}
	if a, b, _ := count(); b < 1099 || b > 1100 || a+b != 2500 {
		t.Errorf("%d by the old key, %d by the new one", a, b)
	}
	pages := 0
	rest, err := ring.RewrapSubjects(ctx, &RewrapSubjectsOptions{After: p.Last, Progress: func(RewrapProgress) { pages++ }})
	if err != nil || !rest.Done || p.Rewrapped+rest.Rewrapped != 2500 || pages != 2 {
		t.Errorf("%+v, %v, %d pages", rest, err, pages)
	}
	if a, b, _ := count(); a != 0 || b != 2500 {
		t.Errorf("%d by the old key, %d by the new one", a, b)
	}
	if n := kms.unwraps.Load() - calls; n > 2 {
		t.Errorf("%d KMS calls", n)
	}
	if p, err := ring.RewrapSubjects(ctx, nil); err != nil || p.Rewrapped != 0 || p.Seen != 2501 {
		t.Errorf("again: %+v, %v", p, err)
	}
	for s, ct := range cts {
		if err := openFor(ring, s, ct); err != nil {
			t.Fatal(err)
		}
	}
	// By Maintain.
	third := must[uint32](t)(ring.Rotate(ctx, SubjectWrap, &RotateOptions{Now: true}))
	if m, err := ring.Maintain(ctx); err != nil || m.Subjects != 2500 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := ring.Maintain(ctx); err != nil || m.Subjects != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	primary = third
	if _, b, _ := count(); b != 2500 {
		t.Errorf("%d by the third key", b)
	}
}
