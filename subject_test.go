package structseal_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/structsealtest"
)

type person struct {
	_     structseal.Record      `seal:"person"`
	ID    string                 `seal:"id,bind,subject=person"`
	Name  string                 `seal:"name"`
	Notes []string               `seal:"notes"`
	Age   structseal.Sealed[int] `seal:"age"`
}

// order belongs to a person and is a row of its own.
type order struct {
	_     structseal.Record `seal:"order"`
	ID    int               `seal:"id,bind"`
	Owner string            `seal:"owner,subject=person"`
	Item  string            `seal:"item"`
}

// household has records of several subjects, and one of its own.
type household struct {
	_      structseal.Record `seal:"household"`
	ID     string            `seal:"id,bind,subject=home"`
	Street string            `seal:"street"`
	People []person
	Door   string `seal:"door"`
}

func newPerson(id string) person {
	return person{ID: id, Name: "name of " + id, Notes: []string{"a", "b"}, Age: structseal.Of(36)}
}

func samePerson(a, b person) bool {
	x, errX := a.Age.Get()
	y, errY := b.Age.Get()
	return a.ID == b.ID && a.Name == b.Name && fmt.Sprint(a.Notes) == fmt.Sprint(b.Notes) && x == y && errX == nil && errY == nil
}

// P12 at the front door.
func TestP12_SubjectsAndForgetting(t *testing.T) {
	ctx := t.Context()
	ring := structsealtest.Ring(t)
	ada, bob := newPerson("ada"), newPerson("bob")
	adaRow := encrypted(t, ring, ada)
	bobRow := encrypted(t, ring, bob)
	adaOrder := encrypted(t, ring, order{ID: 1, Owner: "ada", Item: "clock"})
	bobOrder := encrypted(t, ring, order{ID: 2, Owner: "bob", Item: "lamp"})
	structsealtest.AssertSealed(t, adaRow)

	if got, err := structseal.Decrypt(ctx, ring, adaRow); err != nil || !samePerson(got, ada) {
		t.Errorf("%+v, %v", got, err)
	}
	// One person has one key, in every record.
	if a, b := keyOf(t, adaRow.Name), keyOf(t, adaOrder.Item); a != b {
		t.Errorf("keys %08x and %08x", a, b)
	}
	if keyOf(t, adaRow.Name) == keyOf(t, bobRow.Name) {
		t.Error("two people share a key")
	}
	// A value of another person's row.
	moved := bobRow
	moved.Name = adaRow.Name
	if _, err := structseal.Decrypt(ctx, ring, moved); !errors.Is(err, structseal.ErrUnknownKey) {
		t.Errorf("moved: %v", err)
	}
	if _, err := structseal.Encrypt(ctx, ring, adaRow); !errors.Is(err, structseal.ErrEncrypted) {
		t.Errorf("twice: %v", err)
	}
	other := adaOrder
	other.ID = 7
	if _, err := structseal.Encrypt(ctx, ring, other); !errors.Is(err, structseal.ErrForeignCiphertext) {
		t.Errorf("another row's: %v", err)
	}
	// The owner is authenticated, too.
	other = adaOrder
	other.Owner = "bob"
	if _, err := structseal.Decrypt(ctx, ring, other); !errors.Is(err, structseal.ErrUnknownKey) {
		t.Errorf("another owner's: %v", err)
	}

	if _, err := ring.Forget(ctx, keyring.Subject{Kind: "person", ID: "ada"}, nil); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"row":      second(structseal.Decrypt(ctx, ring, adaRow)),
		"order":    second(structseal.Decrypt(ctx, ring, adaOrder)),
		"write":    second(structseal.Encrypt(ctx, ring, ada)),
		"in place": structseal.EncryptInPlace(ctx, ring, &ada),
	} {
		var fe *structseal.FieldError
		if !errors.Is(err, structseal.ErrForgotten) || !errors.As(err, &fe) || fe.Label == "" {
			t.Fatalf("%s: %v", what, err)
		}
		// A key's id may hold any three hex digits.
		if strings.Contains(strings.ReplaceAll(err.Error(), fmt.Sprintf("%08x", fe.KeyID), ""), "ada") {
			t.Errorf("%s: the error names the person: %v", what, err)
		}
	}
	if !samePerson(ada, newPerson("ada")) {
		t.Error("the failed write changed its input")
	}
	if got, err := structseal.Decrypt(ctx, ring, bobRow); err != nil || !samePerson(got, bob) {
		t.Errorf("somebody else: %v", err)
	}
	if _, err := structseal.Decrypt(ctx, ring, bobOrder); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	// A page goes on with the others.
	page, err := structseal.DecryptAll(ctx, ring, []person{bobRow, adaRow, bobRow}, structseal.OnError(func(i int, err error) error {
		if i != 1 || !errors.Is(err, structseal.ErrForgotten) {
			return err
		}
		return nil
	}))
	if err != nil || page[0].Name != bob.Name || page[1].ID != "" || page[2].Name != bob.Name {
		t.Errorf("%v, %v", page, err)
	}
	// A tenant of the same id is another subject.
	if _, err := structseal.Encrypt(ctx, ring, household{ID: "ada", Street: "s"}); err != nil {
		t.Error(err)
	}
}

func TestNestedSubjects(t *testing.T) {
	ctx := t.Context()
	ring := structsealtest.Ring(t)
	home := household{ID: "h1", Street: "Main", People: []person{newPerson("ada"), newPerson("bob"), newPerson("ada")}, Door: "green"}
	row := encrypted(t, ring, home)
	keys := map[uint32]bool{}
	for _, text := range []string{row.Street, row.Door, row.People[0].Name, row.People[1].Name, row.People[2].Notes[1]} {
		keys[keyOf(t, text)] = true
	}
	if len(keys) != 3 || keyOf(t, row.Street) != keyOf(t, row.Door) || keyOf(t, row.People[0].Name) != keyOf(t, row.People[2].Name) {
		t.Errorf("%d keys", len(keys))
	}
	back, err := structseal.Decrypt(ctx, ring, row)
	if err != nil || back.Street != "Main" || back.Door != "green" || !samePerson(back.People[2], home.People[2]) || !samePerson(back.People[1], home.People[1]) {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := ring.Forget(ctx, keyring.Subject{Kind: "person", ID: "bob"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := structseal.Decrypt(ctx, ring, row); !errors.Is(err, structseal.ErrForgotten) {
		t.Errorf("%v", err)
	}
}

// What Forget would miss is refused, and so are subjects that can't be.
func TestSubjectTags(t *testing.T) {
	type plainLine struct {
		_    structseal.Record `seal:"line"`
		ID   int               `seal:"id,bind"`
		Text string            `seal:"text"`
	}
	type inner struct {
		Code string `seal:"code,det=codes"`
	}
	for want, err := range map[string]error{
		"a second subject": structseal.Check[struct {
			_ structseal.Record `seal:"r"`
			A string            `seal:"a,bind,subject"`
			B string            `seal:"b,subject=x"`
			C string            `seal:"c"`
		}](),
		"no bind field": structseal.Check[struct {
			_ structseal.Record `seal:"r"`
			A string            `seal:"a,subject"`
			C string            `seal:"c"`
		}](),
		"det in a record of subject A": structseal.Check[struct {
			_ structseal.Record `seal:"r"`
			A string            `seal:"a,bind,subject"`
			C string            `seal:"c,det=d"`
		}](),
		"a record without subject inside": structseal.Check[struct {
			_ structseal.Record `seal:"r"`
			A string            `seal:"a,bind,subject"`
			C []*plainLine
		}](),
		"has no marker": structseal.Check[struct {
			_ structseal.Record `seal:"r"`
			I string            `seal:"i,bind"`
			S struct {
				A string `seal:"a,subject"`
				C string `seal:"c"`
			} `seal:"s"`
		}](),
	} {
		var te *structseal.TagError
		if !errors.As(err, &te) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	var te *structseal.TagError
	if err := structseal.Check[struct {
		_ structseal.Record `seal:"r"`
		A string            `seal:"a,bind,subject"`
		S inner             `seal:"s"`
	}](); !errors.As(err, &te) || te.Field != "Code" {
		t.Errorf("det below: %v", err)
	}
	ring := structsealtest.Ring(t)
	if _, err := structseal.Encrypt(t.Context(), ring, order{ID: 1, Item: "x"}); !errors.Is(err, structseal.ErrUnbound) {
		t.Errorf("an empty subject: %v", err)
	}
}

// A record without values needs no keys; reading makes none.
func TestSubjectsAreMadeByWritingOnly(t *testing.T) {
	ctx := t.Context()
	type optional struct {
		_    structseal.Record `seal:"person"`
		ID   string            `seal:"id,bind,subject"`
		Name *string           `seal:"name"`
	}
	store := keyring.NewMemoryStore()
	ring, _, err := keyring.Create(ctx, "app", store, localkms.NewRandom(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	count := func() int {
		list, err := store.ListSubjects(ctx, "app", keyring.SubjectHash{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if _, err := structseal.Encrypt(ctx, ring, optional{ID: "x"}); err != nil {
		t.Error(err)
	}
	if _, err := structseal.Decrypt(ctx, ring, optional{ID: "x"}); err != nil {
		t.Error(err)
	}
	if _, err := structseal.DecryptAll(ctx, ring, []optional{{ID: "x"}, {ID: "y"}}); err != nil {
		t.Error(err)
	}
	plain := "plain"
	var passed int64
	_ = passed
	if _, err := structseal.Decrypt(ctx, ring, optional{ID: "x", Name: &plain}, structseal.AllowPlaintext(nil)); err != nil {
		t.Error(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d subjects", n)
	}
	encrypted(t, ring, optional{ID: "x", Name: &plain})
	if n := count(); n != 1 {
		t.Errorf("%d subjects", n)
	}
}

// Many records load their subjects together, also more than the cache holds.
func TestSubjectsInBatches(t *testing.T) {
	ctx := t.Context()
	store := &countingStore{MemoryStore: keyring.NewMemoryStore()}
	kms := localkms.NewRandom()
	ring, pin, err := keyring.Create(ctx, "app", store, kms, &keyring.CreateOptions{OpenOptions: keyring.OpenOptions{SubjectCache: 700}})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	var people []person
	for i := range 2000 {
		people = append(people, newPerson(fmt.Sprint(i)))
	}
	rows, err := structseal.EncryptAll(ctx, ring, people)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keyring.Open(ctx, "app", store, kms, pin, &keyring.OpenOptions{SubjectCache: 700})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	check := func(what string, back []person, reads int) {
		t.Helper()
		for i := range back {
			if !samePerson(back[i], people[i]) {
				t.Fatalf("%s: %d: %+v", what, i, back[i])
			}
		}
		if n := int(store.reads.Load()); n > reads || len(back) != len(people) {
			t.Errorf("%s: %d reads for %d people", what, n, len(back))
		}
		store.reads.Store(0)
	}
	store.reads.Store(0)
	back, err := structseal.DecryptAll(ctx, other, rows)
	if err != nil {
		t.Fatal(err)
	}
	check("slice", back, 4)
	pointers := make([]*person, len(rows))
	for i := range rows {
		pointers[i] = &rows[i]
	}
	opened, err := structseal.DecryptAll(ctx, other, pointers)
	if err != nil {
		t.Fatal(err)
	}
	back = nil
	for _, p := range opened {
		back = append(back, *p)
	}
	check("pointers", back, 4)
	back = nil
	for p, err := range structseal.DecryptSeq(ctx, other, sequenceOf(rows)) {
		if err != nil {
			t.Fatal(err)
		}
		back = append(back, p)
	}
	check("sequence", back, 20)
}

func sequenceOf[T any](vs []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range vs {
			if !yield(v, nil) {
				return
			}
		}
	}
}

type countingStore struct {
	*keyring.MemoryStore
	reads atomic.Int64
}

func (s *countingStore) LoadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	s.reads.Add(1)
	return s.MemoryStore.LoadSubjects(ctx, name, subjects)
}

func encrypted[T any](t testing.TB, ring *keyring.Keyring, v T) T {
	t.Helper()
	row, err := structseal.Encrypt(t.Context(), ring, v)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func keyOf(t testing.TB, text string) uint32 {
	t.Helper()
	ct, err := crypto.ParseText(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	id, err := crypto.KeyID(ct)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func second[T any](_ T, err error) error { return err }
