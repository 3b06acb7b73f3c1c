package crypto

import (
	"bytes"
	"errors"
	"sync"
	"testing"
)

func newIndexKey(tb testing.TB, names ...string) *BlindIndexKey {
	tb.Helper()
	k, err := DeriveBlindIndexKey(stream("index root", 32), names[0], names[1], names[2], names[3])
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// A shorter tag is the front of a longer one, with the spare bits zero.
func TestBlindIndexBits(t *testing.T) {
	k := newIndexKey(t, "main", "customer", "email", "eq")
	full, err := k.Append(nil, []byte("value"), 256)
	if err != nil || len(full) != 32 {
		t.Fatalf("%x, %v", full, err)
	}
	for bits := 1; bits <= 256; bits++ {
		tag, err := k.Append(nil, []byte("value"), bits)
		if err != nil || len(tag) != (bits+7)/8 {
			t.Fatalf("%d bits: %x, %v", bits, tag, err)
		}
		for i := range 8 * len(tag) {
			got, want := tag[i/8]>>(7-i%8)&1, full[i/8]>>(7-i%8)&1
			if i >= bits {
				want = 0
			}
			if got != want {
				t.Fatalf("%d bits: bit %d of %x", bits, i, tag)
			}
		}
	}
	for _, bits := range []int{-1, 0, 257, 1 << 20} {
		if tag, err := k.Append([]byte("dst"), nil, bits); !errors.Is(err, ErrInvalidKey) || tag != nil {
			t.Errorf("%d bits: %x, %v", bits, tag, err)
		}
	}
}

// Names that differ anywhere, also by a moved boundary, have different keys.
func TestBlindIndexNames(t *testing.T) {
	seen := map[string][]string{}
	for _, names := range [][]string{
		{"main", "customer", "email", "eq"},
		{"other", "customer", "email", "eq"},
		{"main", "order", "email", "eq"},
		{"main", "customer", "phone", "eq"},
		{"main", "customer", "email", "prefix"},
		{"mainc", "ustomer", "email", "eq"},
		{"main", "customere", "mail", "eq"},
		{"main", "customer", "emaile", "q"},
		{"", "main", "customer", "emaileq"},
		{"maincustomeremaileq", "", "", ""},
	} {
		tag, err := newIndexKey(t, names...).Append(nil, []byte("value"), 256)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[string(tag)]; ok {
			t.Errorf("%q and %q share a key", names, other)
		}
		seen[string(tag)] = names
	}
}

func TestBlindIndexRefuses(t *testing.T) {
	for _, root := range [][]byte{nil, make([]byte, 31), bytes.Repeat([]byte{1}, 33), make([]byte, 32)} {
		if k, err := DeriveBlindIndexKey(root, "a", "b", "c", "d"); !errors.Is(err, ErrInvalidKey) || k != nil {
			t.Errorf("a root of %d bytes: %v", len(root), err)
		}
	}
	for _, k := range []*BlindIndexKey{nil, {}} {
		if _, err := k.Append(nil, nil, 8); !errors.Is(err, ErrInvalidKey) {
			t.Errorf("zero key: %v", err)
		}
		k.Wipe()
	}
}

// A wiped key makes no tags, not those of a key of zeros, also through a copy
// and while it is in use.
func TestBlindIndexWipe(t *testing.T) {
	for range 100 {
		k := newIndexKey(t, "main", "customer", "email", "eq")
		want, err := k.Append(nil, []byte("value"), 256)
		if err != nil {
			t.Fatal(err)
		}
		twin := *k
		key := k.state().key
		var wg sync.WaitGroup
		wg.Go(func() {
			got, err := twin.Append(nil, []byte("value"), 256)
			if err == nil && !bytes.Equal(got, want) || err != nil && !errors.Is(err, ErrWiped) {
				t.Errorf("%x, %v", got, err)
			}
		})
		wg.Go(k.Wipe)
		wg.Go(k.Wipe)
		wg.Wait()
		for _, k := range []*BlindIndexKey{k, &twin} {
			if _, err := k.Append(nil, []byte("value"), 256); !errors.Is(err, ErrWiped) {
				t.Errorf("after Wipe: %v", err)
			}
		}
		if !bytes.Equal(key, make([]byte, 32)) {
			t.Error("key bytes are left")
		}
	}
}
