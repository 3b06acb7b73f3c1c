package structseal_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/structsealtest"
)

// roundTrip encrypts and decrypts v and returns the row.
func roundTrip[T any](t *testing.T, v T, opts ...structseal.Option) T {
	t.Helper()
	ring := fixedRing(t, "r")
	before := deepCopy(v)
	row, err := structseal.Encrypt(t.Context(), ring, v, opts...)
	if err != nil {
		t.Errorf("%T: %v", v, err)
		return row
	}
	structsealtest.AssertSealed(t, row, opts...)
	back, err := structseal.Decrypt(t.Context(), ring, row, opts...)
	if err != nil {
		t.Errorf("%T: %v", v, err)
	}
	if d := difference(back, before) + difference(v, before); d != "" {
		t.Errorf("%T: %s", v, d)
	}
	return row
}

type (
	named      string
	namedBytes []byte
	// Base is embedded without a tag: its fields are the outer record's.
	Base struct {
		ID      string `seal:"id,bind"`
		Created time.Time
		Note    string `seal:"note"`
	}
	base struct {
		Hidden string `seal:"hidden"`
	}
	// Address is embedded with a label, or by pointer.
	Address struct {
		Street string            `seal:"street"`
		Tags   map[named][]named `seal:"tags"`
	}
	Contact struct {
		Mail *string `seal:"mail"`
	}
	embedding struct {
		_ structseal.Record `seal:"embedding"`
		Base
		base
		Address  `seal:"address"`
		*Contact `seal:"contact"`
		Own      string `seal:"own"`
	}
	embeddedMarker struct {
		structseal.Record `seal:"embedded.marker"`
		ID                uint32 `seal:"id,bind"`
		A                 string `seal:"a"`
	}
)

func TestKindsEmbedded(t *testing.T) {
	mail := "m"
	v := embedding{Base: Base{ID: "1", Created: time.Unix(1, 0), Note: "n"}, base: base{"h"},
		Address: Address{Street: "s", Tags: map[named][]named{"a": {"x", ""}, "": nil}}, Contact: &Contact{&mail}, Own: "o"}
	row := roundTrip(t, v)
	if row.Contact == v.Contact || *v.Mail != "m" || row.Created != v.Created {
		t.Error("shared what must be copied, or changed what isn't sealed")
	}
	for _, s := range []string{row.Note, row.Hidden, row.Street, *row.Mail, row.Own, string(row.Tags["a"][0])} {
		if !strings.HasPrefix(s, "s1.") {
			t.Errorf("not sealed: %q", s)
		}
	}
	v.Contact, v.Tags = nil, nil
	roundTrip(t, v)
	roundTrip(t, embeddedMarker{ID: 1, A: "a"})
}

func TestKindsNested(t *testing.T) {
	type line struct {
		Text string `seal:"text"`
		More []line `seal:"more"`
		Up   *line  `seal:"up"`
	}
	type item struct {
		_    structseal.Record `seal:"item"`
		ID   int               `seal:"id,bind"`
		Name string            `seal:"name"`
		Subs []*item
	}
	type order struct {
		_       structseal.Record     `seal:"order"`
		ID      string                `seal:"id,bind"`
		First   line                  `seal:"first"`
		Lines   []line                `seal:"lines"`
		ByName  map[string]*line      `seal:"by_name"`
		Grid    [2][]line             `seal:"grid"`
		Deep    **line                `seal:"deep"`
		Items   []item                // a record of its own needs no label
		Named   map[int]item          `seal:"named"`
		Nil     *item                 //
		Two     [2]item               `seal:"two"`
		Nothing [0]line               `seal:"nothing"`
		Empty   map[string][]**string `seal:"empty"`
	}
	l := &line{Text: "deep", Up: &line{Text: "up"}}
	s := "s"
	p := &s
	v := order{
		ID: "o", First: line{"a", []line{{Text: "b"}, {Text: "c", More: []line{{Text: "d"}}}}, l},
		Lines: []line{{Text: "1"}, {}, {Text: "1"}}, ByName: map[string]*line{"x": {Text: "x"}, "nil": nil},
		Grid: [2][]line{{{Text: "g"}}, nil}, Items: []item{{ID: 1, Name: "i1", Subs: []*item{{ID: 3, Name: "s"}, nil}}, {ID: 2, Name: "i2"}},
		Named: map[int]item{-1: {ID: 9, Name: "n"}}, Two: [2]item{{ID: 4, Name: "x"}, {ID: 5, Name: "y"}},
		Empty: map[string][]**string{"a": {nil, &p}, "b": {}, "c": nil},
	}
	other := &line{Text: "other"}
	v.Deep = &other
	row := roundTrip(t, v)

	// Nested records come in any order and in any parent; not under another id.
	ring := fixedRing(t, "r")
	moved := deepCopy(row)
	moved.Items = []item{row.Items[1], row.Items[0], row.Named[-1]}
	moved.Named = nil
	back := must(structseal.Decrypt(t.Context(), ring, moved))(t)
	if back.Items[0].Name != "i2" || back.Items[1].Subs[0].Name != "s" || back.Items[2].Name != "n" {
		t.Errorf("reordered: %+v", back.Items)
	}
	moved.ID = "another order"
	_, err := structseal.Decrypt(t.Context(), ring, moved, structseal.Only("two"))
	if err != nil {
		t.Errorf("records moved to another parent: %v", err)
	}
	moved = deepCopy(row)
	moved.Two[0].Name, moved.Two[1].Name = moved.Two[1].Name, moved.Two[0].Name
	_, err = structseal.Decrypt(t.Context(), ring, moved)
	wantErr(t, "swapped between ids", err, structseal.ErrTampered)
}

// ip6 is a map key with a text form.
type ip6 struct{ A, B byte }

func (k ip6) MarshalText() ([]byte, error) { return []byte{'0' + k.A, ':', '0' + k.B}, nil }

func TestKindsLeaves(t *testing.T) {
	type leaves struct {
		_     structseal.Record                 `seal:"leaves"`
		ID    [16]byte                          `seal:"id,bind"`
		A     named                             `seal:"a"`
		B     namedBytes                        `seal:"b"`
		C     **named                           `seal:"c"`
		D     *[]byte                           `seal:"d"`
		E     [][]byte                          `seal:"e"`
		F     map[int8]string                   `seal:"f"`
		G     map[ip6][]string                  `seal:"g"`
		H     map[named]*string                 `seal:"h"`
		I     [3]namedBytes                     `seal:"i"`
		J     sql.NullString                    `seal:"j"`
		K     sql.Null[namedBytes]              `seal:"k"`
		L     []sql.Null[string]                `seal:"l"`
		M     *structseal.Sealed[int]           `seal:"m"`
		N     []*structseal.Sealed[[]byte]      `seal:"n"`
		O     sql.Null[structseal.Sealed[bool]] `seal:"o"`
		P     map[netip.Addr][2]map[uint]named  `seal:"p"`
		Q     [][][]string                      `seal:"q"`
		Empty string                            `seal:"empty"`
		Bad   string                            `seal:"bad"`
	}
	s, n, b := "s", named("n"), []byte{}
	np := &n
	five, blob := structseal.Of(5), structseal.Of([]byte("x"))
	roundTrip(t, leaves{ID: [16]byte{1}}) // zero values, nils
	roundTrip(t, leaves{
		ID: [16]byte{15: 1}, A: "a", B: namedBytes{}, C: &np, D: &b, E: [][]byte{nil, {}, {1}, {0}},
		F: map[int8]string{-128: "", 0: "z", 127: "m"}, G: map[ip6][]string{{1, 2}: {"x"}, {}: {}}, H: map[named]*string{"": &s, "nil": nil},
		I: [3]namedBytes{nil, {}, {1, 2}}, J: sql.NullString{Valid: true}, K: sql.Null[namedBytes]{Valid: true, V: namedBytes("k")},
		L: []sql.Null[string]{{}, {V: "v", Valid: true}}, M: &five, N: []*structseal.Sealed[[]byte]{nil, &blob},
		O: sql.Null[structseal.Sealed[bool]]{V: structseal.Of(true), Valid: true},
		P: map[netip.Addr][2]map[uint]named{netip.MustParseAddr("::1"): {nil, {7: "p"}}}, Q: [][][]string{{}, {{"q"}, nil}, nil},
		Bad: "\xff\xfe invalid UTF-8, kept as it is \x00",
	})
	// What an invalid sql.Null holds is not a value, and doesn't stay as one.
	row := must(structseal.Encrypt(t.Context(), fixedRing(t, "r"), leaves{ID: [16]byte{1}, J: sql.NullString{String: "left over"}, K: sql.Null[namedBytes]{V: namedBytes("left over")}}))(t)
	if row.J.String != "" || row.J.Valid || row.K.V != nil {
		t.Errorf("plaintext is left in NULLs: %+v %+v", row.J, row.K)
	}
}

type sealedOne[T any] struct {
	_  structseal.Record    `seal:"one"`
	ID int                  `seal:"id,bind"`
	V  structseal.Sealed[T] `seal:"v"`
}

// sealedValue round-trips a Sealed[T] and returns the value.
func sealedValue[T any](t *testing.T, v T) T {
	t.Helper()
	back := sealedBack(t, v)
	got := must(back.Get())(t)
	if f := reflect.ValueOf(got); !back.Equal(structseal.Of(v)) && !(f.CanFloat() && math.IsNaN(f.Float())) {
		t.Errorf("%T: not Equal after a round trip", v)
	}
	return got
}

func sealedBack[T any](t *testing.T, v T) structseal.Sealed[T] {
	t.Helper()
	ring := fixedRing(t, "r")
	row := must(structseal.Encrypt(t.Context(), ring, sealedOne[T]{ID: 1, V: structseal.Of(v)}))(t)
	return must(structseal.Decrypt(t.Context(), ring, row))(t).V
}

func sealedKinds[T any](t *testing.T, vs ...T) {
	t.Helper()
	for _, v := range vs {
		if d := difference(sealedValue(t, v), v); d != "" {
			t.Errorf("%T: %s", v, d)
		}
	}
}

// sealedRefused wants Encrypt to refuse a value, without telling it.
func sealedRefused[T any](t *testing.T, vs ...T) {
	t.Helper()
	for _, v := range vs {
		_, err := structseal.Encrypt(t.Context(), fixedRing(t, "r"), sealedOne[T]{ID: 1, V: structseal.Of(v)})
		var fe *structseal.FieldError
		if !errors.As(err, &fe) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%T: %v, want a FieldError", v, err)
		}
	}
}

func TestKindsSealed(t *testing.T) {
	sealedKinds(t, math.MinInt, math.MaxInt, 0, -1)
	sealedKinds[int8](t, math.MinInt8, math.MaxInt8)
	sealedKinds[uint64](t, 0, math.MaxUint64)
	sealedKinds(t, true, false)
	sealedKinds(t, "", "x", "\xff raw \x00", "s1.text", strings.Repeat("long", 10_000))
	sealedKinds(t, named(""), "n")
	sealedKinds(t, []byte{}, []byte{1}, []byte(strings.Repeat("\x00", 1<<15)))
	sealedKinds(t, [16]byte{}, [16]byte{1, 2, 255})
	sealedKinds(t, [0]byte{})
	sealedKinds(t, []string(nil), []string{}, []string{"a", ""})
	sealedKinds(t, map[string]int(nil), map[string]int{}, map[string]int{"<&>": 1, "": 2})
	sealedKinds(t, map[int][]bool{-1: {true}, 2: nil})
	sealedKinds(t, [2]*int{nil, new(int)})
	sealedKinds(t, (*string)(nil), new(string))
	sealedKinds(t, netip.Addr{}, netip.MustParseAddr("fe80::1%eth0"))
	sealedKinds(t, time.Duration(math.MinInt64))
	sealedKinds(t, json.RawMessage(`{ "kept" : "as\u0020it is",  "twice": 1, "twice": 2 }`), json.RawMessage("not JSON"))
	sealedKinds(t, struct {
		A int `json:"a"`
		B *struct{ C []byte }
		time.Duration
	}{math.MaxInt, &struct{ C []byte }{[]byte{0}}, 5})
	type tree struct {
		V    int64
		Kids []*tree
	}
	sealedKinds(t, tree{math.MinInt64, []*tree{nil, {V: 1}}})
	big1, _ := new(big.Int).SetString("-123456789012345678901234567890", 10)
	if v := sealedValue(t, *big1); v.Cmp(big1) != 0 {
		t.Error("big.Int")
	}
	if v := sealedValue(t, big1); v.Cmp(big1) != 0 {
		t.Error("*big.Int")
	}

	for _, f := range []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1} {
		if v := sealedValue(t, f); math.Float64bits(v) != math.Float64bits(f) {
			t.Errorf("%v: %v", f, v)
		}
		if v := sealedValue(t, float32(f)); math.Float32bits(v) != math.Float32bits(float32(f)) {
			t.Errorf("%v: %v as float32", f, v)
		}
	}
	if v := sealedValue(t, []float64{math.Copysign(0, -1)}); !math.Signbit(v[0]) {
		t.Error("-0 inside JSON")
	}
	sealedRefused(t, []float64{math.NaN()})
	sealedRefused(t, []string{"secret \xff"})
	sealedRefused(t, map[string]int{"secret \xff": 1})
	sealedKinds(t, []string{"\ufffd is a character", `\ufffd isn't an escape`})
	type loop struct{ Next *loop }
	l := &loop{}
	l.Next = l
	sealedRefused(t, l)
}

func TestKindsTimes(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 59, 58, 987_654_321, time.FixedZone("somewhere", -(3*3600+30*60)))
	for _, v := range []time.Time{at, at.UTC(), at.Local(), {}, time.Date(9999, 12, 31, 0, 0, 0, 1, time.UTC), time.Now()} {
		got := sealedValue(t, v)
		_, offset := got.Zone()
		if _, want := v.Zone(); !got.Equal(v) || offset != want {
			t.Errorf("%v: %v", v, got)
		}
	}
	// Local mean times have seconds in their offset, which RFC 3339 drops: the
	// time would move.
	lmt := time.Date(1890, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 1172))
	sealedRefused(t, lmt, time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC))
	sealedRefused(t, []time.Time{at, lmt})
	sealedRefused(t, map[string]*time.Time{"a": &lmt})
	sealedRefused(t, map[time.Time]int{lmt: 1})
	sealedRefused(t, struct{ A [1]struct{ B *time.Time } }{[1]struct{ B *time.Time }{{&lmt}}})
	// Equal is reflect.DeepEqual here, which looks at zone names.
	if got := must(sealedBack(t, struct{ A []*time.Time }{[]*time.Time{nil, &at}}).Get())(t); !got.A[1].Equal(at) || got.A[0] != nil {
		t.Errorf("inside a struct: %v", got.A)
	}
}

type (
	Inner  struct{ A string }
	Middle struct{ Inner }
	Loop   struct{ *Loop }
)

// TestSealedTypes: a T that would lose data is refused before any data moves.
func TestSealedTypes(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"hidden by the outer struct": {structseal.Check[sealedOne[struct {
			A, B string
			Inner
		}]](), "same JSON name"},
		"hidden, other order": {structseal.Check[sealedOne[struct {
			Inner
			A string
		}]](), "same JSON name"},
		"hidden through a pointer": {structseal.Check[sealedOne[struct {
			A string
			*Inner
		}]](), "same JSON name"},
		"hidden two levels down": {structseal.Check[sealedOne[struct {
			Middle
			A string
		}]](), "same JSON name"},
		"two of one name": {structseal.Check[sealedOne[struct {
			A string `json:"B"`
			B string
		}]](), "same JSON name"},
		"unexported": {structseal.Check[sealedOne[struct {
			A string
			b string
		}]](), "unexported"},
		"unexported, deep": {structseal.Check[sealedOne[[]map[string]*struct{ b string }]](), "unexported"},
		"embedded times, of ambiguous methods": {structseal.Check[sealedOne[struct {
			time.Time
			big.Int
		}]](), "unexported"},
		"left out": {structseal.Check[sealedOne[struct {
			A string `json:"-"`
		}]](), "would be lost"},
		"embeds itself":          {structseal.Check[sealedOne[Loop]](), "embeds itself"},
		"interface":              {structseal.Check[sealedOne[[]error]](), "concrete type"},
		"function":               {structseal.Check[sealedOne[struct{ F func() }]](), "no JSON form"},
		"complex":                {structseal.Check[sealedOne[complex128]](), "no JSON form"},
		"struct keys":            {structseal.Check[sealedOne[map[struct{ A int }]int]](), "no text form"},
		"keys that only marshal": {structseal.Check[sealedOne[map[ip6]int]](), "no text form"},
	} {
		var te *structseal.TagError
		if !errors.As(c.err, &te) || !strings.Contains(te.Reason, c.want) {
			t.Errorf("%s: %v, want %q", name, c.err, c.want)
		}
	}
	for name, err := range map[string]error{
		"embedded": structseal.Check[sealedOne[struct {
			Inner
			B string
		}]](),
		"embedded by pointer": structseal.Check[sealedOne[struct {
			*Inner
			B string
		}]](),
		"embedded by name": structseal.Check[sealedOne[struct {
			Inner `json:"inner"`
			A     string
		}]](),
		"named - by a comma": structseal.Check[sealedOne[struct {
			//lint:ignore SA5008 the odd name is what is tested
			A string `json:"-,"`
		}]](),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type (
	profile struct {
		structseal.Sealed[time.Time] `seal:"born"`
		Email                        string `seal:"email"`
	}
	profiled struct {
		_       structseal.Record `seal:"profiled"`
		ID      string            `seal:"id,bind"`
		Profile profile           `seal:"profile"`
	}
	profiledByPointer struct {
		_       structseal.Record `seal:"profiled"`
		ID      string            `seal:"id,bind"`
		Profile struct {
			*structseal.Sealed[int] `seal:"n"`
			Email                   string `seal:"email"`
		} `seal:"profile"`
	}
)

// TestEmbeddedSealed: a struct that embeds a Sealed has its methods, and other
// fields to seal nevertheless.
func TestEmbeddedSealed(t *testing.T) {
	row := roundTrip(t, profiled{ID: "1", Profile: profile{structseal.Of(time.Unix(7, 0)), "mail"}})
	if !strings.HasPrefix(row.Profile.Email, "s1.") || !row.Profile.IsSealed() {
		t.Errorf("not sealed: %+v", row.Profile)
	}
	var v profiledByPointer
	v.ID, v.Profile.Email = "1", "mail"
	if row := roundTrip(t, v); !strings.HasPrefix(row.Profile.Email, "s1.") {
		t.Errorf("not sealed: %+v", row.Profile)
	}
}

// TestMapKeys: keys stay readable, so there is nothing to seal in them.
func TestMapKeys(t *testing.T) {
	type keyed struct {
		_  structseal.Record    `seal:"keyed"`
		ID string               `seal:"id,bind"`
		A  string               `seal:"a"`
		M  map[sealedKey]string `seal:"m"`
	}
	type untagged struct {
		_  structseal.Record `seal:"keyed"`
		ID string            `seal:"id,bind"`
		A  string            `seal:"a"`
		M  []map[sealedKey]bool
	}
	for _, err := range []error{structseal.Check[keyed](), structseal.Check[untagged]()} {
		var te *structseal.TagError
		if !errors.As(err, &te) || te.Field != "M" || !strings.Contains(te.Reason, "readable") {
			t.Errorf("%v", err)
		}
	}
}

type sealedKey struct {
	X string `seal:"x"`
}

func (k sealedKey) MarshalText() ([]byte, error) { return []byte(k.X), nil }

// OneText has one text for many values.
type OneText struct{ N int }

func (f OneText) MarshalText() ([]byte, error) { return []byte("same"), nil }

func TestMapKeysOfOneText(t *testing.T) {
	type rec struct {
		_  structseal.Record  `seal:"rec"`
		ID string             `seal:"id,bind"`
		M  map[OneText]string `seal:"m"`
	}
	ring := structsealtest.Ring(t)
	if _, err := structseal.Encrypt(t.Context(), ring, rec{ID: "1", M: map[OneText]string{{1}: "a"}}); err != nil {
		t.Error(err)
	}
	_, err := structseal.Encrypt(t.Context(), ring, rec{ID: "1", M: map[OneText]string{{1}: "a", {2}: "b"}})
	if !errors.Is(err, structseal.ErrInvalidArgument) {
		t.Errorf("two keys with one text: %v", err)
	}
}

// OwnText embeds a marshaler and has one of its own.
type OwnText struct {
	time.Time
	Note string
}

func (o OwnText) MarshalText() ([]byte, error) {
	text, err := o.Time.MarshalText()
	return append(append(text, ' '), o.Note...), err
}

func (o *OwnText) UnmarshalText(text []byte) error {
	at, note, _ := strings.Cut(string(text), " ")
	o.Note = note
	return o.Time.UnmarshalText([]byte(at))
}

func (o OwnText) MarshalJSON() ([]byte, error)  { return json.Marshal(o.Note) }
func (o *OwnText) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &o.Note) }

// A struct that embeds a time has its MarshalText, which drops the rest.
func TestPromotedMarshalersAreRefused(t *testing.T) {
	type Inner struct {
		time.Time
		Note string
	}
	for name, err := range map[string]error{
		"itself": structseal.Check[sealedOne[Inner]](),
		"inside": structseal.Check[sealedOne[[]Inner]](),
		"deeper": structseal.Check[sealedOne[struct{ A, B Inner }]](),
		"big.Int": structseal.Check[sealedOne[struct {
			big.Int
			Unit string
		}]](),
	} {
		var te *structseal.TagError
		if !errors.As(err, &te) || !strings.Contains(te.Reason, "other fields would be lost") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := structseal.Check[sealedOne[OwnText]](); err != nil {
		t.Errorf("with a marshaler of its own: %v", err)
	}
	if err := structseal.Check[sealedOne[struct{ time.Time }]](); err != nil {
		t.Errorf("with nothing else to lose: %v", err)
	}
}
