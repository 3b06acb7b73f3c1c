package printtest

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
)

// What people write without thinking about printers.
type (
	naive         struct{ secret []byte }
	naiveArray    struct{ secret [32]byte }
	naiveString   struct{ secret string }
	naivePointer  struct{ secret *[]byte }
	naiveExported struct{ Secret []byte }
	naiveText     string
	naiveBytes    []byte
	// naiveRedacted has the methods that are usually thought to be enough.
	naiveRedacted struct{ secret []byte }
)

func (naiveRedacted) String() string                 { return "redacted" }
func (naiveRedacted) GoString() string               { return "redacted" }
func (naiveRedacted) Format(f fmt.State, _ rune)     { fmt.Fprint(f, "redacted") }
func (naiveRedacted) MarshalText() ([]byte, error)   { return []byte("redacted"), nil }
func (naiveRedacted) MarshalBinary() ([]byte, error) { return []byte("redacted"), nil }

var (
	naiveSecret = []byte("Naive:secret/0123456789-of-32-by")
	naiveCanary = bytesCanary("the secret", naiveSecret)
	naiveHunter = newHunter([]canary{naiveCanary})
	leaky       = []value{hold("naive text", naiveText(naiveSecret), naiveCanary)}
)

var naives = []struct {
	name  string
	v     any
	reach reach // what shows it
}{
	{"struct{secret []byte}", naive{naiveSecret}, allFields},
	{"*struct{secret []byte}", &naive{naiveSecret}, allFields},
	{"struct{secret [32]byte}", naiveArray{[32]byte(naiveSecret)}, allFields},
	{"struct{secret string}", naiveString{string(naiveSecret)}, allFields},
	{"struct{Secret []byte}", naiveExported{naiveSecret}, exportedFields},
	{"[]byte", naiveBytes(naiveSecret), whole},
	{"string", naiveText(naiveSecret), whole},
}

// TestChannelsAreHunted proves that the matrix can fail: each channel that is
// said to reach a value shows it when the value is naive, and is caught. What a
// channel is said not to reach is checked too, so that the table stays true.
func TestChannelsAreHunted(t *testing.T) {
	for _, c := range channels() {
		for _, n := range naives {
			want := c.reach >= n.reach && !slices.Contains(c.misses, n.name)
			out := c.send(n.v)
			if got := naiveHunter.hunt(out) != nil; got != want {
				t.Errorf("%s of %s: caught %t, want %t:\n%.300s", c.name, n.name, got, want, out)
			}
		}
	}
}

// TestHoldersAreWalked proves that a printer which looks everywhere finds the
// secret in each holder.
func TestHoldersAreWalked(t *testing.T) {
	walkers := 0
	for _, c := range channels() {
		if c.name != "spew without methods, Sdump" {
			continue
		}
		walkers++
		for _, v := range [][]holder{holders(naive{naiveSecret}), holders(naivePointer{&naiveSecret}), holders(&naive{naiveSecret}), holders(naiveString{string(naiveSecret)})} {
			for _, h := range v {
				if out := c.send(h.v); naiveHunter.hunt(out) == nil {
					t.Errorf("%s: not caught:\n%s", h.name, out)
				}
			}
		}
	}
	if walkers != 1 {
		t.Fatalf("%d channels walk everything, want 1", walkers)
	}
}

// TestMethodsAreNotEnough shows why our types keep secrets in closures: a type
// with every redacting method still prints when it sits in an unexported field.
func TestMethodsAreNotEnough(t *testing.T) {
	caught := map[string]int{}
	for _, h := range holders(naiveRedacted{naiveSecret}) {
		for _, c := range channels() {
			if naiveHunter.hunt(c.send(h.v)) != nil {
				caught[h.name]++
			}
		}
	}
	if caught["in an unexported field"] < 10 {
		t.Errorf("caught %v: a redacted value in an unexported field should leak through many channels", caught)
	}
}

// TestOneWord proves the check of types that crash spew.
func TestOneWord(t *testing.T) {
	if !oneWord(reflect.TypeFor[oneFunc]()) || !oneWord(reflect.TypeFor[*oneFunc]()) {
		t.Error("a struct of one function is not found")
	}
	if oneWord(reflect.TypeFor[naive]()) || oneWord(reflect.TypeFor[naiveText]()) {
		t.Error("another type is found")
	}
}

type oneFunc struct{ f func() int }

func (o oneFunc) String() string { return fmt.Sprint(o.f()) }

// TestHunterFindsAESSchedules proves that expanded keys are hunted as well.
func TestHunterFindsAESSchedules(t *testing.T) {
	words := make([]uint32, 8)
	for i := range words {
		words[i] = binary.BigEndian.Uint32(naiveSecret[4*i:])
	}
	for _, c := range channels() {
		if c.reach < allFields {
			continue
		}
		switch {
		case strings.HasPrefix(c.name, "fmt %") && !slices.Contains([]string{"fmt %v", "fmt %+v", "fmt %#v", "fmt %d", "fmt %x", "fmt %s"}, c.name):
			continue // words in the less usual verbs
		case slices.Contains(c.misses, "struct{secret []byte}"):
			continue
		}
		if out := c.send(struct{ enc []uint32 }{words}); naiveHunter.hunt(out) == nil {
			t.Errorf("%s: not caught:\n%.300s", c.name, out)
		}
	}
}

func TestHunter(t *testing.T) {
	s := naiveSecret
	utf16 := func(order binary.AppendByteOrder) string { return utf16Text(s, order) }
	binarySecret := []byte{0x00, 0xff, 0x80, 0x0a, 0x22, 0x5c, 0x3c, 0x26, 0x07, 0xc3, 0x28, 0xe2, 0x82, 0xac}
	for name, out := range map[string]string{
		"raw":                  string(s),
		"part":                 "x" + string(s[9:17]) + "y",
		"hex":                  hex.EncodeToString(s),
		"upper hex":            strings.ToUpper(hex.EncodeToString(s)),
		"hex with blanks":      fmt.Sprintf("% x", s),
		"Go syntax":            fmt.Sprintf("%#v", s),
		"hex dump":             hex.Dump(s),
		"hex dump, part":       hex.Dump(append([]byte("12345"), s[:20]...)),
		"base64":               base64.StdEncoding.EncodeToString(s),
		"base64, shifted 1":    base64.StdEncoding.EncodeToString(append([]byte("1"), s...)),
		"base64, shifted 2":    base64.StdEncoding.EncodeToString(append([]byte("12"), s...)),
		"base64, raw URL":      base64.RawURLEncoding.EncodeToString(s),
		"UTF-16LE":             utf16(binary.LittleEndian),
		"UTF-16BE":             utf16(binary.BigEndian),
		"decimal":              fmt.Sprint(s),
		"decimal with commas":  strings.ReplaceAll(fmt.Sprint(s), " ", ", "),
		"decimal, one a line":  strings.ReplaceAll(fmt.Sprint(s), " ", ",\n (uint8) "),
		"bad verb":             "%!z(uint8=" + strconv.Itoa(int(s[0])) + ") %!z(uint8=" + strings.ReplaceAll(strings.Trim(fmt.Sprint(s[1:]), "[]"), " ", ") %!z(uint8="),
		"octal":                fmt.Sprintf("%o", s),
		"octal with prefix":    fmt.Sprintf("%O", s),
		"binary":               fmt.Sprintf("%b", s),
		"code points":          fmt.Sprintf("%U", s),
		"characters":           fmt.Sprintf("%c", s),
		"quoted characters":    fmt.Sprintf("%q", [8]byte(s)),
		"binary, quoted":       fmt.Sprintf("%q", binarySecret),
		"binary, ASCII quoted": fmt.Sprintf("%+q", binarySecret),
		"binary, JSON":         `"` + jsonText(binarySecret) + `"`,
		"binary, decimal":      fmt.Sprint(binarySecret),
	} {
		if hunt(out, []canary{naiveCanary, bytesCanary("binary", binarySecret)}) == nil {
			t.Errorf("%s: not found in %q", name, out)
		}
	}
	for name, out := range map[string]string{
		"nothing":        "",
		"seven bytes":    string(s[:7]) + " " + string(s[9:15]),
		"other hex":      strings.Repeat("00112233445566778899aabbccddeeff", 100),
		"other decimals": strings.Repeat("[1 2 3 4 5 6 7 8 9 10] ", 100),
		"a key":          crypto.Key{}.String(),
	} {
		if found := naiveHunter.hunt(out); found != nil {
			t.Errorf("%s: found %v", name, found)
		}
	}
}
