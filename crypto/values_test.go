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
