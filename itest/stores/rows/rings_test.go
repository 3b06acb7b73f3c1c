package rows

import (
	"errors"
	"fmt"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
	"github.com/structseal/structseal/rotate/sqlrows"
)

// A table moves to another ring, of another suite, while it is read under both.
func TestToAnotherRing(t *testing.T) {
	const n = 300
	s := sqlite(t)
	ctx, ring := t.Context(), s.ring(t)
	s.fill(t, ring, 1, n)
	to, _, err := keyring.Create(ctx, "compact", s.store, s.kms, &keyring.CreateOptions{Suite: crypto.Compact})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	table := s.table(t, nil)
	stopped := 0
	for p, err := range rotate.Run(ctx, ring, rotate.Reencrypt, table, &rotate.Options{To: to, MaxBatch: 50}) {
		if err != nil {
			t.Fatal(err)
		}
		if stopped = int(p.Written); stopped >= n/2 {
			break // and go on later
		}
	}
	old, moved := 0, 0
	for _, row := range s.read(t) {
		if _, err := structseal.Decrypt(ctx, ring, row); err == nil {
			old++
		} else if _, err := structseal.Decrypt(ctx, to, row); err == nil {
			moved++
		}
	}
	if old+moved != n || moved != stopped {
		t.Errorf("%d rows under the old ring, %d under the new one, %d told", old, moved, stopped)
	}
	p := all(t, ring, rotate.Reencrypt, table, &rotate.Options{To: to})
	if p.Written != int64(n-stopped) || p.Rows != int64(n-stopped) {
		t.Errorf("resumed: %+v", p)
	}
	s.check(t, to, n, func(int64) int { return 0 })
	// Again: what is there already is seen to be.
	if p := all(t, ring, rotate.Reencrypt, table, &rotate.Options{To: to}); p.Written != 0 || p.BadRows != 0 || p.Rows != n {
		t.Errorf("again: %+v", p)
	}
}

// A value that doesn't open stays as it is, with the rest of its row, and is told; the
// others are done. Then the old key can't be destroyed.
func TestBadRows(t *testing.T) {
	const n = 200
	s := sqlite(t)
	ctx, ring := t.Context(), s.ring(t)
	s.fill(t, ring, 1, n)
	old, err := ring.Primary(ctx, keyring.Data)
	if err != nil {
		t.Fatal(err)
	}
	rows := s.read(t)
	execute1(t, s, "UPDATE customers SET email = ? WHERE id = ?", rows[2].Email, 1) // of another row
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	table := s.table(t, nil)
	var last error
	var p rotate.Progress
	for p, last = range rotate.Run(ctx, ring, rotate.Reencrypt, table, nil) {
	}
	var bad *rotate.RowError
	if !errors.Is(last, rotate.ErrBadRows) || !errors.Is(last, structseal.ErrTampered) || !errors.As(last, &bad) || bad.Row != "1" || bad.Field != "customer.email" || bad.KeyID != old.ID() {
		t.Errorf("%v", last)
	}
	if p.BadRows != 1 || p.Written != n-1 || p.Done {
		t.Errorf("%+v", p)
	}
	report, census, err := rotate.Verify(ctx, ring, []rotate.Source{table}, &rotate.VerifyOptions{Everything: true})
	if err != nil {
		t.Fatal(err)
	}
	if left := census.Counted(old.ID()); left == 0 || left > 4 {
		t.Errorf("%d values of the row are under the old key", left)
	}
	if err := ring.Destroy(ctx, old.ID(), census, nil); !errors.Is(err, keyring.ErrInUse) {
		t.Errorf("Destroy: %v", err)
	}
	for _, k := range report.Keys {
		if k.ID == fmt.Sprintf("%08x", old.ID()) && (k.May || k.Why == "" || k.TooEarly) {
			t.Errorf("%+v", k)
		}
	}
	// After MaxBad it stops.
	for _, last = range rotate.Run(ctx, ring, rotate.Reencrypt, table, &rotate.Options{MaxBad: 1}) {
	}
	if !errors.Is(last, rotate.ErrBadRows) {
		t.Error(last)
	}
}

type patient struct {
	_         structseal.Record `seal:"patient"`
	ID        string            `seal:"id,bind,subject=patient"`
	Diagnosis string            `seal:"diagnosis"`
}

// Rows of subjects are sealed anew under their subject's own primary; those of forgotten
// subjects are counted and left.
func TestRowsOfSubjects(t *testing.T) {
	described := manifest.Record{Label: "patient", Table: "patients",
		Binds:  []manifest.Bind{{Label: "id", Column: "id", Kind: manifest.BindText, Subject: true, SubjectKind: "patient"}},
		Fields: []manifest.Field{{Path: []string{"diagnosis"}, Field: "Diagnosis", Column: "diagnosis", Form: manifest.FormString}},
	}
	s := sqlite(t)
	ctx, ring := t.Context(), s.ring(t)
	execute(t, s.db, "CREATE TABLE patients (id TEXT PRIMARY KEY, diagnosis TEXT)")
	const n = 120
	for i := range n {
		row := patient{ID: fmt.Sprint("p", i), Diagnosis: "well"}
		if i%10 != 0 { // the others are plaintext
			var err error
			if row, err = structseal.Encrypt(ctx, ring, row); err != nil {
				t.Fatal(err)
			}
		}
		execute1(t, s, "INSERT INTO patients (id, diagnosis) VALUES (?, ?)", row.ID, row.Diagnosis)
	}
	who := func(i int) keyring.Subject { return keyring.Subject{Kind: "patient", ID: fmt.Sprint("p", i)} }
	if _, err := ring.RotateSubject(ctx, who(5)); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Forget(ctx, who(7), &keyring.ForgetOptions{Actor: "tests"}); err != nil {
		t.Fatal(err)
	}
	table, err := sqlrows.New(ctx, s.db, s.dialect, described, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := all(t, ring, rotate.Reencrypt, table, nil)
	if p.Written != 1 || p.Forgotten != 1 || p.Plaintext != n/10 || p.Current != n-n/10-2 {
		t.Errorf("%+v", p)
	}
	if p := all(t, ring, rotate.Backfill, table, nil); p.Written != n/10 || p.Forgotten != 1 {
		t.Errorf("%+v", p)
	}
	report, census, err := rotate.Verify(ctx, ring, []rotate.Source{table}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := report.Sources[0].Fields[0]; f.Subjects != n || f.Plaintext != 0 || len(f.Keys) != 0 {
		t.Errorf("%+v", f)
	}
	wrap, err := ring.Primary(ctx, keyring.SubjectWrap)
	if err != nil {
		t.Fatal(err)
	}
	if c := census.Counted(wrap.ID()); c != n-1 {
		t.Errorf("%d subjects are wrapped by the primary, want %d", c, n-1)
	}
}
