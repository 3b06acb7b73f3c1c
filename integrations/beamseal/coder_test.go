package beamseal_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/integrations/beamseal"
	"github.com/structseal/structseal/structsealtest"
)

func roundTrip[T any](t *testing.T, v T) (T, error) {
	t.Helper()
	var b bytes.Buffer
	var none T
	if err := beam.NewElementEncoder(reflect.TypeFor[T]()).Encode(v, &b); err != nil {
		return none, err
	}
	got, err := beam.NewElementDecoder(reflect.TypeFor[T]()).Decode(&b)
	if err != nil {
		return none, err
	}
	return got.(T), nil
}

func panicOf(f func()) (r any) {
	defer func() { r = recover() }()
	f()
	return nil
}

// Beam's coder for structs keeps all of a record.
func TestCoder(t *testing.T) {
	ctx := t.Context()
	ring := structsealtest.Ring(t)
	for i := range int64(6) {
		plain := newCustomer(i + 1)
		if got, err := roundTrip(t, plain); err != nil || show(got) != show(plain) {
			t.Errorf("got  %s, %v\nwant %s", show(got), err, show(plain))
		}
		row, err := structseal.Encrypt(ctx, ring, plain)
		if err != nil {
			t.Fatal(err)
		}
		b := beamseal.Bad[customer]{Element: row, Error: "why", Forgotten: true}
		if got, err := roundTrip(t, b); err != nil || show(got.Element) != show(row) || got.Error != b.Error || !got.Forgotten {
			t.Errorf("%+v, %v", got, err)
		}

		want := newPatient(int(i))
		open, _ := sealedPatient(want)
		for name, encode := range map[string]func(){
			"unsealed":      func() { roundTrip(t, open) },
			"unsealed, bad": func() { roundTrip(t, beamseal.Bad[patient]{Element: open}) },
		} {
			err, _ := panicOf(encode).(error)
			if !errors.Is(err, structseal.ErrNotEncrypted) {
				t.Errorf("%s: %v", name, err)
			} else {
				noCanary(t, name, err.Error())
			}
		}
		sealed, err := structseal.Encrypt(ctx, ring, open)
		if err != nil {
			t.Fatal(err)
		}
		got, err := roundTrip(t, sealed)
		if err != nil {
			t.Fatal(err)
		}
		structsealtest.AssertSealed(t, got)
		if got, err = structseal.Decrypt(ctx, ring, got); err != nil {
			t.Fatal(err)
		}
		if p, err := plainOf(got); err != nil || !samePatient(p, want) {
			t.Errorf("%+v, %v", p, err)
		}
	}
	// A Sealed as the element, and deep inside.
	type outer struct{ Inner map[string][2]*patient }
	in, _ := sealedPatient(newPatient(2))
	in, err := structseal.Encrypt(ctx, ring, in)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := roundTrip(t, outer{map[string][2]*patient{"a": {nil, &in}}}); err != nil || got.Inner["a"][0] != nil || !got.Inner["a"][1].Born.Equal(in.Born) || !got.Inner["a"][1].Size.Equal(*in.Size) {
		t.Errorf("%v", err)
	}
	if got, err := roundTrip(t, in.Born); err != nil || !got.Equal(in.Born) {
		t.Errorf("%v", err)
	}
}

// wide has what else a record may hold.
type wide struct {
	structseal.Record `seal:"wide"`
	ID                [16]byte         `seal:"id,bind"`
	Name              text             `seal:"name"`
	Bytes             raw              `seal:"bytes"`
	Names             [2]text          `seal:"names"`
	Pointers          []*string        `seal:"pointers"`
	ByKey             map[text]text    `seal:"by_key"`
	Null              sql.Null[string] `seal:"null"`
	Inner             *inner           `seal:"inner"`
	All               map[string]inner `seal:"all"`
	List              []inner          `seal:"list"`
	I8                int8
	I16               int16
	I32               int32
	I                 int
	U8                uint8
	U32               uint32
	U64               uint64
	U                 uint
	F32               float32
	B                 bool
	PB                *bool
	Duration          time.Duration
	Arrays            [][3]int32
	Empty             struct{}
	Bools             map[bool]int64
	Like              likeSealed
	Likes             []*likeSealed
}

// likeSealed has the methods of a Sealed and is none: Beam goes by its fields.
type likeSealed struct{ N int64 }

func (likeSealed) MarshalBinary() ([]byte, error) { return nil, nil }
func (likeSealed) MarshalText() ([]byte, error)   { return nil, nil }
func (likeSealed) IsSealed() bool                 { return true }

type (
	text  string
	raw   []byte
	inner struct {
		Name  text `seal:"name"`
		Plain *int64
	}
)

// What survives lets through comes back as it was, whatever is nil or empty in it, and
// strings that aren't UTF-8.
func TestCoderRandom(t *testing.T) {
	_, s := beam.NewPipelineWithRoot()
	if _, _, err := beamseal.Encrypt[wide](s, "customers", put(t, s, []wide{}), nil); err != nil {
		t.Fatal(err)
	}
	f := func(w wide, n uint8) bool {
		if n%2 == 0 {
			w.Name, w.Bytes = text([]byte{0xff, n, 0}), raw{}
		}
		if n%3 == 0 {
			w.List, w.Bytes, w.ByKey, w.All = []inner{}, nil, nil, map[string]inner{}
		}
		got, err := roundTrip(t, w)
		if err != nil || !reflect.DeepEqual(got, w) {
			t.Logf("%v: got %#v, want %#v", err, got, w)
			return false
		}
		return true
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 300}); err != nil {
		t.Error(err)
	}
}

// Types that Beam's coder would lose something of, or never come back from, are refused
// before anything runs.
type (
	hidden struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		note string
	}
	locked struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		Mu   *sync.Mutex
	}
	nilElements struct {
		_     structseal.Record `seal:"t"`
		ID    string            `seal:"id,bind"`
		Names [][]byte          `seal:"names"`
	}
	anyValue struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		Any  map[string]any
	}
	address6 struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		Addr netip.Addr
	}
	bigInt struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		N    big.Int
	}
	tree struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		Kids []*tree           `seal:"kids"`
	}
	twoPointers struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name **string          `seal:"name"`
	}
	nilBehind struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name *[]byte           `seal:"name"`
	}
	embedding struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		*plainInner
	}
	plainInner struct{ Note string }
	untagged   struct{ Name string }
	tenanted   struct {
		_    structseal.Record `seal:"t,require=tenant"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		At   *time.Time
	}
	unregistered struct {
		_    structseal.Record `seal:"t"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
	}
	// coded has all that is refused, and a coder.
	coded struct {
		_    structseal.Record `seal:"coded"`
		ID   string            `seal:"id,bind"`
		Name string            `seal:"name"`
		Kids []*coded          `seal:"kids"`
		note string
	}
)

func encodeCoded(c coded) []byte {
	parts := []string{c.ID, c.Name, c.note}
	for _, k := range c.Kids {
		parts = append(parts, string(encodeCoded(*k)))
	}
	return []byte(strings.Join(parts, "|"))
}

func decodeCoded(b []byte) coded {
	parts := strings.Split(string(b), "|")
	c := coded{ID: parts[0], Name: parts[1], note: parts[2]}
	for i := 3; i+2 < len(parts); i += 3 {
		c.Kids = append(c.Kids, &coded{ID: parts[i], Name: parts[i+1], note: parts[i+2]})
	}
	return c
}

func init() {
	_ = hidden{note: "lost"}
	beamseal.Register[hidden]()
	beamseal.Register[locked]()
	beamseal.Register[nilElements]()
	beamseal.Register[anyValue]()
	beamseal.Register[address6]()
	beamseal.Register[bigInt]()
	beamseal.Register[tree]()
	beamseal.Register[twoPointers]()
	beamseal.Register[nilBehind]()
	beamseal.Register[embedding]()
	beamseal.Register[wide]()
	registerElement[wide]()
	beamseal.Register[untagged]()
	beamseal.Register[tenanted]()
	beam.RegisterCoder(reflect.TypeFor[coded](), encodeCoded, decodeCoded)
	beamseal.Register[coded]()
	registerElement[coded]()
	registerElement[beamseal.Bad[coded]]()
	beamseal.RegisterRing("twice", mainRing.open)
	beamseal.RegisterRing("twice", mainRing.open)
	beamseal.RegisterRing("nil", nil)
	beamseal.RegisterRing("", mainRing.open)
	beamseal.RegisterDecryptTo[account, customer](nil)
}

func refusal[T any](t *testing.T, want error, text string) {
	t.Helper()
	_, s := beam.NewPipelineWithRoot()
	_, _, err := beamseal.Reencrypt[T](s, "customers", beam.CreateList(s, []int{1}), nil)
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %v that tells %q", reflect.TypeFor[T](), err, want, text)
	}
}

func TestTypesRefused(t *testing.T) {
	refusal[hidden](t, beamseal.ErrCoder, "hidden.note: ")
	refusal[locked](t, beamseal.ErrCoder, "locked.Mu.mu")
	refusal[nilElements](t, beamseal.ErrCoder, "nilElements.Names[]: ")
	refusal[anyValue](t, beamseal.ErrCoder, "anyValue.Any{}: ")
	refusal[address6](t, beamseal.ErrCoder, "address6.Addr.")
	refusal[bigInt](t, beamseal.ErrCoder, "bigInt.N.")
	refusal[twoPointers](t, beamseal.ErrCoder, "twoPointers.Name: ")
	refusal[nilBehind](t, beamseal.ErrCoder, "nilBehind.Name: ")
	refusal[embedding](t, beamseal.ErrCoder, "embedding.plainInner: ")
	refusal[tree](t, beamseal.ErrCoder, "holds itself")
	refusal[untagged](t, structseal.ErrNoFields, "untagged")
	refusal[tenanted](t, structseal.ErrUnbound, "tenant")
	refusal[unregistered](t, beamseal.ErrPipeline, "beamseal.Register")
	refusal[customer](t, beamseal.ErrPipeline, "a collection of int")
	refusal[string](t, structseal.ErrInvalidArgument, "no struct")
	refusal[*customer](t, structseal.ErrInvalidArgument, "no struct")
}

// A coder of the type's own is used, in Bad, too.
func TestOwnCoder(t *testing.T) {
	plain := []coded{{ID: "1", Name: "a", note: "kept", Kids: []*coded{{ID: "2", Name: "b", note: "too"}}}, {Name: "unbound", note: "kept"}}
	p, s := beam.NewPipelineWithRoot()
	out, bad := must(t)(beamseal.Encrypt[coded](s, "customers", put(t, s, plain), nil))
	rows, badRows := take[coded](t, s, out), take[beamseal.Bad[coded]](t, s, bad)
	mustRun(t, p, map[string]int64{"encrypted": 1, "bad": 1})
	if r := rows(); len(r) != 1 || r[0].note != "kept" || len(r[0].Kids) != 1 || r[0].Kids[0].note != "too" || !structsealtest.AssertSealed(t, r[0]) {
		t.Errorf("%+v", r)
	}
	if b := badRows(); len(b) != 1 || b[0].Element.note != "kept" {
		t.Errorf("%+v", b)
	}
}

func TestArgumentsRefused(t *testing.T) {
	_, s := beam.NewPipelineWithRoot()
	col := put(t, s, []customer{newCustomer(1)})
	for name, c := range map[string]struct {
		ring string
		opts *beamseal.Options
		want error
		text string
	}{
		"unknown ring": {"nobody's", nil, beamseal.ErrRing, `"nobody's"`},
		"twice":        {"twice", nil, beamseal.ErrRing, "twice"},
		"nil":          {"nil", nil, beamseal.ErrRing, "nil"},
		"no name":      {"", nil, beamseal.ErrRing, "empty"},
		"label":        {"customers", &beamseal.Options{Only: []string{"mail"}}, structseal.ErrInvalidArgument, "mail"},
		"bind field":   {"customers", &beamseal.Options{Bind: map[string]string{"id": "1"}}, structseal.ErrInvalidArgument, "id"},
		"bind":         {"customers", &beamseal.Options{Bind: map[string]string{"tenant": ""}}, structseal.ErrUnbound, "tenant"},
	} {
		if _, _, err := beamseal.Encrypt[customer](s, c.ring, col, c.opts); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := beamseal.Decrypt[customer](s, c.ring, col, c.opts); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := beamseal.Encrypt[customer](s, "customers", beam.PCollection{}, nil); !errors.Is(err, beamseal.ErrPipeline) {
		t.Error(err)
	}
	if _, _, err := beamseal.Encrypt[customer](beam.Scope{}, "customers", col, nil); !errors.Is(err, beamseal.ErrPipeline) {
		t.Error(err)
	}
	if _, _, err := beamseal.DecryptTo[customer, customer](s, "customers", col, nil, nil); !errors.Is(err, structseal.ErrInvalidArgument) {
		t.Error(err)
	}
	other := func(c customer) (customer, error) { return c, context.Canceled }
	if _, _, err := beamseal.DecryptTo(s, "customers", col, other, nil); !errors.Is(err, beamseal.ErrPipeline) || !strings.Contains(err.Error(), "func") {
		t.Error(err)
	}
}
