package structseal_test

import (
	"crypto/fips140"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"time"

	"github.com/structseal/structseal"
)

// What random record types are made of.
type (
	genString string
	genBytes  []byte
	genKey    int // a map key with a text of its own
	genStruct struct {
		Name  string `json:"name"`
		Count int64
		Tags  []string
		When  *time.Time
	}
)

func (k genKey) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "key#%d", int(k)), nil }

var (
	genLeaves = []reflect.Type{
		reflect.TypeFor[string](), reflect.TypeFor[genString](), reflect.TypeFor[[]byte](), reflect.TypeFor[genBytes](),
		reflect.TypeFor[sql.NullString](), reflect.TypeFor[sql.Null[string]](), reflect.TypeFor[sql.Null[[]byte]](), reflect.TypeFor[sql.Null[genString]](),
		reflect.TypeFor[sql.Null[structseal.Sealed[int]]](),
		reflect.TypeFor[structseal.Sealed[string]](), reflect.TypeFor[structseal.Sealed[[]byte]](), reflect.TypeFor[structseal.Sealed[int]](),
		reflect.TypeFor[structseal.Sealed[uint8]](), reflect.TypeFor[structseal.Sealed[bool]](), reflect.TypeFor[structseal.Sealed[[16]byte]](),
		reflect.TypeFor[structseal.Sealed[time.Time]](), reflect.TypeFor[structseal.Sealed[genStruct]](), reflect.TypeFor[structseal.Sealed[map[string]int]](),
	}
	genKeys  = []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[genString](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint16](), reflect.TypeFor[genKey](), reflect.TypeFor[netip.Addr]()}
	genBinds = []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[genString](), reflect.TypeFor[int64](), reflect.TypeFor[uint8](), reflect.TypeFor[[]byte](), reflect.TypeFor[[16]byte](), reflect.TypeFor[netip.Addr]()}
	genNoise = []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[*float64](), reflect.TypeFor[map[string]bool](), reflect.TypeFor[time.Time](), reflect.TypeFor[[3]uint16]()}
)

// generator makes random record types and values.
type generator struct {
	*rand.Rand
	labels   int
	canaries int
	det      bool
}

// canary opens every sealed text. It holds bytes that base64 doesn't have.
const canary = "canary:"

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0)), det: !fips140.Enforced()}
}

func pick[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

// label is unique in the type; long and short ones, in no order.
func (g *generator) label() string {
	g.labels++
	return fmt.Sprintf("%c%s-%d_", 'a'+rune(g.IntN(26)), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[:g.IntN(40)], g.labels)
}

// record makes a struct type with a marker.
func (g *generator) record(depth int) reflect.Type {
	g.labels++
	marker := fmt.Sprintf("rec.%d", g.labels)
	binds := g.IntN(4)
	if binds == 0 {
		marker += ",unbound"
	}
	fields := []reflect.StructField{{Name: "_", PkgPath: "p", Type: reflect.TypeFor[structseal.Record](), Tag: reflect.StructTag(`seal:"` + marker + `"`)}}
	for range binds {
		fields = append(fields, reflect.StructField{Type: pick(g, genBinds), Tag: reflect.StructTag(`db:"x" seal:"` + g.label() + `,bind" json:",omitempty"`)})
	}
	return g.finish(append(fields, g.fields(depth, g.IntN(5))...), depth)
}

// finish adds a field that is sealed for sure, shuffles the fields, names them,
// and puts some into an embedded struct.
func (g *generator) finish(fields []reflect.StructField, depth int) reflect.Type {
	fields = append(fields, reflect.StructField{Type: pick(g, genLeaves), Tag: reflect.StructTag(`seal:"` + g.label() + `"`)})
	g.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	for i := range fields {
		if fields[i].Name == "" {
			fields[i].Name = fmt.Sprintf("F%d", i)
		}
	}
	if cut := g.IntN(len(fields)); g.IntN(3) == 0 && cut > 0 {
		embedded := fields[cut:]
		marked := false
		for _, f := range embedded {
			marked = marked || f.Name == "_"
		}
		if !marked {
			fields = append(fields[:cut:cut], reflect.StructField{Name: "E", Anonymous: true, Type: reflect.StructOf(embedded)})
		}
	}
	return reflect.StructOf(fields)
}

func (g *generator) fields(depth, n int) []reflect.StructField {
	var fields []reflect.StructField
	for range n {
		switch k := g.IntN(10); {
		case k == 0:
			fields = append(fields, reflect.StructField{Type: pick(g, genNoise)})
		case k == 1 && depth > 0:
			t := g.container(g.record(depth-1), depth)
			f := reflect.StructField{Type: t}
			if g.IntN(2) == 0 {
				f.Tag = reflect.StructTag(`seal:"` + g.label() + `"`)
			}
			fields = append(fields, f)
		case k <= 3 && depth > 0:
			t := g.container(g.finish(g.fields(depth-1, g.IntN(3)), depth-1), depth)
			fields = append(fields, reflect.StructField{Type: t, Tag: reflect.StructTag(`seal:"` + g.label() + `"`)})
		default:
			tag := g.label()
			if g.det && g.IntN(5) == 0 {
				tag += ",det=" + pick(g, []string{"email", "x.y", "d"})
			}
			fields = append(fields, reflect.StructField{Type: g.container(pick(g, genLeaves), depth), Tag: reflect.StructTag(`seal:"` + tag + `"`)})
		}
	}
	return fields
}

// container wraps t in pointers, slices, arrays and maps.
func (g *generator) container(t reflect.Type, depth int) reflect.Type {
	for range g.IntN(depth + 2) {
		switch g.IntN(6) {
		case 0:
			t = reflect.PointerTo(t)
		case 1:
			t = reflect.SliceOf(t)
		case 2:
			t = reflect.ArrayOf(g.IntN(4), t)
		case 3:
			t = reflect.MapOf(pick(g, genKeys), t)
		}
	}
	return t
}

// bytes returns random bytes of mostly small, sometimes large size.
func (g *generator) bytes() []byte {
	n := g.IntN(40)
	switch g.IntN(60) {
	case 0:
		n = 1<<14 - 20 + g.IntN(40) // around the size that gets memory of its own
	case 1, 2:
		n = g.IntN(2000)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

// secret returns what a sealed field holds: now and then nothing, or what looks
// like a ciphertext, else a canary and bytes.
func (g *generator) secret() []byte {
	switch g.IntN(12) {
	case 0:
		return []byte{}
	case 1:
		return []byte("s1." + string(g.bytes()))
	case 2:
		return append([]byte{1}, g.bytes()...)
	}
	g.canaries++
	return append(fmt.Appendf(nil, "%s%d:", canary, g.canaries), g.bytes()...)
}

// fill gives v a random value; bound makes it fit for a bind field.
func (g *generator) fill(v reflect.Value, tag reflect.StructTag, bound bool) {
	if f, ok := genSealed[v.Type()]; ok {
		v.Set(reflect.ValueOf(f(g)))
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(g.Int64N(1<<33), g.Int64N(1e9)).In(time.FixedZone("", 60*(g.IntN(1680)-840)))
		return
	case *netip.Addr:
		*p = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, g.Uint32()|1)))
		return
	}
	if v.Kind() == reflect.Struct && v.Type().PkgPath() == "database/sql" {
		if g.IntN(3) > 0 {
			g.fill(v.Field(0), "", false)
			v.Field(1).SetBool(true)
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		if bound {
			v.SetString(string(append(g.bytes(), 'x')))
		} else {
			v.SetString(string(g.secret()))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			switch {
			case bound:
				v.SetBytes(append(g.bytes(), 0))
			case g.IntN(8) > 0:
				v.SetBytes(g.secret())
			}
			return
		}
		if g.IntN(6) == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), g.IntN(4), 5))
		for i := range v.Len() {
			g.fill(v.Index(i), "", false)
		}
	case reflect.Array:
		for i := range v.Len() {
			g.fill(v.Index(i), "", bound)
		}
	case reflect.Map:
		if g.IntN(6) == 0 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range g.IntN(4) {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			if key.Kind() == reflect.String {
				key.SetString(fmt.Sprint("key", g.IntN(100)))
			} else {
				g.fill(key, "", true)
			}
			g.fill(elem, "", false)
			v.SetMapIndex(key, elem)
		}
	case reflect.Pointer:
		if g.IntN(5) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			g.fill(v.Elem(), "", false)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Name != "_" {
				g.fill(v.Field(i), f.Tag, isBind(f.Tag))
			}
		}
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case reflect.Float64:
		v.SetFloat(g.NormFloat64())
	case reflect.Int, reflect.Int8, reflect.Int64:
		v.SetInt(int64(g.Uint64()|1) >> g.IntN(50))
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(uint64(g.Uint32()|1) & (1<<v.Type().Bits() - 1))
	default:
		panic("no random " + v.Type().String())
	}
}

// genSealed makes random values of the Sealed leaves. Some are the zero Sealed.
var genSealed map[reflect.Type]func(*generator) any

func init() {
	genSealed = map[reflect.Type]func(*generator) any{
		reflect.TypeFor[structseal.Sealed[string]]():         sealedOf(func(g *generator) string { return string(g.secret()) }),
		reflect.TypeFor[structseal.Sealed[[]byte]]():         sealedOf(func(g *generator) []byte { return g.secret() }),
		reflect.TypeFor[structseal.Sealed[int]]():            sealedOf(func(g *generator) int { return int(g.Uint64()) >> g.IntN(63) }),
		reflect.TypeFor[structseal.Sealed[uint8]]():          sealedOf(func(g *generator) uint8 { return uint8(g.Uint32()) }),
		reflect.TypeFor[structseal.Sealed[bool]]():           sealedOf(func(g *generator) bool { return g.IntN(2) == 0 }),
		reflect.TypeFor[structseal.Sealed[[16]byte]]():       sealedOf(func(g *generator) [16]byte { return [16]byte([]byte(canary + "16 bytes.")) }),
		reflect.TypeFor[structseal.Sealed[map[string]int]](): sealedOf(func(g *generator) map[string]int { return map[string]int{canary: g.IntN(5), "<&>": 1} }),
		reflect.TypeFor[structseal.Sealed[time.Time]](): sealedOf(func(g *generator) (t time.Time) {
			g.fill(reflect.ValueOf(&t).Elem(), "", false)
			return t
		}),
		reflect.TypeFor[structseal.Sealed[genStruct]](): sealedOf(func(g *generator) genStruct {
			return genStruct{Name: canary + "é<>&\u2028\ufffd", Count: int64(g.Uint64()), Tags: [][]string{nil, {}, {canary}}[g.IntN(3)]}
		}),
	}
}

func sealedOf[T any](f func(*generator) T) func(*generator) any {
	return func(g *generator) any {
		if g.IntN(8) == 0 {
			return structseal.Sealed[T]{}
		}
		return structseal.Of(f(g))
	}
}
