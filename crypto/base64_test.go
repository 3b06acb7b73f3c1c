package crypto

import (
	"bytes"
	"encoding/base64"
	"testing"
)

// The codec agrees with package encoding/base64 on every length, and on every byte at
// every place of a text, but for the line breaks that that one skips.
func TestBase64(t *testing.T) {
	std := base64.RawURLEncoding.Strict()
	for n := range 200 {
		b := stream("base64", n)
		text := make([]byte, encodedLen(n)+9)
		for i := range text {
			text[i] = '#'
		}
		encodeBase64(text[:encodedLen(n)], b)
		if want := std.EncodeToString(b) + "#########"; string(text) != want {
			t.Fatalf("%d bytes: %q, want %q", n, text, want)
		}
		text = text[:encodedLen(n)]
		out := make([]byte, decodedLen(len(text))+9)
		if !decodeBase64(out[:n], text) || !bytes.Equal(out[:n], b) || !bytes.Equal(out[n:], make([]byte, 9)) {
			t.Fatalf("%d bytes: %x", n, out)
		}
		if n > 40 {
			continue
		}
		for i := range text {
			was := text[i]
			for c := range 256 {
				text[i] = byte(c)
				want, err := std.DecodeString(string(text))
				ok := err == nil && c != '\n' && c != '\r'
				if got := decodeBase64(out[:n], text); got != ok || ok && !bytes.Equal(out[:n], want) {
					t.Fatalf("%q: %v, want %v (%v)", text, got, ok, err)
				}
			}
			text[i] = was
		}
		longer := append(text, 'A')
		_, err := std.DecodeString(string(longer))
		if got := decodeBase64(out[:decodedLen(len(longer))], longer); got != (err == nil) {
			t.Fatalf("%q: %v, want %v", longer, got, err)
		}
	}
}
