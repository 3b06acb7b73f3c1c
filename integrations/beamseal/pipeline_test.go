package beamseal_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/integrations/beamseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/structsealtest"
)

func byID(cs []customer) map[int64]customer {
	m := map[int64]customer{}
	for _, c := range cs {
		m[c.ID] = c
	}
	return m
}

// must is for what a verb returns.
func must(t testing.TB) func(out, bad beam.PCollection, err error) (beam.PCollection, beam.PCollection) {
	return func(out, bad beam.PCollection, err error) (beam.PCollection, beam.PCollection) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out, bad
	}
}

func keysOf(t testing.TB, v any) []uint32 {
	t.Helper()
	states, err := structseal.Inspect(v)
	if err != nil {
		t.Fatal(err)
	}
	var ids []uint32
	for _, s := range states {
		if !slices.Contains(ids, s.KeyID) {
			ids = append(ids, s.KeyID)
		}
	}
	return ids
}

// A collection is encrypted, brought under a new key, and decrypted, with elements among
// them that can't be done.
func TestCollection(t *testing.T) {
	const n = 12_000
	ctx := t.Context()
	ring := mainRing.admin(t)
	plain := make([]customer, n)
	for i := range plain {
		plain[i] = newCustomer(int64(i + 1))
	}

	p, s := beam.NewPipelineWithRoot()
	out, bad := must(t)(beamseal.Encrypt[customer](s, "customers", put(t, s, append([]customer{{Email: canary}}, plain...)), nil))
	rows, unbound := take[customer](t, s, out), take[beamseal.Bad[customer]](t, s, bad)
	mustRun(t, p, map[string]int64{"encrypted": n, "bad": 1})
	sealed := rows()
	if len(byID(sealed)) != n || len(sealed) != n {
		t.Fatalf("%d elements, %d of them different, want %d", len(sealed), len(byID(sealed)), n)
	}
	for _, row := range sealed {
		if !structsealtest.AssertSealed(t, row) {
			break
		}
	}
	if bad := unbound(); len(bad) != 1 || bad[0].Element.Email != canary || bad[0].Forgotten {
		t.Fatalf("%+v", bad)
	}
	noCanary(t, "an error", unbound()[0].Error)

	old, err := ring.Primary(ctx, keyring.Data)
	if err != nil {
		t.Fatal(err)
	}
	id, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true})
	if err != nil {
		t.Fatal(err)
	}
	// Some are under the new key already, and some can't be done.
	done := map[int64]customer{}
	for i := range 100 {
		if sealed[i], err = structseal.Encrypt(ctx, ring, plain[sealed[i].ID-1]); err != nil {
			t.Fatal(err)
		}
		done[sealed[i].ID] = sealed[i]
	}
	spoilt := map[int64]customer{}
	for k := range 400 {
		c := &sealed[200+k*7]
		c.Notes = slices.Clone(c.Notes)
		switch k % 4 {
		case 0: // changed
			c.Email = c.Email[:len(c.Email)-8] + "AAAAAAAA"
		case 1: // of another field
			c.Notes[0] = c.Email
		case 2: // under a key that there isn't
			c.Raw = append([]byte{1, 0xde, 0xad, 0xbe, 0xef}, bytes.Repeat([]byte{7}, 90)...)
		case 3: // never encrypted
			c.Email = canary
		}
		spoilt[c.ID] = *c
	}

	p, s = beam.NewPipelineWithRoot()
	out, bad = must(t)(beamseal.Reencrypt[customer](s, "customers", beam.Reshuffle(s, put(t, s, sealed)), nil))
	rows, badRows := take[customer](t, s, out), take[beamseal.Bad[customer]](t, s, bad)
	mustRun(t, p, map[string]int64{"reencrypted": n - 500, "current": 100, "bad": 400})
	fresh := rows()
	checkAll(t, fresh, badRows(), n, spoilt)
	for _, row := range fresh {
		if ids := keysOf(t, row); len(ids) != 1 || ids[0] != id {
			t.Fatalf("%d is under %08x, want %08x; the old one is %08x", row.ID, ids, id, old.ID())
		}
		if was, ok := done[row.ID]; ok && show(was) != show(row) {
			t.Fatalf("%d was under the new key and was written anew", row.ID)
		}
	}

	// All of it decrypts; what was bad still doesn't.
	p, s = beam.NewPipelineWithRoot()
	for _, c := range badRows() {
		fresh = append(fresh, c.Element)
	}
	out, bad = must(t)(beamseal.Decrypt[customer](s, "customers", beam.Reshuffle(s, put(t, s, fresh)), nil))
	rows, badRows = take[customer](t, s, out), take[beamseal.Bad[customer]](t, s, bad)
	mustRun(t, p, map[string]int64{"decrypted": n - 400, "bad": 400})
	checkAll(t, rows(), badRows(), n, spoilt)
	for _, row := range rows() {
		if want := plain[row.ID-1]; show(row) != show(want) {
			t.Fatalf("got  %s\nwant %s", show(row), show(want))
		}
	}
	if opened.Load() != 1 {
		t.Errorf("the ring was opened %d times in one process", opened.Load())
	}
}

// checkAll looks that each of n elements came out once, and those that can't be done as
// they were.
func checkAll(t *testing.T, rows []customer, bad []beamseal.Bad[customer], n int, spoilt map[int64]customer) {
	t.Helper()
	if len(bad) != len(spoilt) || len(rows) != n-len(spoilt) || len(byID(rows)) != len(rows) {
		t.Fatalf("%d bad, %d good, %d different, of %d with %d spoilt", len(bad), len(rows), len(byID(rows)), n, len(spoilt))
	}
	for _, b := range bad {
		was, ok := spoilt[b.Element.ID]
		if !ok || show(was) != show(b.Element) {
			t.Fatalf("%d: a bad element was changed, or isn't bad", b.Element.ID)
		}
		noCanary(t, "an error", b.Error)
		if !strings.Contains(b.Error, "customer") || b.Forgotten {
			t.Fatalf("%+v", b)
		}
	}
}
