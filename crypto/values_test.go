package crypto

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"fmt"
	"testing"
)

// What SealAll makes of values opens one by one, each under its own context, however
// many there are, and leaves what was in dst.
func TestSealAll(t *testing.T) {
	for _, suite := range []Suite{Default, Compact, Deterministic} {
		if suite == Deterministic && fips140.Enforced() {
			continue
		}
		k := newKey(t, suite, 7, testSecret(suite))
		for _, n := range []int{0, 1, 2, 5, sealerNonces, sealerNonces + 1, 100} {
			for _, dst := range [][]byte{nil, []byte("dst"), append(make([]byte, 0, 1<<16), "dst"...)} {
				var values []Value
				for i := range n {
					values = append(values, Value{stream("plain", i*7%60), fmt.Appendf(nil, "context %d", i)})
				}
				var s Sealer
				out, err := s.SealAll(k, dst, values)
				if err != nil || !bytes.HasPrefix(out, dst) {
					t.Fatalf("%v, %d values: %v", suite, n, err)
				}
				out = out[len(dst):]
				for i, v := range values {
					ct := out[:len(v.Text)+suite.Overhead()]
					out = out[len(ct):]
					if !bytes.Equal(v.Text, stream("plain", i*7%60)) {
						t.Fatalf("%v: plaintext %d was changed", suite, i)
					}
					if got, err := k.Open(nil, ct, v.Context); err != nil || !bytes.Equal(got, v.Text) {
						t.Fatalf("%v: value %d of %d: %x, %v", suite, i, n, got, err)
					}
					if _, err := k.Open(nil, ct, []byte("another")); !errors.Is(err, ErrTampered) {
						t.Fatalf("%v: value %d opens in another place: %v", suite, i, err)
					}
				}
				if len(out) != 0 {
					t.Fatalf("%v: %d bytes more", suite, len(out))
				}
			}
		}
	}
}

// A key that was wiped, an allowance that is used up, and no key at all seal nothing.
func TestSealAllRefuses(t *testing.T) {
	values := []Value{{[]byte("a"), nil}, {[]byte("b"), nil}}
	if out, err := new(Sealer).SealAll(nil, nil, values); out != nil || !errors.Is(err, ErrWiped) {
		t.Errorf("without a key: %x, %v", out, err)
	}
	for _, suite := range []Suite{Default, Compact} {
		k := newKey(t, suite, 7, testSecret(suite))
		var s Sealer
		k.Wipe()
		if out, err := s.SealAll(k, []byte("dst"), values); out != nil || !errors.Is(err, ErrWiped) {
			t.Errorf("%v: wiped: %x, %v", suite, out, err)
		}
	}
	k := newKey(t, Compact, 7, testSecret(Compact))
	k.Meter(func(used uint64) (uint64, error) { return 5, nil })
	var s Sealer
	for sealed := 0; ; sealed += 2 {
		_, err := s.SealAll(k, nil, values)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrExhausted) || sealed != 4 {
			t.Errorf("after %d of 5 messages: %v", sealed, err)
		}
		break
	}
}

// A Reset that announces the values of several records provides for them together: one
// read of randomness for up to 16 values. No nonce is used twice, and Drop leaves none.
func TestSealAllOfSeveral(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("the mode makes its own nonces")
	}
	for _, suite := range []Suite{Default, Compact} {
		k := newKey(t, suite, 7, testSecret(suite))
		nonce := suite.Headroom() - nonceSize // where it is in a frame
		if suite == Default {
			nonce -= commitSize
		}
		var s Sealer
		if err := s.Reset(k, 20); err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for record, unused := range []int{11, 6, 1, 0} { // 16 nonces, then those of the last five
			out, err := s.SealAll(k, nil, make([]Value, 5))
			if err != nil {
				t.Fatal(err)
			}
			for ; len(out) > 0; out = out[suite.Overhead():] {
				if _, err := k.Open(nil, out[:suite.Overhead()], nil); err != nil {
					t.Fatal(err)
				}
				seen[string(out[nonce:][:nonceSize])] = true
			}
			if s.r().unused != unused*nonceSize {
				t.Errorf("%v: record %d leaves %d bytes of randomness", suite, record, s.r().unused)
			}
		}
		if len(seen) != 20 {
			t.Errorf("%v: %d nonces for 20 values", suite, len(seen))
		}
		other := newKey(t, suite, 8, testSecret(suite))
		if err := s.Reset(k, 20); err != nil {
			t.Fatal(err)
		}
		for _, key := range []*Key{k, other} { // announced for the one, and not for the other
			out, err := s.SealAll(key, nil, make([]Value, 5))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := key.Open(nil, out[:suite.Overhead()], nil); err != nil {
				t.Error(err)
			}
		}
		s.Reset(k, 20)
		s.SealAll(k, nil, make([]Value, 5))
		s.Drop()
		if s.r().unused != 0 || s.r().random != [sealerNonces * nonceSize]byte{} {
			t.Errorf("%v: randomness is left", suite)
		}
		if _, err := s.Seal(nil, nil, nil); !errors.Is(err, ErrWiped) {
			t.Errorf("%v: after Drop: %v", suite, err)
		}
	}
	new(Sealer).Drop()
}

// OpenAll opens what OpenInPlace opens, of any suite, and clears everything when one value
// doesn't open.
func TestOpenAll(t *testing.T) {
	for _, suite := range []Suite{Default, Compact, Deterministic} {
		if suite == Deterministic && fips140.Enforced() {
			continue
		}
		k := newKey(t, suite, 7, testSecret(suite))
		sealed := func() (values []Value) {
			for i := range 5 {
				context := fmt.Appendf(nil, "context %d", i)
				values = append(values, Value{mustSeal(t, k, stream("plain", 20+i), context), context})
			}
			return values
		}
		values := sealed()
		if err := k.OpenAll(values); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			if !bytes.Equal(v.Text, stream("plain", 20+i)) {
				t.Errorf("%v: value %d: %q", suite, i, v.Text)
			}
		}
		for bad := range 5 {
			for name, breaks := range map[string]struct {
				f    func(*Value)
				want error
			}{
				"changed":     {func(v *Value) { v.Text[len(v.Text)-1] ^= 1 }, ErrTampered},
				"elsewhere":   {func(v *Value) { v.Context = nil }, ErrTampered},
				"cut":         {func(v *Value) { v.Text = v.Text[:prefixSize+1] }, ErrTruncated},
				"another key": {func(v *Value) { v.Text[4]++ }, ErrUnknownKey},
				"plaintext":   {func(v *Value) { v.Text = []byte("plain") }, ErrNotEncrypted},
			} {
				values := sealed()
				breaks.f(&values[bad])
				if err := k.OpenAll(values); !errors.Is(err, breaks.want) {
					t.Errorf("%v: %s: %v", suite, name, err)
				}
				for i, v := range values[:bad] {
					if !bytes.Equal(v.Text, make([]byte, 20+i)) {
						t.Errorf("%v: %s: plaintext %d is left", suite, name, i)
					}
				}
			}
		}
		values = sealed()
		k.Wipe()
		if err := k.OpenAll(values); !errors.Is(err, ErrWiped) {
			t.Errorf("%v: wiped: %v", suite, err)
		}
		if err := k.OpenAll(nil); err != nil {
			t.Errorf("%v: nothing: %v", suite, err)
		}
	}
	if err := new(Key).OpenAll(make([]Value, 1)); !errors.Is(err, ErrWiped) {
		t.Errorf("no key: %v", err)
	}
}
