package crypto

import (
	"bytes"
	"encoding/base64"
	mrand "math/rand/v2"
	"strings"
	"testing"
)

// Every text but one is refused for each ciphertext: all texts of up to three
// letters behind the prefix, over every byte.
func TestParseTextIsCanonical(t *testing.T) {
	check := func(text string) {
		got, err := ParseText(nil, text)
		if err == nil && refText(got) != text {
			t.Fatalf("%q parses to %x, whose text form is %q", text, got, refText(got))
		}
	}
	accepted := 0
	for a := range 256 {
		for b := range 256 {
			text := TextPrefix + string([]byte{byte(a), byte(b)})
			check(text)
			if _, err := ParseText(nil, text); err == nil {
				accepted++
			}
		}
		check(TextPrefix + string([]byte{byte(a)}))
	}
	if accepted != 256 {
		t.Errorf("%d texts of two letters are accepted, not one for each byte", accepted)
	}
	rng := mrand.New(mrand.NewPCG(9, 9))
	const letters = "AZaz09-_+/=. \r\n\t"
	for range 100_000 {
		b := make([]byte, rng.IntN(12))
		for i := range b {
			b[i] = letters[rng.IntN(len(letters))]
		}
		check(TextPrefix + string(b))
	}
}

func TestTextRoundTrip(t *testing.T) {
	for n := range 200 {
		b := stream("text", n)
		text := string(AppendText([]byte("dst"), b))
		if text != "dst"+refText(b) || len(text)-3 != TextLen(n) {
			t.Fatalf("%d bytes: %s", n, text)
		}
		for _, dst := range [][]byte{nil, []byte("dst"), append(make([]byte, 0, 300), "dst"...)} {
			got, err := ParseText(dst, text[3:])
			if err != nil || !bytes.Equal(got, append(bytes.Clone(dst), b...)) {
				t.Fatalf("%d bytes: %x, %v", n, got, err)
			}
			if cap(dst) >= len(dst)+n && len(dst) > 0 && &got[0] != &dst[0] {
				t.Fatalf("%d bytes: dst had room and was not used", n)
			}
		}
	}
}

func TestIsText(t *testing.T) {
	frame := append([]byte{1}, make([]byte, 20)...)
	for text, want := range map[string]bool{
		refText(frame):            true,
		refText(frame[:20]):       false, // shorter than any ciphertext
		refText(make([]byte, 21)): false, // another first byte
		refText(frame) + "=":      false,
		refText(frame) + "\n":     false,
		" " + refText(frame):      false,
		"s1.":                     false,
		"":                        false,
		"s1.example.com":          false,
		TextPrefix + base64.StdEncoding.EncodeToString(append([]byte{1}, bytes.Repeat([]byte{0xff}, 23)...)): false,
		strings.ToUpper(refText(frame)): false,
	} {
		if IsText(text) != want {
			t.Errorf("IsText(%q) is %v", text, !want)
		}
	}
}
