package crypto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// A vector is one file of testdata/vectors: one case with at most one fault.
// docs/format.md, section "Test vectors", explains the members. Bytes are hex.
type vector struct {
	About string `json:"about"`
	Op    string `json:"op"`

	Suite string `json:"suite,omitempty"`
	Key   string `json:"key,omitempty"` // or the index root
	ID    string `json:"id,omitempty"`  // four bytes

	Context    *vectorContext `json:"context,omitempty"`
	Domain     string         `json:"domain,omitempty"` // with Ring: a deterministic context
	Ring       string         `json:"ring,omitempty"`
	ContextHex string         `json:"context_hex"`

	Purpose string   `json:"purpose,omitempty"`
	Names   []string `json:"names,omitempty"` // ring, record, field, index
	Bits    int      `json:"bits,omitempty"`

	Salt       string `json:"salt,omitempty"`
	Nonce      string `json:"nonce,omitempty"`
	Plaintext  string `json:"plaintext"`
	Ciphertext string `json:"ciphertext"`
	Text       string `json:"text,omitempty"`
	Output     string `json:"output,omitempty"`
	Expect     string `json:"expect"`

	name string
}

type vectorContext struct {
	Ring   string          `json:"ring"`
	Record string          `json:"record"`
	Path   []vectorElement `json:"path"`
	Bind   []vectorBinding `json:"bind"`
}

// A vectorElement has a label, or an index and a length, or a key.
type vectorElement struct {
	Label *string `json:"label,omitempty"`
	Index *int    `json:"index,omitempty"`
	Of    *int    `json:"of,omitempty"`
	Key   *string `json:"key,omitempty"`
}

type vectorBinding struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

func (c vectorContext) build() Context {
	out := Context{Ring: c.Ring, Record: c.Record}
	for _, e := range c.Path {
		switch {
		case e.Label != nil:
			out.Path = append(out.Path, Label(*e.Label))
		case e.Key != nil:
			out.Path = append(out.Path, MapKey(*e.Key))
		default:
			out.Path = append(out.Path, Index(*e.Index, *e.Of))
		}
	}
	for _, b := range c.Bind {
		out.Bind = append(out.Bind, Binding(b))
	}
	return out
}

// expectations maps what a vector may expect to whether an error is that.
var expectations = map[string]func(error) bool{
	"success":   func(err error) bool { return err == nil },
	"truncated": func(err error) bool { return errors.Is(err, ErrTruncated) },
	"malformed": func(err error) bool { return errors.Is(err, ErrMalformed) },
	"tampered": func(err error) bool {
		return errors.Is(err, ErrTampered) && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrMalformed)
	},
	// AES-GCM is content; the commitment is another key's, or nobody's.
	"other-key commitment": func(err error) bool {
		return errors.Is(err, ErrTampered) && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrMalformed)
	},
	"unknown key":     func(err error) bool { return errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrTampered) },
	"not encrypted":   func(err error) bool { return errors.Is(err, ErrNotEncrypted) && !errors.Is(err, ErrTampered) },
	"invalid context": func(err error) bool { return errors.Is(err, ErrContext) },
}

const vectorDir = "testdata/vectors"

func readVectors(tb testing.TB) []vector {
	tb.Helper()
	files, err := filepath.Glob(vectorDir + "/*.json")
	if err != nil || len(files) < 40 {
		tb.Fatalf("%d files in %s, %v", len(files), vectorDir, err)
	}
	var out []vector
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		v := vector{name: filepath.Base(file)}
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		out = append(out, v)
	}
	return out
}

func (v vector) check(t *testing.T, err error) {
	t.Helper()
	is, ok := expectations[v.Expect]
	if !ok {
		t.Fatalf("unknown expectation %q", v.Expect)
	}
	if !is(err) {
		t.Errorf("%s: got %v, want %s", v.About, err, v.Expect)
	}
}

func TestVectors(t *testing.T) {
	ops := map[string]func(*testing.T, vector){
		"open": testOpenVector, "text": testTextVector, "context": testContextVector,
		"deterministic context": testDeterministicContextVector,
		"key check":             testKeyCheckVector, "blind index": testBlindIndexVector,
	}
	seen := map[string]int{}
	for _, v := range readVectors(t) {
		op, ok := ops[v.Op]
		if !ok {
			t.Fatalf("%s: unknown op %q", v.name, v.Op)
		}
		seen[v.Op]++
		seen[v.Expect]++
		t.Run(v.name, func(t *testing.T) { op(t, v) })
	}
	for name := range ops {
		if seen[name] == 0 {
			t.Errorf("no vector for op %q", name)
		}
	}
	for name := range expectations {
		if seen[name] == 0 {
			t.Errorf("no vector expects %q", name)
		}
	}
}

func testOpenVector(t *testing.T, v vector) {
	s, err := ParseSuite(v.Suite)
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.ParseUint(v.ID, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	secret, context := unhex(t, v.Key), unhex(t, v.ContextHex)
	plaintext, ciphertext := unhex(t, v.Plaintext), unhex(t, v.Ciphertext)
	k := newKey(t, s, uint32(id), secret)

	switch {
	case v.Context != nil:
		if got, err := v.Context.build().Append(nil); err != nil || !bytes.Equal(got, context) {
			t.Errorf("context is %x, %v", got, err)
		}
	case v.Domain != "":
		if got := DeterministicContext(nil, v.Ring, v.Domain); !bytes.Equal(got, context) {
			t.Errorf("context is %x", got)
		}
	}
	if got := string(AppendText(nil, ciphertext)); got != v.Text || refText(ciphertext) != v.Text {
		t.Errorf("text form is %s", got)
	}
	if got, err := ParseText(nil, v.Text); err != nil || !bytes.Equal(got, ciphertext) {
		t.Errorf("text form parses to %x, %v", got, err)
	}

	got, err := k.Open(nil, ciphertext, context)
	v.check(t, err)
	if v.Expect != "success" {
		if got != nil {
			t.Errorf("opened to %x", got)
		}
		return
	}
	if !bytes.Equal(got, plaintext) {
		t.Errorf("opened to %x", got)
	}
	if v.Nonce == "" && s != Deterministic {
		return // crafted, not sealed
	}
	if got := refSeal(s, uint32(id), secret, unhex(t, v.Salt), unhex(t, v.Nonce), plaintext, context); !bytes.Equal(got, ciphertext) {
		t.Errorf("made again: %x", got)
	}
	if s == Deterministic {
		if got := mustSeal(t, k, plaintext, context); !bytes.Equal(got, ciphertext) {
			t.Errorf("sealed again: %x", got)
		}
	}
}

func testTextVector(t *testing.T, v vector) {
	want := unhex(t, v.Ciphertext)
	got, err := ParseText([]byte("dst"), v.Text)
	v.check(t, err)
	if v.Expect != "success" {
		if got != nil || IsText(v.Text) {
			t.Errorf("parsed to %x", got)
		}
		return
	}
	if string(got) != "dst"+string(want) {
		t.Errorf("parsed to %x", got)
	}
	if got := string(AppendText(nil, want)); got != v.Text || refText(want) != v.Text || TextLen(len(want)) != len(v.Text) {
		t.Errorf("text form is %s", got)
	}
}

func testContextVector(t *testing.T, v vector) {
	want := unhex(t, v.ContextHex)
	if v.Expect == "success" {
		if got, err := v.Context.build().Append([]byte("dst")); err != nil || string(got) != "dst"+string(want) {
			t.Errorf("encoded to %x, %v", got, err)
		}
	} else if v.Context != nil { // a context that has no encoding
		got, err := v.Context.build().Append(nil)
		v.check(t, err)
		if got != nil {
			t.Errorf("encoded to %x", got)
		}
		return
	}
	c, err := ParseContext(want)
	v.check(t, err)
	if err == nil {
		if got, err := c.Append(nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("encoded again: %x, %v", got, err)
		}
	}
}

func testDeterministicContextVector(t *testing.T, v vector) {
	want := unhex(t, v.ContextHex)
	if got := DeterministicContext([]byte("dst"), v.Ring, v.Domain); string(got) != "dst"+string(want) {
		t.Errorf("encoded to %x", got)
	}
	if _, err := ParseContext(want); !errors.Is(err, ErrContext) {
		t.Errorf("parsed as the context of a bound value: %v", err)
	}
}

func testKeyCheckVector(t *testing.T, v vector) {
	secret, want := unhex(t, v.Key), unhex(t, v.Output)
	got, err := Check(v.Purpose, secret)
	v.check(t, err)
	if !bytes.Equal(got[:], want) {
		t.Errorf("check value %x", got)
	}
	if ref := refHKDF(secret, "structseal/v1/check/"+v.Purpose, 32); !bytes.Equal(ref, want) {
		t.Errorf("reference: check value %x", ref)
	}
	if s, err := ParseSuite(v.Purpose); err == nil {
		if got := newKey(t, s, 1, secret).Check(); !bytes.Equal(got[:], want) {
			t.Errorf("the key's check value is %x", got)
		}
	}
}

func testBlindIndexVector(t *testing.T, v vector) {
	root, value, want := unhex(t, v.Key), unhex(t, v.Plaintext), unhex(t, v.Output)
	k, err := DeriveBlindIndexKey(root, v.Names[0], v.Names[1], v.Names[2], v.Names[3])
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.Append([]byte("dst"), value, v.Bits)
	v.check(t, err)
	if string(got) != "dst"+string(want) {
		t.Errorf("tag %x", got)
	}
	if ref := refBlindIndex(root, v.Names[0], v.Names[1], v.Names[2], v.Names[3], string(value), v.Bits); !bytes.Equal(ref, want) {
		t.Errorf("reference: tag %x", ref)
	}
}

// The files are what the generator makes: none was edited, lost or left over.
func TestVectorsAreGenerated(t *testing.T) {
	made := makeVectors(t)
	if *update {
		writeVectors(t, made)
	}
	want := map[string]string{}
	for _, v := range made {
		want[v.name+".json"] = encodeVector(t, v)
	}
	files, _ := filepath.Glob(vectorDir + "/*")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		if w, ok := want[name]; !ok || w != string(data) {
			t.Errorf("%s is not what the generator makes (go generate)", name)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

func encodeVector(tb testing.TB, v vector) string {
	tb.Helper()
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		tb.Fatal(err)
	}
	return buf.String()
}

func writeVectors(tb testing.TB, vectors []vector) {
	tb.Helper()
	if err := os.RemoveAll(vectorDir); err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(vectorDir, 0o755); err != nil {
		tb.Fatal(err)
	}
	for _, v := range vectors {
		if err := os.WriteFile(filepath.Join(vectorDir, v.name+".json"), []byte(encodeVector(tb, v)), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

func hexID(id uint32) string { return fmt.Sprintf("%08x", id) }

func hexBytes(b []byte) string { return hex.EncodeToString(b) }
