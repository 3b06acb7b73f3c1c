package beamseal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/integrations/beamseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/structsealtest"
)

// Records of subjects with all kinds of Sealed go through the three verbs; one subject is
// forgotten on the way.
func TestSubjectsAndSealed(t *testing.T) {
	const n = 600
	ctx := t.Context()
	ring := mainRing.admin(t)
	var plain []plainPatient
	for i := range n {
		plain = append(plain, newPatient(i))
	}
	refused := plainPatient{ID: "x", Name: "refused"}

	p, s := beam.NewPipelineWithRoot()
	out, bad := must(t)(beamseal.EncryptFrom(s, "customers", put(t, s, append(plain, refused)), sealedPatient, nil))
	rows, refusals := take[patient](t, s, out), take[beamseal.Bad[plainPatient]](t, s, bad)
	mustRun(t, p, map[string]int64{"encrypted": n, "bad": 1})
	if bad := refusals(); len(bad) != 1 || !samePatient(bad[0].Element, refused) || !strings.Contains(bad[0].Error, "sealedPatient") {
		t.Fatalf("%+v", bad)
	} else {
		noCanary(t, "an error", bad[0].Error)
	}
	sealed := rows()
	for _, row := range sealed {
		if !structsealtest.AssertSealed(t, row) {
			break
		}
	}

	rotated := keyring.Subject{ID: "p7"}
	id, err := ring.RotateSubject(ctx, rotated)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Forget(ctx, keyring.Subject{ID: "p8"}, nil); err != nil {
		t.Fatal(err)
	}
	// The workers' ring is another one, which hears of both when it has to look: both
	// subjects' keys are in its cache. A fresh process has none.
	fresh := freshRing(t, &mainRing)

	p, s = beam.NewPipelineWithRoot()
	out, bad = must(t)(beamseal.Reencrypt[patient](s, fresh, put(t, s, sealed), nil))
	rows, badRows := take[patient](t, s, out), take[beamseal.Bad[patient]](t, s, bad)
	mustRun(t, p, map[string]int64{"reencrypted": 1, "current": n - 2, "forgotten": 1})
	if len(rows()) != n || len(badRows()) != 0 {
		t.Fatalf("%d rows, %d bad", len(rows()), len(badRows()))
	}
	before := map[string]patient{}
	for _, row := range sealed {
		before[row.ID] = row
	}
	for _, row := range rows() {
		ids := keysOf(t, row)
		switch changed := row.Name != before[row.ID].Name; {
		case row.ID == "p7" && (!changed || len(ids) != 1 || ids[0] != id):
			t.Errorf("p7 is under %08x, want %08x", ids, id)
		case row.ID != "p7" && changed:
			t.Fatalf("%s was written anew", row.ID)
		}
	}

	p, s = beam.NewPipelineWithRoot()
	out, bad = must(t)(beamseal.DecryptTo(s, fresh, put(t, s, rows()), plainOf, nil))
	opened, badRows := take[plainPatient](t, s, out), take[beamseal.Bad[patient]](t, s, bad)
	mustRun(t, p, map[string]int64{"decrypted": n - 1, "forgotten": 1})
	if len(opened()) != n-1 {
		t.Fatalf("%d decrypted", len(opened()))
	}
	want := map[string]plainPatient{}
	for _, p := range plain {
		want[p.ID] = p
	}
	for _, p := range opened() {
		if !samePatient(p, want[p.ID]) {
			t.Fatalf("got %+v, want %+v", p, want[p.ID])
		}
	}
	if bad := badRows(); len(bad) != 1 || !bad[0].Forgotten || bad[0].Element.ID != "p8" || bad[0].Element.Name != before["p8"].Name {
		t.Errorf("%+v", bad)
	}
}

// A Sealed in a collection is sealed. One that isn't fails the job, also between steps
// that the runner fuses, because Beam encodes the first elements of each collection to
// learn their size; and the error, which Beam logs, has nothing of the element.
func TestSealedBetweenSteps(t *testing.T) {
	open := []patient{}
	for i := range 3 {
		s, err := sealedPatient(newPatient(i))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	for name, collect := range map[string]func(testing.TB, beam.Scope, beam.PCollection) func() []patient{
		"fused": takeFused[patient], "encoded": take[patient],
	} {
		p, s := beam.NewPipelineWithRoot()
		took := collect(t, s, put(t, s, open))
		_, err := run(t, p)
		if err == nil || !strings.Contains(err.Error(), structseal.ErrNotEncrypted.Error()) || len(took()) != 0 {
			t.Errorf("%s: %d elements, %v", name, len(took()), err)
		} else {
			noCanary(t, name, err.Error())
		}
	}

	// So the verbs whose plaintext would be such a record don't begin.
	_, s := beam.NewPipelineWithRoot()
	col := put(t, s, open)
	if _, _, err := beamseal.Decrypt[patient](s, "customers", col, nil); !errors.Is(err, structseal.ErrInvalidArgument) || !strings.Contains(err.Error(), "DecryptTo") {
		t.Error(err)
	}
	if _, _, err := beamseal.Encrypt[patient](s, "customers", col, nil); !errors.Is(err, structseal.ErrInvalidArgument) || !strings.Contains(err.Error(), "EncryptFrom") {
		t.Error(err)
	}
}
