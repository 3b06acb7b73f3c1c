package crypto

import (
	"bytes"
	"crypto/fips140"
	"encoding/binary"
	"errors"
	"testing"
)

// The seeds are the vectors. readVectors fails when there are none.

func FuzzParseText(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ct, err := ParseText([]byte("dst"), text)
		if err != nil {
			if ct != nil || !errors.Is(err, ErrNotEncrypted) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("%q: %x, %v", text, ct, err)
			}
			if IsText(text) {
				t.Fatalf("%q is a text that can't be parsed", text)
			}
			return
		}
		ct = bytes.TrimPrefix(ct, []byte("dst"))
		// One text for each ciphertext, by both implementations.
		if got := string(AppendText(nil, ct)); got != text || refText(ct) != text || TextLen(len(ct)) != len(text) {
			t.Fatalf("%q parses to %x, which is %q", text, ct, got)
		}
		if _, err := KeyID(ct); IsText(text) != (err == nil) {
			t.Fatalf("IsText(%q) is %v", text, IsText(text))
		}
	})
}

// FuzzOpen opens bytes that claim to be a ciphertext, in every way of giving
// dst. Only what the reference takes opens.
func FuzzOpen(f *testing.F) {
	var keys []*Key
	secrets := map[Suite][]byte{}
	for s := Default; s <= Deterministic; s++ {
		if s == Deterministic && fips140.Enforced() {
			continue
		}
		secrets[s] = stream("key "+s.String(), s.KeySize())
		keys = append(keys, newKey(f, s, vectorID, secrets[s]))
	}
	for _, v := range readVectors(f) {
		if v.Op == "open" {
			f.Add(unhex(f, v.Ciphertext), unhex(f, v.ContextHex))
		}
	}
	for _, g := range readGolden(f)[:60] {
		f.Add(g.ciphertext, g.context)
	}
	f.Fuzz(func(t *testing.T, ct, context []byte) {
		if len(ct) > 1000 || len(context) > 1000 {
			return // the reference is slow, and longer ones have nothing new
		}
		before, contextBefore := bytes.Clone(ct), bytes.Clone(context)
		for _, k := range keys {
			got, err := k.Open([]byte("dst"), ct, context)
			want, ok := refOpen(k.Suite(), vectorID, secrets[k.Suite()], ct, context)
			if (err == nil) != ok || ok && string(got) != "dst"+string(want) {
				t.Fatalf("%s opened %x to %x, %v; the reference: %x, %v", k.Suite(), ct, got, err, want, ok)
			}
			if err != nil && (got != nil ||
				!errors.Is(err, ErrTampered) && !errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrNotEncrypted)) {
				t.Fatalf("%s: %x, %v", k.Suite(), got, err)
			}
			if !bytes.Equal(ct, before) || !bytes.Equal(context, contextBefore) {
				t.Fatalf("%s changed its arguments", k.Suite())
			}
			inPlace := bytes.Clone(ct)
			got, err2 := k.OpenInPlace(inPlace, context)
			if (err2 == nil) != ok || ok && !bytes.Equal(got, want) {
				t.Fatalf("%s, in place: %x, %v", k.Suite(), got, err2)
			}
		}
	})
}

// refOpen opens with the second implementation.
func refOpen(s Suite, id uint32, key, ct, context []byte) ([]byte, bool) {
	if len(ct) < 5 || ct[0] != 1 || binary.BigEndian.Uint32(ct[1:]) != id {
		return nil, false
	}
	body := ct[5:]
	switch s {
	case Default:
		if len(body) < 12+12+32+16 {
			return nil, false
		}
		text, ok := refGCMOpen(refXAESKey(key, body[:12]), body[12:24], body[24:], context)
		if !ok || !bytes.Equal(text[:32], make([]byte, 32)) {
			return nil, false
		}
		return text[32:], true
	case Compact:
		if len(body) < 12+16 {
			return nil, false
		}
		return onlyIf(refGCMOpen(key, body[:12], body[12:], context))
	default:
		if len(body) < 16 {
			return nil, false
		}
		text := refSIVDecrypt(key, body)
		return onlyIf(text, bytes.Equal(refSIV(key, text, context), body))
	}
}

func onlyIf(text []byte, ok bool) ([]byte, bool) {
	if !ok {
		return nil, false
	}
	return text, true
}

func FuzzParseContext(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.ContextHex != "" {
			f.Add(unhex(f, v.ContextHex))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseContext(b)
		if err != nil {
			if !errors.Is(err, ErrContext) || c.Path != nil || c.Bind != nil || c.Ring+c.Record != "" {
				t.Fatalf("%x: %+v, %v", b, c, err)
			}
			return
		}
		if again, err := c.Append(nil); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x parses to %+v, which is %x, %v", b, c, again, err)
		}
	})
}

// FuzzContext makes two contexts from the same bytes cut in different places.
func FuzzContext(f *testing.F) {
	f.Add("main", "customer", "email", "id", "42", uint64(1), uint64(2), uint8(3))
	f.Add("", "", "", "", "", uint64(0), uint64(0), uint8(0))
	f.Add("\x00", "\x01\x01", "\x02", "a", "\xff", uint64(1<<63), uint64(127), uint8(255))
	f.Fuzz(func(t *testing.T, ring, record, step, label, value string, i, n uint64, shape uint8) {
		a := Context{Ring: ring, Record: record}
		for j := range shape & 3 {
			switch shape >> (2 + j) & 3 {
			case 0:
				a.Path = append(a.Path, Label(step))
			case 1:
				a.Path = append(a.Path, MapKey(step))
			default:
				a.Path = append(a.Path, Index(int(i), int(n)))
			}
		}
		if shape&0x80 != 0 {
			a.Bind = []Binding{{label, value}}
		}
		enc, err := a.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseContext(enc)
		if err != nil || !sameContext(a, back) {
			t.Fatalf("%+v came back as %+v, %v", a, back, err)
		}
		joined := ring + record + step + label + value
		at := int(i % uint64(len(joined)+1))
		b := a
		b.Ring, b.Record = joined[:at], joined[at:]
		encB, err := b.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if sameContext(a, b) != bytes.Equal(enc, encB) {
			t.Fatalf("%+v and %+v encode to %x and %x", a, b, enc, encB)
		}
		if det := DeterministicContext(nil, ring, record); bytes.Equal(det, enc) {
			t.Fatalf("%+v is a deterministic context too", a)
		} else if _, err := ParseContext(det); err == nil {
			t.Fatalf("%x parses", det)
		}
	})
}
