package crypto

import (
	"bytes"
	"crypto/sha3"
	"encoding/binary"
	"flag"
	"fmt"
	"strings"
	"testing"
)

//go:generate go test -run ^(TestVectorsAreGenerated|TestGoldenIsGenerated)$ . -update

var update = flag.Bool("update", false, "write testdata anew")

// stream returns n bytes that depend on the name alone.
func stream(name string, n int) []byte {
	return sha3.SumSHAKE256([]byte("structseal test vectors "+name), n)
}

// vectorMaker collects vectors. Ciphertexts come from the reference, so the
// files don't depend on the code that they test.
type vectorMaker struct {
	tb  testing.TB
	out []vector
}

func (m *vectorMaker) add(name string, v vector) {
	v.name = name
	m.out = append(m.out, v)
}

func ptr[T any](v T) *T { return &v }

func (c vectorContext) encode() []byte {
	out := append([]byte("structseal/v1"), refString(c.Ring)...)
	out = append(out, refString(c.Record)...)
	out = append(out, refNumber(uint64(len(c.Path)))...)
	for _, e := range c.Path {
		switch {
		case e.Label != nil:
			out = append(append(out, 1), refString(*e.Label)...)
		case e.Key != nil:
			out = append(append(out, 3), refString(*e.Key)...)
		default:
			out = append(append(out, 2), refNumber(uint64(*e.Index))...)
			out = append(out, refNumber(uint64(*e.Of))...)
		}
	}
	out = append(out, refNumber(uint64(len(c.Bind)))...)
	for _, b := range c.Bind { // the maker gives them in order
		out = append(append(out, refString(b.Label)...), refString(b.Value)...)
	}
	return out
}

// sampleContext returns a context with every kind of part, to be changed.
func sampleContext() vectorContext {
	return vectorContext{
		Ring: "main", Record: "customer",
		Path: []vectorElement{
			{Label: ptr("addresses")}, {Index: ptr(2), Of: ptr(3)}, {Label: ptr("lines")}, {Key: ptr("home")},
		},
		Bind: []vectorBinding{{"id", "42"}, {"tenant", "acme"}},
	}
}

func refDeterministicContext(ring, domain string) []byte {
	out := append([]byte("structseal/deterministic/v1"), refString("aes-256-siv")...)
	return append(append(out, refString(ring)...), refString(domain)...)
}

const vectorID = 0x5ea1ed01

// base returns a vector that succeeds, and its ciphertext.
func (m *vectorMaker) base(s Suite, name string, plaintext []byte) (vector, []byte) {
	c := sampleContext()
	v := vector{
		Op: "open", Suite: s.String(), ID: hexID(vectorID), Expect: "success",
		Key: hexBytes(stream("key "+s.String(), s.KeySize())), Plaintext: hexBytes(plaintext),
	}
	if s == Deterministic {
		v.Ring, v.Domain = "main", "email"
		v.ContextHex = hexBytes(refDeterministicContext("main", "email"))
	} else {
		v.Context, v.ContextHex = &c, hexBytes(c.encode())
		v.Nonce = hexBytes(stream("nonce "+name, 12))
	}
	if s == Default {
		v.Salt = hexBytes(stream("salt "+name, 12))
	}
	return v, m.seal(&v, plaintext)
}

// seal makes the ciphertext of what v says.
func (m *vectorMaker) seal(v *vector, plaintext []byte) []byte {
	s, err := ParseSuite(v.Suite)
	if err != nil {
		m.tb.Fatal(err)
	}
	ct := refSeal(s, vectorID, unhex(m.tb, v.Key), unhex(m.tb, v.Salt), unhex(m.tb, v.Nonce), plaintext, unhex(m.tb, v.ContextHex))
	v.set(ct)
	return ct
}

func (v *vector) set(ct []byte) { v.Ciphertext, v.Text = hexBytes(ct), refText(ct) }

// fail turns a vector that succeeds into one that fails.
func (v vector) fail(about, expect string) vector {
	v.About, v.Expect, v.Salt, v.Nonce, v.Plaintext = about, expect, "", "", ""
	return v
}

func makeVectors(tb testing.TB) []vector {
	m := &vectorMaker{tb: tb}
	for s := Default; s <= Deterministic; s++ {
		m.frames(s)
		m.contextsOf(s)
	}
	m.commitments()
	m.texts()
	m.contexts()
	m.keyChecks()
	m.blindIndexes()
	return m.out
}

func (m *vectorMaker) frames(s Suite) {
	name := func(n string) string { return s.String() + "-" + n }
	value := []byte("Grace Hopper <grace@example.com>")
	for _, c := range []struct {
		name, about string
		plaintext   []byte
	}{
		{"value", "a text value", value},
		{"empty", "the empty value", nil},
		{"one-byte", "a value of one byte", []byte{0}},
		{"block", "a value of one AES block", stream("block", 16)},
		{"long", "a value of several blocks and a part of one", stream("long", 200)},
		{"zeros", "a value of zero bytes, which look like a commitment", make([]byte, 64)},
	} {
		v, _ := m.base(s, c.name, c.plaintext)
		v.About = c.about
		m.add(name(c.name), v)
	}
	v, _ := m.base(s, "no context", value)
	v.About, v.Context, v.Ring, v.Domain, v.ContextHex = "a value with the empty context", nil, "", "", ""
	m.seal(&v, value)
	m.add(name("no-context"), v)

	// Faults of the frame.
	base, ct := m.base(s, "value", value)
	damaged := func(n, about, expect string, damage func(ct []byte) []byte) {
		v := base.fail(about, expect)
		v.set(damage(bytes.Clone(ct)))
		m.add(name(n), v)
	}
	flip := func(at int, mask byte) func([]byte) []byte {
		return func(ct []byte) []byte {
			if at < 0 {
				at += len(ct)
			}
			ct[at] ^= mask
			return ct
		}
	}
	damaged("start-byte", "the first byte is 00", "not encrypted", flip(0, 1))
	damaged("start-byte-high-bit", "the first byte is 81", "not encrypted", flip(0, 0x80))
	damaged("id-bit", "a bit of the key id is flipped", "unknown key", flip(4, 1))
	damaged("id-zero", "the key id is zero", "unknown key", func(ct []byte) []byte { clear(ct[1:5]); return ct })
	damaged("id-little-endian", "the key id is little endian", "unknown key", func(ct []byte) []byte {
		binary.LittleEndian.PutUint32(ct[1:], vectorID)
		return ct
	})
	body := 5
	if s == Default {
		damaged("salt-first-bit", "a bit of the salt's first byte is flipped", "tampered", flip(5, 0x80))
		damaged("salt-last-bit", "a bit of the salt's last byte is flipped", "tampered", flip(16, 1))
		body += 12
	}
	if s == Deterministic {
		damaged("siv-first-bit", "a bit of the SIV's first byte is flipped", "tampered", flip(5, 0x80))
		damaged("siv-masked-bit", "a bit of the SIV that the counter ignores is flipped", "tampered", flip(5+8, 0x80))
		damaged("siv-last-bit", "a bit of the SIV's last byte is flipped", "tampered", flip(20, 1))
		body += 16
	} else {
		damaged("nonce-first-bit", "a bit of the nonce's first byte is flipped", "tampered", flip(body, 0x80))
		damaged("nonce-last-bit", "a bit of the nonce's last byte is flipped", "tampered", flip(body+11, 1))
		damaged("tag-first-bit", "a bit of the tag's first byte is flipped", "tampered", flip(-16, 0x80))
		damaged("tag-last-bit", "a bit of the tag's last byte is flipped", "tampered", flip(-1, 1))
		body += 12
	}
	if s == Default {
		damaged("commitment-bit", "a bit of the encrypted commitment is flipped", "tampered", flip(body, 1))
		body += 32
	}
	damaged("text-first-bit", "a bit of the ciphertext's first byte is flipped", "tampered", flip(body, 0x80))
	damaged("text-last-bit", "a bit of the ciphertext's last byte is flipped", "tampered", flip(body+len(value)-1, 1))
	damaged("last-byte-missing", "the last byte is missing", "tampered", func(ct []byte) []byte { return ct[:len(ct)-1] })
	damaged("byte-appended", "a zero byte is appended", "tampered", func(ct []byte) []byte { return append(ct, 0) })
	damaged("byte-inserted", "a zero byte is inserted behind the key id", "tampered", func(ct []byte) []byte {
		return append(append(ct[:5:5], 0), ct[5:]...)
	})
	damaged("twice", "the ciphertext stands there twice", "tampered", func(ct []byte) []byte { return append(ct, ct...) })
	damaged("shorter-than-overhead", "one byte less than the empty value has", "truncated", func(ct []byte) []byte { return ct[:s.Overhead()-1] })
	damaged("prefix-only", "nothing follows the key id", "truncated", func(ct []byte) []byte { return ct[:5] })
	damaged("start-byte-only", "nothing follows the first byte", "truncated", func(ct []byte) []byte { return ct[:1] })
	damaged("no-bytes", "no bytes at all", "not encrypted", func([]byte) []byte { return nil })
	damaged("plaintext", "a plaintext where a ciphertext belongs", "not encrypted", func([]byte) []byte { return value })

	// Faults of the key.
	v = base.fail("another key has the id that is named", "tampered")
	v.Key = hexBytes(stream("another key", s.KeySize()))
	m.add(name("other-key-same-id"), v)
	v = base.fail("the same key under another id", "unknown key")
	v.ID = hexID(vectorID + 1)
	m.add(name("same-key-other-id"), v)
	for other := Default; other <= Deterministic; other++ {
		if other != s && other.KeySize() == s.KeySize() {
			long, _ := m.base(s, "opened as", stream("opened as", 100)) // no suite finds it too short
			v = long.fail(fmt.Sprintf("sealed with %s, opened with %s", s, other), "tampered")
			v.Suite = other.String()
			m.add(name("opened-as-"+other.String()), v)
		}
	}
}

// contextsOf opens in a place that the value wasn't sealed for.
func (m *vectorMaker) contextsOf(s Suite) {
	base, _ := m.base(s, "value", []byte("Grace Hopper <grace@example.com>"))
	if s == Deterministic {
		moved := func(n, about, ring, domain string) {
			v := base.fail(about, "tampered")
			v.Ring, v.Domain, v.ContextHex = ring, domain, hexBytes(refDeterministicContext(ring, domain))
			m.add(s.String()+"-"+n, v)
		}
		moved("other-ring", "opened in another ring", "other", "email")
		moved("other-domain", "opened in another domain", "main", "phone")
		moved("moved-boundary", "a byte moved from domain to ring", "maine", "mail")
	} else {
		moved := func(n, about string, change func(c *vectorContext)) {
			c := sampleContext()
			change(&c)
			v := base.fail(about, "tampered")
			v.Context, v.ContextHex = &c, hexBytes(c.encode())
			m.add(s.String()+"-"+n, v)
		}
		moved("other-ring", "opened in another ring", func(c *vectorContext) { c.Ring = "other" })
		moved("other-record", "opened in another record type", func(c *vectorContext) { c.Record = "customers" })
		moved("other-label", "opened in another field", func(c *vectorContext) { c.Path[0].Label = ptr("address") })
		moved("other-index", "opened at another index", func(c *vectorContext) { c.Path[1].Index = ptr(1) })
		moved("other-length", "opened in a slice of another length", func(c *vectorContext) { c.Path[1].Of = ptr(4) })
		moved("other-map-key", "opened under another map key", func(c *vectorContext) { c.Path[3].Key = ptr("work") })
		moved("key-as-label", "a map key became a label", func(c *vectorContext) { c.Path[3] = vectorElement{Label: ptr("home")} })
		moved("path-shorter", "the last step of the path is missing", func(c *vectorContext) { c.Path = c.Path[:3] })
		moved("other-row", "opened in another row", func(c *vectorContext) { c.Bind[0].Value = "43" })
		moved("other-bind-label", "a value is bound under another label", func(c *vectorContext) { c.Bind[0].Label = "ID" })
		moved("bind-missing", "a binding is missing", func(c *vectorContext) { c.Bind = c.Bind[:1] })
		moved("bind-swapped", "two bindings swapped their values", func(c *vectorContext) {
			c.Bind[0].Value, c.Bind[1].Value = c.Bind[1].Value, c.Bind[0].Value
		})
		moved("moved-boundary", "a byte moved from record to ring", func(c *vectorContext) { c.Ring, c.Record = "mainc", "ustomer" })
	}
	v := base.fail("a zero byte is appended to the context", "tampered")
	v.Context, v.Ring, v.Domain = nil, "", ""
	v.ContextHex += "00"
	m.add(s.String()+"-context-extended", v)
	v = base.fail("opened with the empty context", "tampered")
	v.Context, v.Ring, v.Domain, v.ContextHex = nil, "", "", ""
	m.add(s.String()+"-context-empty", v)
}

// commitments are ciphertexts that AES-GCM takes and Default must not.
func (m *vectorMaker) commitments() {
	const name = "xaes-256-gcm-commitment-"
	base, _ := m.base(Default, "commitment", nil)
	key, salt, nonce, aad := unhex(m.tb, base.Key), unhex(m.tb, base.Salt), unhex(m.tb, base.Nonce), unhex(m.tb, base.ContextHex)
	sub := refXAESKey(key, salt)
	text := func(n, about string, text []byte) {
		v := base.fail(about, "other-key commitment")
		v.set(frame(vectorID, salt, nonce, refGCM(sub, nonce, text, aad)))
		m.add(name+n, v)
	}
	text("first-byte", "the first byte of the commitment isn't zero", append([]byte{1}, make([]byte, 40)...))
	last := make([]byte, 40)
	last[31] = 0x80
	text("last-byte", "the last byte of the commitment isn't zero", last)
	text("missing", "a value of 40 bytes is sealed without a commitment", stream("no commitment", 40))
	short := base.fail("the text is one byte shorter than a commitment", "truncated")
	short.set(frame(vectorID, salt, nonce, refGCM(sub, nonce, make([]byte, 31), aad)))
	m.add(name+"short", short)

	// One ciphertext that is authentic under two keys and commits to the first.
	key2 := stream("second key", 32)
	sub2 := refXAESKey(key2, salt)
	ct := append(refCTR(sub, nonce, make([]byte, 32)), stream("two keys", 32)...)
	body := append(ct, craftTwoKeys(sub, sub2, nonce, ct, 3, aad)...)
	for i, k := range []struct {
		suite       Suite
		key, sub    []byte
		n, about    string
		wantFailure bool
	}{
		{Default, key, sub, "two-keys-first", "authentic under two keys; opened with the one that it commits to", false},
		{Default, key2, sub2, "two-keys-second", "authentic under two keys; opened with the other", true},
		{Compact, sub, sub, "two-keys-first", "authentic under two keys; opened with one of them: the suite doesn't commit", false},
		{Compact, sub2, sub2, "two-keys-second", "authentic under two keys; opened with the other: the suite doesn't commit", false},
	} {
		v := base.fail(k.about, "success")
		v.Suite, v.Key = k.suite.String(), hexBytes(k.key)
		out := refCTR(k.sub, nonce, body[:len(body)-16])
		if k.suite == Default {
			v.set(frame(vectorID, salt, nonce, body))
			out = out[32:]
		} else {
			v.set(frame(vectorID, nonce, body))
		}
		if v.Plaintext = hexBytes(out); k.wantFailure {
			v.Plaintext, v.Expect = "", "other-key commitment"
		}
		m.add([]string{name, name, "aes-256-gcm-", "aes-256-gcm-"}[i]+k.n, v)
	}
}

func (m *vectorMaker) texts() {
	add := func(n, about, text, expect string, ct []byte) {
		m.add("text-"+n, vector{About: about, Op: "text", Text: text, Expect: expect, Ciphertext: hexBytes(ct)})
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	add("all-bytes", "every byte once", refText(all), "success", all)
	add("no-bytes", "the text form of no bytes", "s1.", "success", nil)
	for n := 1; n <= 3; n++ {
		add(fmt.Sprintf("tail-%d", n), fmt.Sprintf("%d bytes", n), refText(all[250:250+n]), "success", all[250:250+n])
	}
	add("alphabet", "- and _ are the last two letters of the alphabet", "s1.----____", "success", []byte{0xfb, 0xef, 0xbe, 0xff, 0xff, 0xff})
	for _, c := range []struct{ n, about, text string }{
		{"padding-one", "padded with =", "s1.AQI="},
		{"padding-two", "padded with ==", "s1.AQ=="},
		{"padding-alone", "padding and nothing else", "s1.="},
		{"trailing-bits-two", "one of the two bits behind the last byte is set", "s1.AQJ"},
		{"trailing-bits-four", "one of the four bits behind the last byte is set", "s1.AR"},
		{"single-letter", "a last letter that makes no byte", "s1.AQIDA"},
		{"one-letter", "one letter", "s1.A"},
		{"standard-plus", "+ of the standard alphabet", "s1.AQ+A"},
		{"standard-slash", "/ of the standard alphabet", "s1.AQ/A"},
		{"line-feed", "a line feed inside", "s1.AQID\nBAUG"},
		{"line-feed-last", "a line feed at the end", "s1.AQID\n"},
		{"carriage-return", "a carriage return inside", "s1.AQID\rBAUG"},
		{"carriage-return-last", "a carriage return at the end", "s1.AQID\r"},
		{"only-line-feed", "a line feed for a body", "s1.\n"},
		{"space", "a space at the end", "s1.AQID "},
		{"tab", "a tab inside", "s1.AQ\tID"},
		{"nul", "a NUL at the end", "s1.AQID\x00"},
		{"not-ascii", "a letter that isn't ASCII", "s1.AQIÐ"},
		{"dot", "a second dot", "s1.AQID.BAUG"},
	} {
		add(c.n, c.about, c.text, "malformed", nil)
	}
	for _, c := range []struct{ n, about, text string }{
		{"empty-string", "the empty string", ""},
		{"no-dot", "the prefix without its dot", "s1"},
		{"other-version", "another version", "s2.AQID"},
		{"upper-case", "the prefix in upper case", "S1.AQID"},
		{"space-first", "a space in front", " s1.AQID"},
		{"byte-order-mark", "a byte order mark in front", "\ufeffs1.AQID"},
		{"no-prefix", "base64url without the prefix", "AQID"},
		{"plain", "plain text", "grace@example.com"},
	} {
		add(c.n, c.about, c.text, "not encrypted", nil)
	}
}

func (m *vectorMaker) contexts() {
	good := func(n, about string, c vectorContext) {
		m.add("context-"+n, vector{About: about, Op: "context", Context: &c, ContextHex: hexBytes(c.encode()), Expect: "success"})
	}
	bad := func(n, about string, b []byte) {
		m.add("context-"+n, vector{About: about, Op: "context", ContextHex: hexBytes(b), Expect: "invalid context"})
	}
	sample := sampleContext()
	good("sample", "every kind of part", sample)
	good("empty", "every part empty", vectorContext{})
	good("field", "a plain field of a record with one binding", vectorContext{Ring: "main", Record: "customer",
		Path: []vectorElement{{Label: ptr("email")}}, Bind: []vectorBinding{{"id", "42"}}})
	good("unbound", "no bindings", vectorContext{Ring: "main", Record: "note", Path: []vectorElement{{Label: ptr("text")}}})
	good("index-large", "a large index", vectorContext{Ring: "main", Record: "r",
		Path: []vectorElement{{Label: ptr("l")}, {Index: ptr(1<<31 - 2), Of: ptr(1<<31 - 1)}}})
	good("long-label", "a label of 200 bytes: its length takes two", vectorContext{Ring: "main", Record: "r",
		Path: []vectorElement{{Label: ptr(strings.Repeat("x", 200))}}})
	good("key-digits", "a map key that looks like an index", vectorContext{Ring: "main", Record: "r",
		Path: []vectorElement{{Label: ptr("l")}, {Key: ptr("3")}}})
	good("not-ascii", "UTF-8 in every part", vectorContext{Ring: "größe", Record: "客户",
		Path: []vectorElement{{Label: ptr("é")}, {Key: ptr("🔑")}}, Bind: []vectorBinding{{"ключ", "значение"}}})
	good("bind-order", "labels are sorted by bytes: upper case first, prefix first", vectorContext{Ring: "main", Record: "r",
		Bind: []vectorBinding{{"", "0"}, {"B", "1"}, {"a", "2"}, {"aa", "3"}, {"é", "4"}}})

	enc := sample.encode()
	bad("no-bytes", "no bytes", nil)
	bad("magic-only", "nothing but the magic", []byte("structseal/v1"))
	bad("magic", "another version in the magic", append([]byte("structseal/v2"), enc[13:]...))
	bad("cut", "the last byte is missing", enc[:len(enc)-1])
	bad("extended", "a zero byte is appended", append(bytes.Clone(enc), 0))
	head := append(append([]byte("structseal/v1"), refString("main")...), refString("r")...)
	after := func(tail ...byte) []byte { return append(bytes.Clone(head), tail...) }
	bad("number-not-shortest", "a count in two bytes where one does", after(0x81, 0, 1, 1, 'x', 0))
	bad("number-zero-not-shortest", "a count of zero in two bytes", after(0x80, 0, 0))
	bad("number-endless", "a count that doesn't end", after(0x80, 0x80))
	bad("number-65-bits", "an index of more than 64 bits", after(1, 2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2, 3, 0))
	bad("element-type-0", "a path element of type 0", after(1, 0, 1, 'x', 0))
	bad("element-type-4", "a path element of type 4", after(1, 4, 1, 'x', 0))
	bad("index-alone", "an index without a length", after(1, 2, 1))
	bad("path-count", "more path elements are announced than follow", after(2, 1, 1, 'x', 0))
	bad("path-count-huge", "a count that no input can hold", after(0xff, 0xff, 0xff, 0xff, 0x0f, 0))
	bad("label-length", "a label longer than the input", after(1, 1, 9, 'x', 0))
	bindings := func(n byte, labels ...string) []byte {
		out := after(0, n)
		for _, l := range labels {
			out = append(append(out, refString(l)...), refString("v")...)
		}
		return out
	}
	bad("bind-count", "more bindings are announced than follow", bindings(2, "a"))
	bad("bind-unsorted", "bindings out of order", bindings(2, "b", "a"))
	bad("bind-twice", "a label is bound twice", bindings(2, "a", "a"))
	bad("deterministic", "a deterministic context where a bound one belongs", refDeterministicContext("main", "email"))
	m.add("context-duplicate-label", vector{
		About: "a context that binds a label twice has no encoding", Op: "context", Expect: "invalid context",
		Context: &vectorContext{Ring: "main", Record: "r", Bind: []vectorBinding{{"a", "1"}, {"b", "2"}, {"a", "3"}}},
	})

	for _, c := range []struct{ n, ring, domain string }{
		{"plain", "main", "email"}, {"empty", "", ""}, {"moved-boundary", "maine", "mail"},
	} {
		m.add("deterministic-context-"+c.n, vector{
			About: "ring " + c.ring + ", domain " + c.domain, Op: "deterministic context", Ring: c.ring, Domain: c.domain,
			ContextHex: hexBytes(refDeterministicContext(c.ring, c.domain)), Expect: "success",
		})
	}
}

func (m *vectorMaker) keyChecks() {
	for _, c := range []struct {
		purpose string
		size    int
	}{
		{"xaes-256-gcm", 32}, {"aes-256-gcm", 32}, {"aes-256-siv", 64}, {"mac", 32}, {"index", 32},
	} {
		key := stream("check key", c.size)
		m.add("key-check-"+c.purpose, vector{
			About: "the check value of a key for " + c.purpose, Op: "key check", Purpose: c.purpose,
			Key: hexBytes(key), Output: hexBytes(refHKDF(key, "structseal/v1/check/"+c.purpose, 32)), Expect: "success",
		})
	}
}

func (m *vectorMaker) blindIndexes() {
	root := stream("index root", 32)
	add := func(n, about, value string, bits int, names ...string) {
		m.add("blind-index-"+n, vector{
			About: about, Op: "blind index", Key: hexBytes(root), Names: names, Bits: bits, Plaintext: hexBytes([]byte(value)),
			Output: hexBytes(refBlindIndex(root, names[0], names[1], names[2], names[3], value, bits)), Expect: "success",
		})
	}
	for _, bits := range []int{1, 7, 8, 9, 12, 20, 32, 255, 256} {
		add(fmt.Sprintf("%d-bits", bits), fmt.Sprintf("cut to %d bits", bits), "grace@example.com", bits, "main", "customer", "email", "email_eq")
	}
	add("empty", "the empty value", "", 256, "main", "customer", "email", "email_eq")
	add("other-field", "another field has another key", "grace@example.com", 256, "main", "customer", "phone", "email_eq")
	add("moved-boundary", "names with a moved boundary have another key", "grace@example.com", 256, "main", "customere", "mail", "email_eq")
	add("no-names", "every name empty", "grace@example.com", 256, "", "", "", "")
}
