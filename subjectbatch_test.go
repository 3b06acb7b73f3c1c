package structseal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// meddler does something while it is encrypted.
type meddler struct{ s string }

var meddle func()

func (m meddler) MarshalText() ([]byte, error) {
	if meddle != nil {
		meddle()
	}
	return []byte(m.s), nil
}
func (m *meddler) UnmarshalText(b []byte) error { m.s = string(b); return nil }

// Forgotten while Encrypt runs: the error says so.
func TestForgetDuringEncrypt(t *testing.T) {
	type rec struct {
		_  structseal.Record          `seal:"rec"`
		ID string                     `seal:"id,bind,subject"`
		A  string                     `seal:"a"`
		V  structseal.Sealed[meddler] `seal:"v"`
	}
	ring, _, err := keyring.Create(t.Context(), "app", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	meddle = func() { ring.Forget(t.Context(), keyring.Subject{ID: "x"}, nil) }
	_, err = structseal.Encrypt(t.Context(), ring, rec{ID: "x", A: "a", V: structseal.Of(meddler{"v"})})
	meddle = nil
	if !errors.Is(err, structseal.ErrForgotten) {
		t.Errorf("want ErrForgotten: %v (ErrWiped %v)", err, errors.Is(err, crypto.ErrWiped))
	}
}

// Records without values need no keys, and get none.
func TestBatchMakesNoKeysForNothing(t *testing.T) {
	type optional struct {
		_    structseal.Record `seal:"person"`
		ID   string            `seal:"id,bind,subject"`
		Name *string           `seal:"name"`
	}
	store := keyring.NewMemoryStore()
	ring, _, err := keyring.Create(t.Context(), "app", store, localkms.NewRandom(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if _, err := structseal.EncryptAll(t.Context(), ring, []optional{{ID: "x"}, {ID: "y"}}); err != nil {
		t.Fatal(err)
	}
	list, _ := store.ListSubjects(t.Context(), "app", keyring.SubjectHash{}, 1000)
	if len(list) > 0 {
		t.Errorf("%d subjects got keys for records without values (Encrypt makes none)", len(list))
	}
}

// A bad record, or subjects of records inside records: still one read for many.
func TestBatchReadsSubjectsTogether(t *testing.T) {
	store := &countingStore{MemoryStore: keyring.NewMemoryStore()}
	kms := localkms.NewRandom()
	ring, pin, err := keyring.Create(t.Context(), "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	var people []person
	for i := range 400 {
		people = append(people, newPerson(fmt.Sprint(i)))
	}
	rows, err := structseal.EncryptAll(t.Context(), ring, people)
	if err != nil {
		t.Fatal(err)
	}
	rows[0].ID = strings.Repeat("x", 1025)
	fresh := func() *keyring.Keyring {
		o, err := keyring.Open(t.Context(), "app", store, kms, pin, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { o.Close() })
		store.reads.Store(0)
		return o
	}
	structseal.DecryptAll(t.Context(), fresh(), rows, structseal.OnError(func(int, error) error { return nil }))
	if n := store.reads.Load(); n > 10 {
		t.Errorf("one row with an id of 1,025 bytes: %d reads for 400 rows", n)
	}
	for i := range 800 {
		people = append(people, newPerson(fmt.Sprint("more ", i)))
	}
	if rows, err = structseal.EncryptAll(t.Context(), ring, people); err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, err := range structseal.DecryptSeq(t.Context(), fresh(), input(rows, &read)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := store.reads.Load(); n > 20 || read != len(rows) {
		t.Errorf("a sequence: %d reads for %d rows", n, read)
	}
	type visit struct {
		_  structseal.Record `seal:"visit"`
		ID string            `seal:"id,bind"`
		P  person
	}
	var visits []visit
	for i := range 400 {
		visits = append(visits, visit{ID: fmt.Sprint(i), P: newPerson(fmt.Sprint("n", i))})
	}
	vrows, err := structseal.EncryptAll(t.Context(), ring, visits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := structseal.DecryptAll(t.Context(), fresh(), vrows); err != nil {
		t.Fatal(err)
	}
	if n := store.reads.Load(); n > 10 {
		t.Errorf("nested subjects: %d reads for 400 rows", n)
	}
}
