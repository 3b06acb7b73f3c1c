package crypto

import (
	"bytes"
	"crypto/fips140"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/structseal/structseal/internal/secretaccess"
)

// testSecret is the key bytes of a test: recognisable, different per suite.
func testSecret(s Suite) []byte {
	secret := make([]byte, s.KeySize())
	for i := range secret {
		secret[i] = byte(i) ^ byte(s)<<6 | 1
	}
	return secret
}

// eachSuite runs a test with a key of every suite that the mode allows.
func eachSuite(t *testing.T, test func(t *testing.T, k *Key)) {
	for s := Default; s <= Deterministic; s++ {
		t.Run(s.String(), func(t *testing.T) { test(t, newKey(t, s, 0x01020304, testSecret(s))) })
	}
}

func mustSeal(tb testing.TB, k *Key, plaintext, context []byte) []byte {
	tb.Helper()
	ct, err := k.Seal(nil, plaintext, context)
	if err != nil {
		tb.Fatal(err)
	}
	return ct
}

// What the package seals is what the specification says for the salt and nonce
// that it drew, at every length around the block size.
func TestSealMatchesReference(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		for n := range 100 {
			plaintext, context := make([]byte, n), make([]byte, (n*7)%61)
			rand.Read(plaintext)
			rand.Read(context)
			ct := mustSeal(t, k, plaintext, context)
			var salt, nonce []byte
			switch k.Suite() {
			case Default:
				salt, nonce = ct[5:17], ct[17:29]
			case Compact:
				nonce = ct[5:17]
			}
			want := refSeal(k.Suite(), k.ID(), testSecret(k.Suite()), salt, nonce, plaintext, context)
			if !bytes.Equal(ct, want) {
				t.Fatalf("%d bytes: sealed to\n%x, want\n%x", n, ct, want)
			}
			if len(ct) != n+k.Suite().Overhead() {
				t.Fatalf("%d bytes: overhead %d", n, len(ct)-n)
			}
			if got, err := k.Open(nil, want, context); err != nil || !bytes.Equal(got, plaintext) {
				t.Fatalf("%d bytes: opened to %x, %v", n, got, err)
			}
		}
	})
}

func TestNewKeyRefuses(t *testing.T) {
	for s := Default; s <= Deterministic; s++ {
		t.Run(s.String(), func(t *testing.T) {
			good := testSecret(s)
			for name, make := range map[string]func() (*Key, error){
				"no bytes":     func() (*Key, error) { return NewKey(s, 1, nil) },
				"one too few":  func() (*Key, error) { return NewKey(s, 1, good[1:]) },
				"one too many": func() (*Key, error) { return NewKey(s, 1, append(good, 1)) },
				"id 0":         func() (*Key, error) { return NewKey(s, 0, good) },
				"all zero":     func() (*Key, error) { return NewKey(s, 1, make([]byte, len(good))) },
			} {
				if k, err := make(); !errors.Is(err, ErrInvalidKey) || k != nil {
					t.Errorf("%s: %v, %v", name, k, err)
				}
			}
		})
	}
	for _, s := range []Suite{0, Deterministic + 1, 255} {
		if k, err := NewKey(s, 1, make([]byte, 32)); !errors.Is(err, ErrInvalidKey) || k != nil {
			t.Errorf("%s: %v, %v", s, k, err)
		}
	}
}

// The key has its own copy of the secret, and hands out copies.
func TestKeyCopiesSecret(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		secret := testSecret(k.Suite())
		mine := bytes.Clone(secret)
		k, err := NewKey(k.Suite(), k.ID(), mine)
		if err != nil {
			t.Fatal(err)
		}
		before := mustSeal(t, k, []byte("value"), nil)
		clear(mine)
		for range 2 {
			out, err := k.Secret(secretaccess.Grant())
			if err != nil || !bytes.Equal(out, secret) {
				t.Fatalf("secret is %x, %v", out, err)
			}
			clear(out)
		}
		if got, err := k.Open(nil, before, nil); err != nil || string(got) != "value" {
			t.Errorf("opened to %q, %v", got, err)
		}
		fresh := newKey(t, k.Suite(), k.ID(), secret)
		if got, err := fresh.Open(nil, mustSeal(t, k, []byte("value"), nil), nil); err != nil || string(got) != "value" {
			t.Errorf("sealed with other bytes: %v", err)
		}
	})
}

func TestSuiteNames(t *testing.T) {
	want := []struct {
		name              string
		keySize, overhead int
	}{{"xaes-256-gcm", 32, 77}, {"aes-256-gcm", 32, 33}, {"aes-256-siv", 64, 21}}
	for i, w := range want {
		s := Suite(i + 1)
		if s.String() != w.name || s.KeySize() != w.keySize || s.Overhead() != w.overhead {
			t.Errorf("%d is %s, %d, %d", s, s, s.KeySize(), s.Overhead())
		}
		if got, err := ParseSuite(w.name); got != s || err != nil {
			t.Errorf("parsed %q to %v, %v", w.name, got, err)
		}
	}
	for _, name := range []string{"", "default", "XAES-256-GCM", "aes-256-gcm ", "Suite(0)"} {
		if s, err := ParseSuite(name); err == nil || s != 0 {
			t.Errorf("parsed %q to %v", name, s)
		}
	}
	for _, s := range []Suite{0, 4} {
		if s.String() != fmt.Sprintf("Suite(%d)", uint8(s)) || s.KeySize() != 0 || s.Overhead() != 0 {
			t.Errorf("%d is %s, %d, %d", uint8(s), s, s.KeySize(), s.Overhead())
		}
	}
}

func TestZeroKey(t *testing.T) {
	for _, k := range []*Key{nil, {}} {
		if _, err := k.Seal(nil, nil, nil); !errors.Is(err, ErrWiped) {
			t.Errorf("Seal: %v", err)
		}
		if _, err := k.Open(nil, make([]byte, 100), nil); !errors.Is(err, ErrWiped) {
			t.Errorf("Open: %v", err)
		}
		if _, err := k.Secret(secretaccess.Grant()); !errors.Is(err, ErrWiped) {
			t.Errorf("Secret: %v", err)
		}
		var s Sealer
		if err := s.Reset(k, 1); !errors.Is(err, ErrWiped) {
			t.Errorf("Reset: %v", err)
		}
		if k.ID() != 0 || k.Suite() != 0 || k.Check() != [CheckSize]byte{} {
			t.Error("a zero key says it is one")
		}
		k.Wipe()
	}
}

func TestWipe(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		ct := mustSeal(t, k, []byte("value"), nil)
		var s Sealer
		if err := s.Reset(k, 8); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Seal(nil, []byte("value"), nil); err != nil {
			t.Fatal(err)
		}
		st := k.load()
		live, secret := st.live.Load(), st.secret
		k.Wipe()
		k.Wipe()
		if _, err := k.Seal(nil, []byte("value"), nil); !errors.Is(err, ErrWiped) {
			t.Errorf("Seal: %v", err)
		}
		if _, err := s.Seal(nil, []byte("value"), nil); !errors.Is(err, ErrWiped) {
			t.Errorf("Sealer.Seal, begun before: %v", err)
		}
		if err := s.Reset(k, 1); !errors.Is(err, ErrWiped) {
			t.Errorf("Sealer.Reset: %v", err)
		}
		if _, err := k.Open(nil, ct, nil); !errors.Is(err, ErrWiped) {
			t.Errorf("Open: %v", err)
		}
		if _, err := k.Secret(secretaccess.Grant()); !errors.Is(err, ErrWiped) {
			t.Errorf("Secret: %v", err)
		}
		left := secret
		switch k.Suite() {
		case Default:
			x := live.xaes
			left = append(left, x.k1[:]...)
			if x.writing.Load() != nil || x.reads.first.Load() != nil || x.reads.slots.Load() != nil || x.block != nil {
				t.Error("subkeys or the key schedule are still held")
			}
		case Deterministic:
			left = append(left, live.siv.key...)
		}
		if !bytes.Equal(left, make([]byte, len(left))) {
			t.Errorf("key bytes are left: %x", left)
		}
		if k.ID() != 0x01020304 || k.Check() != [CheckSize]byte{} {
			t.Error("a wiped key forgot its id, or knows its bytes")
		}
	})
}

// A call that races with Wipe fails or does its job. Sealing under a half-wiped
// key would lose the value.
func TestWipeRaces(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		for range 100 {
			k, err := NewKey(k.Suite(), k.ID(), testSecret(k.Suite()))
			if err != nil {
				t.Fatal(err)
			}
			reader := newKey(t, k.Suite(), k.ID(), testSecret(k.Suite()))
			// Salts that k has not seen, so that opening derives.
			var cold [][]byte
			for range 8 {
				fresh := newKey(t, k.Suite(), k.ID(), testSecret(k.Suite()))
				cold = append(cold, mustSeal(t, fresh, []byte("value"), nil))
			}
			start := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				<-start
				for _, ct := range cold {
					if got, err := k.Open(nil, ct, nil); err == nil && string(got) != "value" || err != nil && !errors.Is(err, ErrWiped) {
						t.Errorf("opened to %q, %v", got, err)
					}
				}
			})
			wg.Go(func() {
				<-start
				ct, err := k.Seal(nil, []byte("value"), nil)
				if errors.Is(err, ErrWiped) {
					return
				}
				if got, err := reader.Open(nil, ct, nil); err != nil || string(got) != "value" {
					t.Errorf("what was sealed during Wipe is lost: %v", err)
				}
			})
			wg.Go(func() {
				<-start
				if b, err := k.Secret(secretaccess.Grant()); err == nil && !bytes.Equal(b, testSecret(k.Suite())) {
					t.Errorf("half-wiped secret %x", b)
				}
			})
			wg.Go(func() {
				<-start
				k.Wipe()
			})
			close(start)
			wg.Wait()
		}
	})
}

// A derivation under way in a wiped key fails; it doesn't use cleared bytes.
func TestDeriveAfterWipe(t *testing.T) {
	x := new(xaes)
	err := x.init(testSecret(Default))
	if err != nil {
		t.Fatal(err)
	}
	x.wipe()
	if _, err := x.reserve(1); !errors.Is(err, ErrWiped) {
		t.Errorf("reserve: %v", err)
	}
	if _, err := x.reading(new([saltSize]byte)); !errors.Is(err, ErrWiped) {
		t.Errorf("reading: %v", err)
	}
}

func TestSIVAfterWipe(t *testing.T) {
	skipUnapproved(t, Deterministic)
	siv, err := newSIV(testSecret(Deterministic))
	if err != nil {
		t.Fatal(err)
	}
	siv.wipe()
	if _, err := siv.seal(nil, nil); !errors.Is(err, ErrWiped) {
		t.Errorf("seal: %v", err)
	}
	if _, err := siv.open(make([]byte, 16), nil); !errors.Is(err, ErrWiped) {
		t.Errorf("open: %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				context := fmt.Append(nil, g)
				for i := range 400 {
					plaintext := fmt.Append(nil, g, i)
					ct, err := k.Seal(nil, plaintext, context)
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := k.Open(nil, ct, context); err != nil || !bytes.Equal(got, plaintext) {
						t.Errorf("opened to %q, %v", got, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestTooLarge(t *testing.T) {
	if MaxPlaintext != 64<<30-64 {
		t.Errorf("MaxPlaintext is %d", MaxPlaintext)
	}
	for s := Default; s <= Deterministic; s++ {
		for _, v := range []struct {
			dst, plaintext int64
			ok             bool
		}{
			{0, 0, true},
			{0, MaxPlaintext, true},
			{0, MaxPlaintext + 1, false},
			{math.MaxInt - 176, 100, false}, // the frame would wrap around
			{math.MaxInt - 200, 100, true},
		} {
			if v.plaintext > math.MaxInt {
				continue // no slice is that long on a 32-bit machine
			}
			too := tooLarge(s, int(v.dst), int(v.plaintext))
			if v.plaintext == 100 && s != Default {
				continue // less overhead, other bounds
			}
			if too == v.ok {
				t.Errorf("%s: %d bytes behind %d: too large is %v", s, v.plaintext, v.dst, too)
			}
		}
	}
	if err := errTooLarge(1); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestErrorsHoldNoData(t *testing.T) {
	eachSuite(t, func(t *testing.T, k *Key) {
		ct := mustSeal(t, k, []byte("a plaintext to look for"), nil)
		ct[len(ct)-1]++
		_, err := k.Open(nil, ct, nil)
		other := newKey(t, k.Suite(), 9, testSecret(k.Suite()))
		_, err2 := other.Open(nil, ct, nil)
		for _, err := range []error{err, err2} {
			if s := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(s, "plaintext to") {
				t.Error(s)
			}
		}
		if errors.Is(err2, ErrTampered) || !errors.Is(err2, ErrUnknownKey) {
			t.Errorf("%v", err2)
		}
	})
}

func TestKeyID(t *testing.T) {
	frame := make([]byte, 21)
	frame[0] = 1
	binary.BigEndian.PutUint32(frame[1:], 0xdeadbeef)
	if id, err := KeyID(frame); id != 0xdeadbeef || err != nil {
		t.Errorf("%08x, %v", id, err)
	}
	for n := 1; n < 21; n++ {
		if _, err := KeyID(frame[:n]); !errors.Is(err, ErrTruncated) || !errors.Is(err, ErrTampered) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, b := range [][]byte{nil, {}, {0}, {2}, []byte("plain text of some length")} {
		if _, err := KeyID(b); err != ErrNotEncrypted {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if fips140.Enabled() || raceEnabled {
		t.Skip("FIPS 140 mode and the race detector allocate")
	}
	for s := Default; s <= Compact; s++ {
		k := newKey(t, s, 1, testSecret(s))
		plaintext, context := make([]byte, 64), make([]byte, 64)
		ct := mustSeal(t, k, plaintext, context)
		buf := make([]byte, 0, 256)
		inPlace := make([]byte, len(ct))
		var sealer Sealer
		if err := sealer.Reset(k, math.MaxInt); err != nil {
			t.Fatal(err)
		}
		for name, call := range map[string]func() error{
			"Seal":          func() error { _, err := k.Seal(buf, plaintext, context); return err },
			"Sealer":        func() error { _, err := sealer.Seal(buf, plaintext, context); return err },
			"Open":          func() error { _, err := k.Open(buf, ct, context); return err },
			"Open in place": func() error { copy(inPlace, ct); _, err := k.Open(inPlace[:0], inPlace, context); return err },
		} {
			// A new salt each 1,024 messages or second allocates; averages round down.
			if n := testing.AllocsPerRun(1000, func() {
				if err := call(); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s: %s allocates %v times", s, name, n)
			}
		}
	}
}

func BenchmarkKey(b *testing.B) {
	for s := Default; s <= Deterministic; s++ {
		if s == Deterministic && fips140.Enforced() {
			continue
		}
		k := newKey(b, s, 7, testSecret(s))
		pt := make([]byte, 64)
		aad := make([]byte, 64)
		ct := mustSeal(b, k, pt, aad)
		buf := make([]byte, 0, 400)
		b.Run("op=seal/suite="+s.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.Seal(buf, pt, aad)
			}
		})
		b.Run("op=seal16/suite="+s.String(), func(b *testing.B) {
			b.ReportAllocs()
			var sealer Sealer
			for b.Loop() {
				sealer.Reset(k, 16)
				for range 16 {
					sealer.Seal(buf, pt, aad)
				}
			}
		})
		b.Run("op=open/suite="+s.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.Open(buf, ct, aad)
			}
		})
	}
}
