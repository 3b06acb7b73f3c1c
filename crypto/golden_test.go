package crypto

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// golden.txt has a ciphertext a line: suite, length of the plaintext, text form.
// Key, plaintext and context follow from suite and line number. The ciphertexts
// come from the reference.
const goldenFile = "testdata/golden.txt"

type golden struct {
	suite              Suite
	plaintext, context []byte
	ciphertext         []byte
}

func (g golden) key(tb testing.TB) *Key {
	return newKey(tb, g.suite, vectorID, stream("key "+g.suite.String(), g.suite.KeySize()))
}

// goldenCase is line i without its ciphertext.
func goldenCase(i int) golden {
	n := i / 3
	switch {
	case n >= 68:
		n = 200 + 3*i // a few long ones
	case n >= 48:
		n = 48 + 5*(n-48)
	}
	return golden{
		suite:     Suite(1 + i%3),
		plaintext: stream(fmt.Sprintf("golden plaintext %d", i), n),
		context:   stream(fmt.Sprintf("golden context %d", i), i%50),
	}
}

const goldenLines = 210

func makeGolden() string {
	var out strings.Builder
	for i := range goldenLines {
		g := goldenCase(i)
		name := fmt.Sprintf("golden %d", i)
		ct := refSeal(g.suite, vectorID, stream("key "+g.suite.String(), g.suite.KeySize()),
			stream(name+" salt", 12), stream(name+" nonce", 12), g.plaintext, g.context)
		fmt.Fprintf(&out, "%s %d %s\n", g.suite, len(g.plaintext), refText(ct))
	}
	return out.String()
}

func readGolden(tb testing.TB) []golden {
	tb.Helper()
	f, err := os.Open(goldenFile)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var out []golden
	for lines := bufio.NewScanner(f); lines.Scan(); {
		g := goldenCase(len(out))
		var suite, text string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &suite, &n, &text); err != nil || suite != g.suite.String() || n != len(g.plaintext) {
			tb.Fatalf("%s, line %d: %q, %v", goldenFile, len(out)+1, lines.Text(), err)
		}
		if g.ciphertext, err = ParseText(nil, text); err != nil {
			tb.Fatal(err)
		}
		out = append(out, g)
	}
	if len(out) < 200 {
		tb.Fatalf("%d lines in %s", len(out), goldenFile)
	}
	return out
}

func TestGoldenIsGenerated(t *testing.T) {
	made := makeGolden()
	if *update {
		if err := os.WriteFile(goldenFile, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(goldenFile)
	if err != nil || string(data) != made {
		t.Errorf("%s is not what the generator makes (go generate), %v", goldenFile, err)
	}
}

// eachGolden runs a test over the ciphertexts of every suite that the mode
// allows.
func eachGolden(t *testing.T, test func(t *testing.T, k *Key, g golden)) {
	all := readGolden(t)
	for s := Default; s <= Deterministic; s++ {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			k := golden{suite: s}.key(t)
			for i, g := range all {
				if g.suite != s {
					continue
				}
				if got, err := k.Open(nil, g.ciphertext, g.context); err != nil || !bytes.Equal(got, g.plaintext) {
					t.Fatalf("line %d: %v", i+1, err)
				}
				test(t, k, g)
			}
		})
	}
}

// refuse fails the test when b opens, or fails in a way that callers can't
// tell from a fault of their own.
func refuse(t *testing.T, k *Key, buf, b, context []byte, what string, args ...any) {
	t.Helper()
	got, err := k.Open(buf, b, context)
	if got != nil || !errors.Is(err, ErrTampered) && !errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrNotEncrypted) {
		t.Fatalf("%d bytes, %s: opened to %x, %v", len(b), fmt.Sprintf(what, args...), got, err)
	}
}

func TestEveryBitIsAuthentic(t *testing.T) {
	eachGolden(t, func(t *testing.T, k *Key, g golden) {
		buf := make([]byte, 0, len(g.ciphertext))
		for bit := range 8 * len(g.ciphertext) {
			g.ciphertext[bit/8] ^= 1 << (bit % 8)
			refuse(t, k, buf, g.ciphertext, g.context, "bit %d flipped", bit)
			g.ciphertext[bit/8] ^= 1 << (bit % 8)
		}
		for bit := range 8 * len(g.context) {
			g.context[bit/8] ^= 1 << (bit % 8)
			refuse(t, k, buf, g.ciphertext, g.context, "bit %d of the context flipped", bit)
			g.context[bit/8] ^= 1 << (bit % 8)
		}
	})
}

func TestEveryLengthIsAuthentic(t *testing.T) {
	eachGolden(t, func(t *testing.T, k *Key, g golden) {
		buf := make([]byte, 0, len(g.ciphertext)+32)
		for n := range g.ciphertext {
			refuse(t, k, buf, g.ciphertext[:n], g.context, "cut")
			if n > 0 {
				refuse(t, k, buf, g.ciphertext[n:], g.context, "cut in front")
			}
		}
		for n := 1; n <= 32; n++ {
			refuse(t, k, buf, append(bytes.Clone(g.ciphertext), make([]byte, n)...), g.context, "%d zeros appended", n)
			refuse(t, k, buf, append(bytes.Clone(g.ciphertext), stream("appended", n)...), g.context, "%d bytes appended", n)
			refuse(t, k, buf, append(bytes.Clone(g.ciphertext), g.ciphertext[:min(n, len(g.ciphertext))]...), g.context, "repeated")
		}
		for n := range g.context {
			refuse(t, k, buf, g.ciphertext, g.context[:n], "context cut to %d", n)
		}
		refuse(t, k, buf, g.ciphertext, append(bytes.Clone(g.context), 0), "context extended")
	})
}
