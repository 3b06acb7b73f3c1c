package structseal_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/structsealtest"
)

type optionInner struct {
	Street string `seal:"street"`
	City   string `seal:"city"`
}

type optionKid struct {
	_    structseal.Record `seal:"kid"`
	ID   int               `seal:"id,bind"`
	Name string            `seal:"name"`
	Note string            `seal:"note"`
}

type optional struct {
	_      structseal.Record            `seal:"optional"`
	ID     string                       `seal:"id,bind"`
	Email  string                       `seal:"email"`
	Blob   []byte                       `seal:"blob"`
	Born   structseal.Sealed[time.Time] `seal:"born"`
	Count  structseal.Sealed[int]       `seal:"count"`
	Home   *optionInner                 `seal:"home"`
	Past   []optionInner                `seal:"past"`
	Kids   []optionKid                  `seal:"kids"`
	Others []optionKid
}

func newOptional() optional {
	return optional{ID: "1", Email: "e", Blob: []byte("b"), Born: structseal.Of(time.Unix(5, 0).UTC()), Count: structseal.Of(3), Home: &optionInner{"s", "c"},
		Past: []optionInner{{"p", "q"}}, Kids: []optionKid{{ID: 1, Name: "n", Note: "o"}}, Others: []optionKid{{ID: 2, Name: "x", Note: "y"}}}
}

// TestOnly: what is named is sealed, the rest isn't touched, not even copied.
func TestOnly(t *testing.T) {
	ring := structsealtest.Ring(t)
	full := must(structseal.Encrypt(t.Context(), ring, newOptional()))(t)
	sealedOf := func(v optional) string {
		var b strings.Builder
		for _, s := range must(structseal.Inspect(v))(t) {
			if s.Sealed {
				b.WriteString(strings.TrimPrefix(s.Label, "optional.") + " ")
			}
		}
		return strings.TrimSpace(b.String())
	}
	for _, c := range []struct {
		only []structseal.Option
		want string
	}{
		{nil, "email blob born count home.street home.city past[0/1].street past[0/1].city kid.name kid.note kid.name kid.note"},
		{[]structseal.Option{structseal.Only("email")}, "email"},
		{[]structseal.Option{structseal.Only("blob", "email", "email")}, "email blob"},
		{[]structseal.Option{structseal.Only("email"), structseal.Only("born")}, "email born"},
		{[]structseal.Option{structseal.Only("home")}, "home.street home.city"},
		{[]structseal.Option{structseal.Only("home.city")}, "home.city"},
		{[]structseal.Option{structseal.Only("home.city", "home")}, "home.street home.city"},
		{[]structseal.Option{structseal.Only("home", "home.city")}, "home.street home.city"},
		{[]structseal.Option{structseal.Only("home.city", "home.street")}, "home.street home.city"},
		{[]structseal.Option{structseal.Only("past.city")}, "past[0/1].city"},
		{[]structseal.Option{structseal.Only("kids.note")}, "kid.note"},
	} {
		v := newOptional()
		row := must(structseal.Encrypt(t.Context(), ring, v, c.only...))(t)
		if got := sealedOf(row); got != c.want {
			t.Errorf("sealed %q, want %q", got, c.want)
		}
		back := must(structseal.Decrypt(t.Context(), ring, row, c.only...))(t)
		if d := difference(back, newOptional()) + difference(v, newOptional()); d != "" {
			t.Errorf("%s: %s", c.want, d)
		}
		// Part of a whole row, as after a SELECT of some columns.
		if part := must(structseal.Decrypt(t.Context(), ring, full, c.only...))(t); c.want == "home.city" && (part.Home.City != "c" || part.Email != full.Email || part.Home.Street != full.Home.Street) {
			t.Errorf("part of a row: %+v", part)
		}
	}
	// A nested record without a label can't be named.
	for _, path := range []string{"", "others", ".name"} {
		_, err := structseal.Encrypt(t.Context(), ring, newOptional(), structseal.Only(path))
		wantErr(t, path, err, structseal.ErrInvalidArgument)
	}
	// Bind fields must be there nevertheless.
	_, err := structseal.Encrypt(t.Context(), ring, optional{Email: "e"}, structseal.Only("email"))
	wantErr(t, "without an id", err, structseal.ErrUnbound)
}

type (
	boundBy[T any] struct {
		_  structseal.Record `seal:"bound"`
		ID T                 `seal:"id,bind"`
		A  string            `seal:"a"`
	}
	// uuid is what the UUID packages have.
	uuid    [16]byte
	rawUUID [16]byte
	idName  string
	idBytes []byte
	idInt   int32
	// pointerText marshals through a pointer.
	pointerText struct{ N byte }
)

func (u uuid) MarshalText() ([]byte, error) {
	h := hex.EncodeToString(u[:])
	return []byte(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]), nil
}
func (u *uuid) UnmarshalText(text []byte) error {
	_, err := hex.Decode(u[:], bytes.ReplaceAll(text, []byte("-"), nil))
	return err
}
func (p *pointerText) MarshalText() ([]byte, error) { return []byte{'p', p.N}, nil }

// bindAs seals under one type of id and opens under another.
func bindAs[A, B any](t *testing.T, a A, b B) bool {
	t.Helper()
	ring := fixedRing(t, "r")
	row := must(structseal.Encrypt(t.Context(), ring, boundBy[A]{ID: a, A: "x"}))(t)
	back, err := structseal.Decrypt(t.Context(), ring, boundBy[B]{ID: b, A: row.A})
	if err != nil {
		wantErr(t, "other id", err, structseal.ErrTampered)
	}
	return err == nil && back.A == "x"
}

// TestBindEquivalence: a bind value is its text, so columns may change types.
func TestBindEquivalence(t *testing.T) {
	u := uuid{1, 2, 3, 0xff}
	text := string(must(u.MarshalText())(t))
	for name, c := range map[string]struct{ got, want bool }{
		"uuid and its text":        {bindAs(t, u, text), true},
		"text and uuid":            {bindAs(t, text, u), true},
		"uuid and named text":      {bindAs(t, u, idName(text)), true},
		"uuid and bytes of text":   {bindAs(t, u, []byte(text)), true},
		"uuid and raw bytes":       {bindAs(t, u, rawUUID(u)), false},
		"raw array and []byte":     {bindAs(t, rawUUID(u), idBytes(u[:])), true},
		"string and []byte":        {bindAs(t, "a\xff", []byte("a\xff")), true},
		"int and int64":            {bindAs(t, 5, int64(5)), true},
		"int and uint8":            {bindAs(t, 5, uint8(5)), true},
		"named int and string":     {bindAs(t, idInt(-5), "-5"), true},
		"int and another string":   {bindAs(t, 5, "05"), false},
		"int and another int":      {bindAs(t, 5, 6), false},
		"upper case":               {bindAs(t, "a", "A"), false},
		"trailing space":           {bindAs(t, "a", "a "), false},
		"marshaler on the pointer": {bindAs(t, pointerText{'q'}, "pq"), true},
	} {
		if c.got != c.want {
			t.Errorf("%s: %t", name, c.got)
		}
	}
}

func emptyBind[T any](t *testing.T, v T) {
	t.Helper()
	_, err := structseal.Encrypt(t.Context(), fixedRing(t, "r"), boundBy[T]{ID: v, A: "x"})
	wantErr(t, "empty bind value", err, structseal.ErrUnbound)
	type free struct {
		_ structseal.Record `seal:"free,unbound"`
		A string            `seal:"a"`
	}
	_, err = structseal.Encrypt(t.Context(), fixedRing(t, "r"), free{A: "x"}, structseal.Bind("k", v))
	wantErr(t, "empty Bind value", err, structseal.ErrUnbound)
}

type noText struct{ A int }

func (noText) MarshalText() ([]byte, error) { return nil, nil }

// TestP5_EmptyBind: what an id is before the database has made it doesn't bind.
func TestP5_EmptyBind(t *testing.T) {
	emptyBind(t, "")
	emptyBind(t, idName(""))
	emptyBind(t, []byte(nil))
	emptyBind(t, idBytes{})
	emptyBind(t, 0)
	emptyBind(t, idInt(0))
	emptyBind(t, uint16(0))
	emptyBind(t, uuid{})
	emptyBind(t, rawUUID{})
	emptyBind(t, pointerText{})
	emptyBind(t, noText{1})
}

type tenant struct {
	_    structseal.Record `seal:"tenant,require=org"`
	ID   string            `seal:"id,bind"`
	A    string            `seal:"a"`
	Kids []optionKid
}

func TestBindOption(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	v := tenant{ID: "1", A: "x", Kids: []optionKid{{ID: 1, Name: "n", Note: "o"}}}
	org := structseal.Bind("org", 7)
	row := must(structseal.Encrypt(ctx, ring, v, org))(t)
	for name, opts := range map[string][]structseal.Option{"int": {org}, "string": {structseal.Bind("org", "7")}, "pointer": {structseal.Bind("org", new(int64(7)))}} {
		if back, err := structseal.Decrypt(ctx, ring, row, opts...); err != nil || difference(back, v) != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		opts []structseal.Option
		want error
	}{
		"forgotten":        {nil, structseal.ErrUnbound},
		"another value":    {[]structseal.Option{structseal.Bind("org", 8)}, structseal.ErrTampered},
		"one more":         {[]structseal.Option{org, structseal.Bind("more", 1)}, structseal.ErrTampered},
		"another label":    {[]structseal.Option{structseal.Bind("orga", 7)}, structseal.ErrUnbound},
		"twice":            {[]structseal.Option{org, structseal.Bind("org", 7)}, structseal.ErrInvalidArgument},
		"a field's label":  {[]structseal.Option{org, structseal.Bind("id", "1")}, structseal.ErrInvalidArgument},
		"empty":            {[]structseal.Option{structseal.Bind("org", "")}, structseal.ErrUnbound},
		"nil":              {[]structseal.Option{structseal.Bind("org", nil)}, structseal.ErrUnbound},
		"nil pointer":      {[]structseal.Option{structseal.Bind("org", (*int)(nil))}, structseal.ErrUnbound},
		"float":            {[]structseal.Option{structseal.Bind("org", 7.0)}, structseal.ErrInvalidArgument},
		"time":             {[]structseal.Option{structseal.Bind("org", time.Now())}, structseal.ErrInvalidArgument},
		"struct":           {[]structseal.Option{structseal.Bind("org", struct{ A int }{1})}, structseal.ErrInvalidArgument},
		"not a label":      {[]structseal.Option{structseal.Bind("or g", 7)}, nil},
		"label with a dot": {[]structseal.Option{structseal.Bind("a.org", 7)}, nil},
	} {
		_, err := structseal.Encrypt(ctx, ring, v, c.opts...)
		_, errD := structseal.Decrypt(ctx, ring, row, c.opts...)
		if errD == nil || err == nil && c.want != structseal.ErrTampered {
			t.Errorf("%s: %v, %v", name, err, errD)
		}
		if c.want != nil {
			wantErr(t, name, errD, c.want)
		}
	}
	// It binds nested records as well, and they open alone with it.
	kid := row.Kids[0]
	if _, err := structseal.Decrypt(ctx, ring, kid); err == nil {
		t.Error("a nested record opens without the Bind option")
	}
	if back := must(structseal.Decrypt(ctx, ring, kid, org))(t); back.Name != "n" {
		t.Errorf("%+v", back)
	}
}

// TestLiteral: text that looks like a ciphertext of ours is data on demand, and
// without demand if no key of the ring made it.
func TestLiteral(t *testing.T) {
	ring := fixedRing(t, "r")
	row := must(structseal.Encrypt(t.Context(), ring, oneKey{ID: "1", Text: "x", Blob: []byte("y")}))(t)
	other := must(structseal.Encrypt(t.Context(), structsealtest.Ring(t), oneKey{ID: "1", Text: "x", Blob: []byte("y")}))(t)
	for name, c := range map[string]struct {
		v    oneKey
		opts []structseal.Option
	}{
		"its own":        {row, []structseal.Option{structseal.Literal()}},
		"another ring's": {other, nil},
		"garbage":        {oneKey{ID: "1", Text: "s1.garbage!", Blob: []byte{1, 2}}, nil},
		"unknown id":     {oneKey{ID: "1", Text: withID(t, row.Text, 99), Blob: other.Blob}, nil},
		"cut":            {oneKey{ID: "1", Text: row.Text[:20], Blob: row.Blob[:15]}, nil},
		"line break":     {oneKey{ID: "1", Text: row.Text + "\n"}, nil},
		"prefix":         {oneKey{ID: "1", Text: "s1."}, nil},
	} {
		twice, err := structseal.Encrypt(t.Context(), ring, c.v, c.opts...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		back := must(structseal.Decrypt(t.Context(), ring, twice))(t)
		if d := difference(back, c.v); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	// Literal says nothing about a Sealed, which isn't text.
	v := sealedOne[int]{ID: 1, V: structseal.Of(1)}
	sealed := must(structseal.Encrypt(t.Context(), ring, v))(t)
	_, err := structseal.Encrypt(t.Context(), ring, sealed, structseal.Literal())
	wantErr(t, "a sealed Sealed", err, structseal.ErrEncrypted)
}

// TestAllowPlaintext: a table under migration is read as it is; each plaintext is
// counted, once the call has succeeded; what looks like a ciphertext has to be
// one.
func TestAllowPlaintext(t *testing.T) {
	ring := fixedRing(t, "r")
	ctx := t.Context()
	var n atomic.Int64
	allow := structseal.AllowPlaintext(&n)
	count := func(name string, want int64) {
		t.Helper()
		if got := n.Swap(0); got != want {
			t.Errorf("%s: counted %d, want %d", name, got, want)
		}
	}
	plain := newOptional()
	if err := plain.Born.Scan("1970-01-01T00:00:05Z"); err != nil {
		t.Fatal(err)
	}
	if err := plain.Count.Scan(int64(3)); err != nil {
		t.Fatal(err)
	}
	back := must(structseal.Decrypt(ctx, ring, plain, allow))(t)
	if d := difference(back, newOptional()); d != "" {
		t.Errorf("plaintext: %s", d)
	}
	count("all plaintext", 12)
	if _, err := back.Born.Get(); err != nil {
		t.Errorf("a scanned plaintext: %v", err)
	}
	row := must(structseal.Encrypt(ctx, ring, back))(t)
	must(structseal.Decrypt(ctx, ring, row, allow))(t)
	count("all sealed", 0)
	mixed := row
	mixed.Email, mixed.Blob = "", []byte{}
	if back := must(structseal.Decrypt(ctx, ring, mixed, allow))(t); back.Email != "" || back.Blob == nil {
		t.Errorf("mixed: %+v", back)
	}
	count("mixed", 2)
	must(structseal.Decrypt(ctx, ring, mixed, structseal.AllowPlaintext(nil)))(t)

	for name, change := range map[string]func(v *optional){
		"tampered":         func(v *optional) { v.Home = &optionInner{"s1.AQ", "c"} },
		"text of no key":   func(v *optional) { v.Home = &optionInner{withID(t, row.Email, 99), "c"} },
		"moved":            func(v *optional) { v.Home = &optionInner{row.Email, "c"} },
		"prefix":           func(v *optional) { v.Home = &optionInner{"s1.", "c"} },
		"bytes":            func(v *optional) { v.Blob = []byte{1} },
		"not of type T":    func(v *optional) { _ = v.Count.Scan("three") },
		"last of a record": func(v *optional) { v.Others = []optionKid{{ID: 2, Name: "n", Note: "s1.x"}} },
	} {
		v := deepCopy(mixed)
		change(&v)
		if _, err := structseal.Decrypt(ctx, ring, v, allow); err == nil {
			t.Errorf("%s: passes", name)
		}
		count(name, 0)
		// Nor is a part of a slice counted.
		if _, err := structseal.DecryptAll(ctx, ring, []optional{mixed, v, mixed}, allow); err == nil {
			t.Errorf("%s: passes", name)
		}
		count(name+", in a slice", 0)
		skip := structseal.OnError(func(int, error) error { return nil })
		must(structseal.DecryptAll(ctx, ring, []optional{mixed, v, mixed}, allow, skip))(t)
		count(name+", left out", 4)
	}
	_, err := structseal.Decrypt(ctx, ring, mixed)
	wantErr(t, "without the option", err, structseal.ErrNotEncrypted)
}

// TestP1_LabelsNotNames: Go names, field order and types may change, labels not.
func TestP1_LabelsNotNames(t *testing.T) {
	type before struct {
		_     structseal.Record `seal:"person"`
		ID    int64             `seal:"id,bind"`
		Email string            `seal:"email"`
		Home  struct {
			Street []byte `seal:"street"`
		} `seal:"home"`
		Codes []string `seal:"codes"`
	}
	type address struct {
		Extra string  `seal:"extra"`
		Line1 *string `seal:"street"`
	}
	type after struct {
		Numbers [2]structseal.Sealed[string] `seal:"codes"`
		Unused  int
		Address *address                  `seal:"home"`
		Mail    structseal.Sealed[[]byte] `seal:"email"`
		Key     string                    `seal:"id,bind"`
		_       structseal.Record         `seal:"person"`
	}
	ring := fixedRing(t, "r")
	v := before{ID: 7, Email: "e", Codes: []string{"a", "b"}}
	v.Home.Street = []byte("s")
	row := must(structseal.Encrypt(t.Context(), ring, v))(t)
	var renamed after
	renamed.Key = "7"
	if err := renamed.Mail.Scan(row.Email); err != nil {
		t.Fatal(err)
	}
	for i := range renamed.Numbers {
		if err := renamed.Numbers[i].Scan(row.Codes[i]); err != nil {
			t.Fatal(err)
		}
	}
	var street structseal.Sealed[string]
	if err := street.Scan(row.Home.Street); err != nil {
		t.Fatal(err)
	}
	renamed.Address = &address{Line1: new(string(must(street.MarshalText())(t)))}
	back := must(structseal.Decrypt(t.Context(), ring, renamed, structseal.Only("codes", "email", "home.street")))(t)
	code, _ := back.Numbers[1].Get()
	if mail, err := back.Mail.Get(); err != nil || string(mail) != "e" || *back.Address.Line1 != "s" || code != "b" {
		t.Errorf("%s, %v", mail, err)
	}

	type relabelled struct {
		_     structseal.Record `seal:"person"`
		ID    int64             `seal:"id,bind"`
		Email string            `seal:"mail"`
	}
	_, err := structseal.Decrypt(t.Context(), ring, relabelled{ID: 7, Email: row.Email})
	wantErr(t, "another label", err, structseal.ErrTampered)
	type renamedRecord struct {
		_     structseal.Record `seal:"human"`
		ID    int64             `seal:"id,bind"`
		Email string            `seal:"email"`
	}
	_, err = structseal.Decrypt(t.Context(), ring, renamedRecord{ID: 7, Email: row.Email})
	wantErr(t, "another record", err, structseal.ErrTampered)
	type bindRelabelled struct {
		_     structseal.Record `seal:"person"`
		ID    int64             `seal:"key,bind"`
		Email string            `seal:"email"`
	}
	_, err = structseal.Decrypt(t.Context(), ring, bindRelabelled{ID: 7, Email: row.Email})
	wantErr(t, "another bind label", err, structseal.ErrTampered)
}
