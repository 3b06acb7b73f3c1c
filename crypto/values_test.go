package crypto

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"fmt"
	"testing"
)

// What SealAll makes of values opens one by one, each under its own context, however
// many there are, and leaves what was in dst. SealAllText makes the texts of it.
func TestSealAll(t *testing.T) {
	for _, suite := range []Suite{Default, Compact, Deterministic} {
		if suite == Deterministic && fips140.Enforced() {
			continue
		}
		k := newKey(t, suite, 7, testSecret(suite))
		for _, n := range []int{0, 1, 2, 5, sealerNonces, sealerNonces + 1, 100} {
			for _, dst := range [][]byte{nil, []byte("dst"), append(make([]byte, 0, 1<<16), "dst"...)} {
				for _, text := range []bool{false, true} {
					values := make([]Value, n)
					plain := make([][]byte, n)
					for i := range n {
						plain[i] = stream("plain", i*7%60)
						values[i] = Value{bytes.Clone(plain[i]), fmt.Appendf(nil, "context %d", i)}
					}
					var s Sealer
					sealAll := s.SealAll
					if text {
						sealAll = s.SealAllText
					}
					out, err := sealAll(k, dst, values)
					if err != nil || !bytes.HasPrefix(out, dst) {
						t.Fatalf("%v, %d values: %v", suite, n, err)
					}
					out = out[len(dst):]
					for i, v := range values {
						size := len(plain[i]) + suite.Overhead()
						if text {
							size = TextLen(size)
						}
						ct := out[:size]
						out = out[size:]
						if text {
							if ct, err = ParseText(nil, string(ct)); err != nil {
								t.Fatal(err)
							}
						}
						if !bytes.Equal(v.Text, plain[i]) {
							t.Fatalf("%v: plaintext %d was changed", suite, i)
						}
						if got, err := k.Open(nil, ct, v.Context); err != nil || !bytes.Equal(got, plain[i]) {
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

// OpenAll opens what Open opens, of any suite, behind whatever dst holds and however much
// room it has, and leaves no plaintext when one value doesn't open.
func TestOpenAll(t *testing.T) {
	for _, suite := range []Suite{Default, Compact, Deterministic} {
		if suite == Deterministic && fips140.Enforced() {
			continue
		}
		k := newKey(t, suite, 7, testSecret(suite))
		total := 0
		sealed := func(sizes ...int) (values []Value) {
			total = 0
			for i, n := range sizes {
				context := fmt.Appendf(nil, "context %d", i)
				values = append(values, Value{mustSeal(t, k, stream("plain", n), context), context})
				total += n
			}
			return values
		}
		for _, sizes := range [][]int{{}, {0}, {0, 0, 1}, {20, 21, 22, 23, 24}, {1, 100, 3, 40000, 2}, make([]int, 50)} {
			for _, room := range []int{-1, 0, 1, 31, 32, 33, 1000} {
				values := sealed(sizes...)
				given := make([][]byte, len(values))
				for i, v := range values {
					given[i] = bytes.Clone(v.Text)
				}
				memory := append(make([]byte, 0, 3+max(total+room, 0)), "dst"...)
				out, err := k.OpenAll(memory, values)
				if err != nil || string(out[:3]) != "dst" || len(out) != 3+total {
					t.Fatalf("%v: %d bytes, %v", suite, len(out), err)
				}
				if room >= 0 && &out[0] != &memory[0] {
					t.Errorf("%v: there was room for %d bytes more", suite, room)
				}
				if !bytes.Equal(out[len(out):cap(out)], make([]byte, cap(out)-len(out))) {
					t.Errorf("%v: something is left behind the plaintexts", suite)
				}
				rest := out[3:]
				for i, v := range values {
					if !bytes.Equal(rest[:sizes[i]], stream("plain", sizes[i])) {
						t.Errorf("%v: value %d of %d bytes is another", suite, i, sizes[i])
					}
					rest = rest[sizes[i]:]
					if !bytes.Equal(v.Text, given[i]) {
						t.Errorf("%v: ciphertext %d was changed", suite, i)
					}
				}
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
				for _, room := range []int{0, 32} {
					values := sealed(20, 21, 22, 23, 24)
					breaks.f(&values[bad])
					memory := append(make([]byte, 0, 3+total+room), "dst"...)
					if out, err := k.OpenAll(memory, values); out != nil || !errors.Is(err, breaks.want) {
						t.Errorf("%v: %s: %v", suite, name, err)
					}
					if string(memory) != "dst" || !bytes.Equal(memory[3:cap(memory)], make([]byte, cap(memory)-3)) {
						t.Errorf("%v: %s: a plaintext is left: %q", suite, name, memory[:cap(memory)])
					}
				}
			}
		}
		values := sealed(20, 21)
		k.Wipe()
		if out, err := k.OpenAll(nil, values); out != nil || !errors.Is(err, ErrWiped) {
			t.Errorf("%v: wiped: %v", suite, err)
		}
		if _, err := k.OpenAll(nil, nil); err != nil {
			t.Errorf("%v: nothing: %v", suite, err)
		}
	}
	if out, err := new(Key).OpenAll(nil, make([]Value, 1)); out != nil || !errors.Is(err, ErrWiped) {
		t.Errorf("no key: %v", err)
	}
}

// A key commitment that isn't there is seen in every place of a record, and what was
// opened goes.
func TestOpenAllCommitment(t *testing.T) {
	k := newKey(t, Default, 7, testSecret(Default))
	for bad := range 3 {
		var values []Value
		for i := range 3 {
			ct := mustSeal(t, k, stream("plain", 20), nil)
			if i == bad {
				// As mustSeal does it, with ones where zeros belong.
				g, err := k.load().live.Load().xaes.gcmOf((*[saltSize]byte)(ct[prefixSize:]))
				if err != nil {
					t.Fatal(err)
				}
				const at = prefixSize + saltSize
				text := append(bytes.Repeat([]byte{1}, commitSize), stream("plain", 20)...)
				g.seal(ct, at, text, nil)
			}
			values = append(values, Value{Text: ct})
		}
		memory := make([]byte, 0, 1000)
		if _, err := k.OpenAll(memory, values); !errors.Is(err, ErrTampered) {
			t.Errorf("%d: %v", bad, err)
		}
		if !bytes.Equal(memory[:cap(memory)], make([]byte, cap(memory))) {
			t.Errorf("%d: a plaintext is left", bad)
		}
	}
}

// A Sealer that seals no more keeps no subkey and no randomness, whatever became of its
// last call.
func TestSealAllLeavesNothing(t *testing.T) {
	down := errors.New("the store is down")
	for _, suite := range []Suite{Default, Compact} {
		for _, n := range []int{1, 5, sealerNonces, sealerNonces + 1, 100} {
			k := newKey(t, suite, 7, testSecret(suite))
			var fails func() error
			k.Meter(func(used uint64) (uint64, error) {
				if fails != nil {
					return 0, fails()
				}
				return used, nil
			})
			var s Sealer
			empty := func(when string) {
				if r := s.r(); r.w != nil || r.unused != 0 || r.left != 0 || r.want != 0 {
					t.Errorf("%v: %d values, %s: subkey %v, %d bytes of randomness, %d values left, %d wanted", suite, n, when, r.w != nil, r.unused, r.left, r.want)
				}
			}
			for range 3 {
				if _, err := s.SealAllText(k, nil, make([]Value, n)); err != nil {
					t.Fatal(err)
				}
				empty("sealed")
			}
			if suite != Compact {
				continue
			}
			before := k.Messages()
			fails = func() error { return down }
			if _, err := s.SealAll(k, nil, make([]Value, n)); !errors.Is(err, down) {
				t.Errorf("%v", err)
			}
			empty("failed")
			fails = func() error { panic(down) }
			func() {
				defer func() {
					if recover() != down {
						t.Error("no panic")
					}
				}()
				s.SealAllText(k, nil, make([]Value, n))
			}()
			empty("panicked")
			fails = nil
			panicked := k.Messages() // a panic may leave some counted
			if _, err := s.SealAll(k, nil, make([]Value, 1)); err != nil {
				t.Fatal(err)
			}
			empty("one more")
			if got := k.Messages() - panicked; got != 1 || panicked < before {
				t.Errorf("%v: %d values: one counted as %d", suite, n, got)
			}
		}
	}
}
