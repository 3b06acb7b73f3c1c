package structseal_test

import (
	"database/sql"
	"runtime"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/structsealtest"
)

type flatRecord struct {
	_     structseal.Record `seal:"flat"`
	ID    int64             `seal:"id,bind"`
	Name  string            `seal:"name"`
	Photo []byte            `seal:"photo"`
	Phone sql.NullString    `seal:"phone"`
	City  string
}

// A flat record costs one allocation, for all of its values; the copy that is returned
// is the caller's own. Memory for the work comes from a pool.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, suite := range []crypto.Suite{crypto.Default, crypto.Compact} {
		ring := benchRing(t, suite)
		ctx := t.Context()
		v := flatRecord{ID: 7, Name: "Ada", Photo: []byte("photo"), Phone: sql.NullString{String: "+44", Valid: true}, City: "London"}
		row, err := structseal.Encrypt(ctx, ring, v)
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range map[string]func() error{
			"encrypt": func() error { _, err := structseal.Encrypt(ctx, ring, v); return err },
			"decrypt": func() error { _, err := structseal.Decrypt(ctx, ring, row); return err },
		} {
			runtime.GC() // empties the pool: what the others have left there is no help
			runtime.GC()
			var failed error
			if n := testing.AllocsPerRun(500, func() { failed = f() }); n != 1 || failed != nil {
				t.Errorf("%v: %s: %v allocations, %v", suite, name, n, failed)
			}
		}
	}
}

type uuidRecord struct {
	_    structseal.Record `seal:"uuids"`
	ID   uuid              `seal:"id,bind"`
	Name string            `seal:"name"`
}

// A uuid.UUID that binds costs a copy of itself, and what its method allocates.
func TestAllocationsOfUUID(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ctx, ring := t.Context(), structsealtest.Ring(t)
	v := uuidRecord{ID: uuid{1, 2, 3}, Name: "Ada"}
	method := testing.AllocsPerRun(500, func() { v.ID.MarshalText() })
	var row uuidRecord
	var err error
	if n := testing.AllocsPerRun(500, func() { row, err = structseal.Encrypt(ctx, ring, v) }); n > method+2 || err != nil {
		t.Errorf("encrypt: %v allocations, %v of them by MarshalText, %v", n, method, err)
	}
	if n := testing.AllocsPerRun(500, func() { v, err = structseal.Decrypt(ctx, ring, row) }); n > method+2 || err != nil || v.Name != "Ada" {
		t.Errorf("decrypt: %v allocations, %v of them by MarshalText, %v", n, method, err)
	}
}

// What holds for a record that needs a walk holds for a flat one, too: the caller's value
// isn't touched, NULL stays NULL, and what is behind it doesn't survive.
func TestFlatRecords(t *testing.T) {
	ctx, ring := t.Context(), structsealtest.Ring(t)
	in := flatRecord{ID: 7, Name: "Ada", Photo: nil, Phone: sql.NullString{String: "behind a NULL", Valid: false}, City: "London"}
	before := in
	row, err := structseal.Encrypt(ctx, ring, in)
	if err != nil {
		t.Fatal(err)
	}
	if in.Name != before.Name || in.Phone != before.Phone || row.Phone != (sql.NullString{}) || row.Photo != nil || row.City != "London" || row.Name == "Ada" {
		t.Errorf("%+v became %+v", in, row)
	}
	again, err := structseal.Decrypt(ctx, ring, row)
	if err != nil || again.Name != "Ada" || again.Phone.Valid || again.Photo != nil {
		t.Errorf("%+v, %v", again, err)
	}
	// By pointer and inside of others it is the same record.
	if p, err := structseal.Decrypt(ctx, ring, &row); err != nil || p.Name != "Ada" || p == &row || row.Name == "Ada" {
		t.Errorf("%+v, %v", p, err)
	}
	if all, err := structseal.DecryptAll(ctx, ring, []flatRecord{row, row}); err != nil || all[1].Name != "Ada" {
		t.Errorf("%+v, %v", all, err)
	}
	if some, err := structseal.Decrypt(ctx, ring, row, structseal.Only("name")); err != nil || some.Name != "Ada" {
		t.Errorf("%+v, %v", some, err)
	}
	if none, err := structseal.Encrypt(ctx, ring, flatRecord{ID: 8, Name: "Eve", Photo: []byte{}}, structseal.Only("photo")); err != nil || none.Name != "Eve" || len(none.Photo) == 0 {
		t.Errorf("%+v, %v", none, err)
	}
}
