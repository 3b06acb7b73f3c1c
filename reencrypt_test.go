package structseal_test

import (
	"crypto/fips140"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/structsealtest"
)

// ledger has every kind of value, and a det= field.
type ledger struct {
	_     structseal.Record            `seal:"ledger"`
	ID    string                       `seal:"id,bind"`
	Name  string                       `seal:"name"`
	Raw   []byte                       `seal:"raw"`
	None  []byte                       `seal:"none"`
	Nick  *string                      `seal:"nick"`
	Null  sql.NullString               `seal:"null"`
	Born  structseal.Sealed[time.Time] `seal:"born"`
	Tags  map[string]string            `seal:"tags"`
	Lines []line                       `seal:"lines"`
	SSN   string                       `seal:"ssn,det=person"`
}

type line struct {
	Text string `seal:"text"`
}

// values of a ledger that isn't NULL, without the det= one.
const ledgerValues = 8

func newLedger(t *testing.T) ledger {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("a ledger has a field with det=")
	}
	nick := "nick"
	return ledger{
		ID: "l1", Name: "name", Raw: []byte{1, 2, 3}, Nick: &nick, Born: structseal.Of(time.Unix(1e9, 0).UTC()),
		Tags:  map[string]string{"a": "x", "b": "y"},
		Lines: []line{{"one"}, {""}}, SSN: "123-45-6789",
	}
}

func sameLedger(a, b ledger) bool {
	if !a.Born.Equal(b.Born) {
		return false
	}
	show := func(l ledger) string {
		return fmt.Sprintf("%q %q %x %v %q %v %v %v %q", l.ID, l.Name, l.Raw, l.None == nil, *l.Nick, l.Null, l.Tags, l.Lines, l.SSN)
	}
	return show(a) == show(b)
}

func rotated(t *testing.T, ring *keyring.Keyring, p keyring.Purpose) uint32 {
	t.Helper()
	id, err := ring.Rotate(t.Context(), p, &keyring.RotateOptions{Now: true})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// keysIn returns the key that each sealed value names.
func keysIn(t *testing.T, v any) map[string]uint32 {
	t.Helper()
	states, err := structseal.Inspect(v)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]uint32{}
	for _, s := range states {
		if !s.Sealed {
			t.Errorf("%s isn't sealed", s.Label)
		}
		label := s.Label
		for n := 2; keys[label] != 0; n++ { // map keys aren't told
			label = fmt.Sprintf("%s %d", s.Label, n)
		}
		keys[label] = s.KeyID
	}
	return keys
}

func TestReencrypt(t *testing.T) {
	ctx := t.Context()
	ring := structsealtest.Ring(t)
	plain := newLedger(t)
	old := encrypted(t, ring, plain)
	before := keysIn(t, old)

	same, found, err := structseal.Reencrypt(ctx, ring, old)
	if err != nil || found != (structseal.Reencryption{Current: ledgerValues, Left: 1}) {
		t.Fatalf("nothing to do: %+v, %v", found, err)
	}
	if same.Name != old.Name || string(same.Raw) != string(old.Raw) || !same.Born.Equal(old.Born) || same.Tags["a"] != old.Tags["a"] || same.Lines[0] != old.Lines[0] {
		t.Error("current values were written anew")
	}

	id := rotated(t, ring, keyring.Data)
	rotated(t, ring, keyring.Deterministic)
	oldName, oldTag, oldLine := old.Name, old.Tags["a"], old.Lines[0]
	fresh, found, err := structseal.Reencrypt(ctx, ring, old)
	if err != nil || found != (structseal.Reencryption{Changed: ledgerValues, Left: 1}) {
		t.Fatalf("%+v, %v", found, err)
	}
	for label, key := range keysIn(t, fresh) {
		want := id
		if label == "ledger.ssn" {
			want = before[label]
		}
		if key != want {
			t.Errorf("%s is under %08x, want %08x", label, key, want)
		}
	}
	if fresh.SSN != old.SSN {
		t.Error("the deterministic value was changed")
	}
	if got, err := structseal.Decrypt(ctx, ring, fresh); err != nil || !sameLedger(got, plain) {
		t.Errorf("%+v, %v", got, err)
	}
	if old.Name != oldName || old.Tags["a"] != oldTag || old.Lines[0] != oldLine {
		t.Error("the input was changed")
	}

	// One value is left over: only that one is written.
	part := fresh
	part.Nick = old.Nick
	done, found, err := structseal.Reencrypt(ctx, ring, part)
	if err != nil || found != (structseal.Reencryption{Changed: 1, Current: ledgerValues - 1, Left: 1}) {
		t.Errorf("one: %+v, %v", found, err)
	}
	if done.Name != fresh.Name || keyOf(t, *done.Nick) != id {
		t.Error("one: the wrong value was written")
	}

	// Deterministic fields when they are named, and nothing else.
	det, found, err := structseal.Reencrypt(ctx, ring, old, structseal.Only("ssn"))
	if err != nil || found != (structseal.Reencryption{Changed: 1}) || det.SSN == old.SSN || det.Name != old.Name {
		t.Errorf("det: %+v, %v", found, err)
	}
	if _, found, err = structseal.Reencrypt(ctx, ring, &det, structseal.Only("ssn")); err != nil || found.Current != 1 {
		t.Errorf("det again: %+v, %v", found, err)
	}
}

// A value that looks like a ciphertext stays data.
func TestReencryptLiteral(t *testing.T) {
	ctx := t.Context()
	ring := structsealtest.Ring(t)
	inner := encrypted(t, ring, newLedger(t))
	plain := newLedger(t)
	plain.Name, plain.Raw = inner.Name, inner.Raw
	old, err := structseal.Encrypt(ctx, ring, plain, structseal.Literal())
	if err != nil {
		t.Fatal(err)
	}
	rotated(t, ring, keyring.Data)
	fresh, _, err := structseal.Reencrypt(ctx, ring, old)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := structseal.Decrypt(ctx, ring, fresh); err != nil || !sameLedger(got, plain) {
		t.Errorf("%v", err)
	}
}

func TestReencryptSubjects(t *testing.T) {
	ctx := t.Context()
	ring := structsealtest.Ring(t)
	ada, bob := keyring.Subject{Kind: "person", ID: "ada"}, keyring.Subject{Kind: "person", ID: "bob"}
	home := household{ID: "h1", Street: "street", Door: "door", People: []person{newPerson("ada"), newPerson("bob")}}
	old := encrypted(t, ring, home)
	id, err := ring.RotateSubject(ctx, ada)
	if err != nil {
		t.Fatal(err)
	}
	rotated(t, ring, keyring.Data) // no subject's
	fresh, found, err := structseal.Reencrypt(ctx, ring, old)
	if err != nil || found != (structseal.Reencryption{Changed: 4, Current: 6}) {
		t.Fatalf("%+v, %v", found, err)
	}
	if keyOf(t, fresh.People[0].Name) != id || fresh.People[1].Name != old.People[1].Name {
		t.Error("the wrong person's values were written")
	}
	if got, err := structseal.Decrypt(ctx, ring, fresh); err != nil || !samePerson(got.People[0], home.People[0]) {
		t.Errorf("%v", err)
	}

	if _, err := ring.Forget(ctx, ada, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.RotateSubject(ctx, bob); err != nil {
		t.Fatal(err)
	}
	fresh, found, err = structseal.Reencrypt(ctx, ring, old)
	if err != nil || found != (structseal.Reencryption{Changed: 4, Current: 2, Forgotten: 4}) {
		t.Fatalf("%+v, %v", found, err)
	}
	if fresh.People[0].Name != old.People[0].Name || fresh.People[1].Name == old.People[1].Name {
		t.Error("the wrong person's values were written")
	}

	// Nobody's keys are made on the way.
	stranger := encrypted(t, structsealtest.Ring(t), newPerson("eve"))
	if _, _, err := structseal.Reencrypt(ctx, ring, stranger); !errors.Is(err, structseal.ErrUnknownKey) {
		t.Errorf("stranger: %v", err)
	}
	if _, err := ring.Subject(ctx, keyring.Subject{Kind: "person", ID: "eve"}); !errors.Is(err, structseal.ErrUnknownKey) {
		t.Errorf("stranger: %v", err)
	}
}

func TestReencryptErrors(t *testing.T) {
	ctx := t.Context()
	ring := structsealtest.Ring(t)
	good := encrypted(t, ring, newLedger(t))
	rotated(t, ring, keyring.Data)
	for name, c := range map[string]struct {
		spoil func(l *ledger)
		want  error
	}{
		"plaintext": {func(l *ledger) { l.Name = "in the clear" }, structseal.ErrNotEncrypted},
		"moved":     {func(l *ledger) { l.Name = *l.Nick }, structseal.ErrTampered},
		"row":       {func(l *ledger) { l.ID = "l2" }, structseal.ErrTampered},
		"key":       {func(l *ledger) { l.Raw = append([]byte{1, 9, 9, 9, 9}, l.Raw[5:]...) }, structseal.ErrUnknownKey},
		"cut":       {func(l *ledger) { l.Name = l.Name[:8] }, structseal.ErrTampered},
		"malformed": {func(l *ledger) { l.Name = "s1.!" }, structseal.ErrTampered},
		"unbound":   {func(l *ledger) { l.ID = "" }, structseal.ErrUnbound},
		"unsealed":  {func(l *ledger) { l.Born = structseal.Of(time.Now()) }, structseal.ErrNotEncrypted},
	} {
		bad := good
		c.spoil(&bad)
		got, found, err := structseal.Reencrypt(ctx, ring, bad, structseal.AllowPlaintext(nil))
		if !errors.Is(err, c.want) || got.ID != "" || got.Tags != nil || found != (structseal.Reencryption{}) {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		if fe, ok := errors.AsType[*structseal.FieldError](err); !ok || fe.Op != "re-encrypt" {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "in the clear") {
			t.Errorf("%s: the error has the value", name)
		}
	}
	if _, _, err := structseal.Reencrypt(ctx, nil, good); !errors.Is(err, structseal.ErrInvalidArgument) {
		t.Error(err)
	}
	if _, _, err := structseal.Reencrypt(ctx, ring, good, structseal.Only("nothing")); !errors.Is(err, structseal.ErrInvalidArgument) {
		t.Error(err)
	}
	// A current header is trusted: only Decrypt can tell whether it opens.
	fresh, _, err := structseal.Reencrypt(ctx, ring, good)
	if err != nil {
		t.Fatal(err)
	}
	fresh.ID = "l2"
	if _, found, err := structseal.Reencrypt(ctx, ring, fresh); err != nil || found.Changed != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := structseal.Decrypt(ctx, ring, fresh); !errors.Is(err, crypto.ErrTampered) {
		t.Error(err)
	}
}

// A record without deterministic fields is re-encrypted in every mode.
func TestReencryptFlat(t *testing.T) {
	ctx, ring := t.Context(), structsealtest.Ring(t)
	v := flatRecord{ID: 7, Name: "Ada", Photo: []byte("photo"), City: "London"}
	old := encrypted(t, ring, v)
	id := rotated(t, ring, keyring.Data)
	row, found, err := structseal.Reencrypt(ctx, ring, old)
	if err != nil || found != (structseal.Reencryption{Changed: 2}) {
		t.Fatalf("%+v, %v", found, err)
	}
	for label, key := range keysIn(t, row) {
		if key != id {
			t.Errorf("%s names %08x, not the primary %08x", label, key, id)
		}
	}
	if got, err := structseal.Decrypt(ctx, ring, row); err != nil || got.Name != "Ada" || string(got.Photo) != "photo" {
		t.Errorf("%+v, %v", got, err)
	}
}
