package crypto

import (
	"bytes"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The tests of FIPS-only mode run twice: when the mode is set for the whole run
// (GODEBUG=fips140=only go test ./crypto), and in every run in a child process.

const childEnv = "STRUCTSEAL_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "seal":
		child(func() error { return json.NewEncoder(os.Stdout).Encode(sealAll()) })
	case "open":
		child(func() error {
			var sealed []sealedValue
			if err := json.NewDecoder(os.Stdin).Decode(&sealed); err != nil {
				return err
			}
			return openAll(sealed)
		})
	}
}

func child(do func() error) {
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// inMode runs this test binary with GODEBUG=fips140=mode.
func inMode(t *testing.T, mode, role string, stdin []byte, args ...string) []byte {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), "GODEBUG=fips140="+mode, childEnv+"="+role)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("in mode %s: %v\n%s%s", mode, err, out, stderr.Bytes())
	}
	return out
}

// A sealedValue is what the two modes hand each other.
type sealedValue struct {
	Suite      Suite
	N          int
	Ciphertext []byte
}

func (v sealedValue) key() (*Key, error) {
	return NewKey(v.Suite, 7, stream("fips "+v.Suite.String(), v.Suite.KeySize()))
}

func (v sealedValue) parts() (plaintext, context []byte) {
	return stream("fips plaintext", v.N), stream("fips context", v.N%37)
}

func sealAll() []sealedValue {
	var out []sealedValue
	for s := Default; s <= Compact; s++ {
		for n := range 100 {
			v := sealedValue{Suite: s, N: n}
			k, err := v.key()
			if err != nil {
				panic(err)
			}
			plaintext, context := v.parts()
			if v.Ciphertext, err = k.Seal(nil, plaintext, context); err != nil {
				panic(err)
			}
			out = append(out, v)
		}
	}
	return out
}

func openAll(sealed []sealedValue) error {
	if len(sealed) != 200 {
		return fmt.Errorf("%d values", len(sealed))
	}
	for _, v := range sealed {
		k, err := v.key()
		if err != nil {
			return err
		}
		plaintext, context := v.parts()
		if got, err := k.Open(nil, v.Ciphertext, context); err != nil || !bytes.Equal(got, plaintext) {
			return fmt.Errorf("%s, %d bytes: %w", v.Suite, v.N, err)
		}
		v.Ciphertext[len(v.Ciphertext)-1] ^= 1
		if _, err := k.Open(nil, v.Ciphertext, context); !errors.Is(err, ErrTampered) {
			return fmt.Errorf("%s, %d bytes, a bit flipped: %w", v.Suite, v.N, err)
		}
	}
	return nil
}

// What one mode seals, the other opens, both ways.
func TestP11_ModesReadEachOther(t *testing.T) {
	for _, modes := range [][2]string{{"off", "only"}, {"only", "off"}} {
		t.Run(modes[0]+" to "+modes[1], func(t *testing.T) {
			sealed := inMode(t, modes[0], "seal", nil)
			inMode(t, modes[1], "open", sealed)
		})
	}
}

func requireEnforced(t *testing.T) {
	t.Helper()
	if !fips140.Enforced() {
		t.Skip("FIPS 140 mode isn't enforced here; TestP11_InChild runs this test in a process where it is")
	}
}

// The tests that need the mode run in a process that has it.
func TestP11_InChild(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("the mode is enforced: the tests run in this process")
	}
	const only = "TestP11_DefaultRuns|TestP11_DeterministicIsRefused|TestP11_ModeMakesItsNonces"
	out := string(inMode(t, "only", "", nil, "-test.v", "-test.run", "^("+only+")$"))
	for _, name := range strings.Split(only, "|") {
		if !strings.Contains(out, "--- PASS: "+name) {
			t.Errorf("%s didn't pass:\n%s", name, out)
		}
	}
}

func TestP11_DefaultRuns(t *testing.T) {
	requireEnforced(t)
	k := newKey(t, Default, 7, testSecret(Default))
	context, err := sampleContext().build().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var sealer Sealer
	if err := sealer.Reset(k, 3); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ct, err := sealer.Seal(nil, []byte("value"), context)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(nil, ct, context); err != nil || string(got) != "value" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	index := newIndexKey(t, "main", "customer", "email", "eq")
	if _, err := index.Append(nil, []byte("value"), 20); err != nil {
		t.Error(err)
	}
	if _, err := Check("mac", testSecret(Default)); err != nil {
		t.Error(err)
	}
}

// Only the constructor that draws its own nonces is allowed.
func TestP11_ModeMakesItsNonces(t *testing.T) {
	requireEnforced(t)
	nonces := map[string]bool{}
	for s := Default; s <= Compact; s++ {
		k := newKey(t, s, 7, testSecret(s))
		var sealer Sealer
		if err := sealer.Reset(k, 16); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			ct, err := sealer.Seal(nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if nonce := string(ct[len(ct)-s.Overhead()+5 : len(ct)-16]); nonces[nonce] {
				t.Fatal("a nonce was used twice")
			} else {
				nonces[nonce] = true
			}
		}
		if sealer.r().random != [sealerNonces * nonceSize]byte{} {
			t.Errorf("%s: the sealer drew nonces of its own", s)
		}
	}
}

func TestP11_DeterministicIsRefused(t *testing.T) {
	requireEnforced(t)
	if k, err := NewKey(Deterministic, 7, testSecret(Deterministic)); !errors.Is(err, ErrNotApproved) || k != nil {
		t.Errorf("NewKey: %v", err)
	}
	// A key from before, or from a place where the mode was lifted.
	var k *Key
	fips140.WithoutEnforcement(func() {
		var err error
		if k, err = NewKey(Deterministic, 7, testSecret(Deterministic)); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Seal(nil, []byte("value"), nil); err != nil {
			t.Errorf("Seal where the mode is lifted: %v", err)
		}
	})
	ct := refSeal(Deterministic, 7, testSecret(Deterministic), nil, nil, []byte("value"), nil)
	if out, err := k.Seal(nil, []byte("value"), nil); !errors.Is(err, ErrNotApproved) || out != nil {
		t.Errorf("Seal: %v", err)
	}
	if out, err := k.Open(nil, ct, nil); !errors.Is(err, ErrNotApproved) || out != nil {
		t.Errorf("Open: %v", err)
	}
}

// Keys and subkeys that were made where the mode was lifted work where it is in force, and
// the other way round.
func TestP11_WhereTheModeIsLifted(t *testing.T) {
	requireEnforced(t)
	for _, suite := range []Suite{Default, Compact} {
		var k *Key
		var sealed [][]byte
		var s Sealer
		use := func() {
			values := []Value{{Text: []byte("a value")}, {Text: []byte("b value")}}
			size := len(values[0].Text) + suite.Overhead()
			out, err := s.SealAll(k, nil, values)
			if err != nil {
				t.Fatalf("%v: %v", suite, err)
			}
			text, err := s.SealAllText(k, nil, values)
			if err != nil {
				t.Fatalf("%v: %v", suite, err)
			}
			parsed, err := ParseText(nil, string(text[:TextLen(size)]))
			if err != nil {
				t.Fatalf("%v: %v", suite, err)
			}
			sealed = append(sealed, out[:size], parsed)
			for _, ct := range sealed {
				if got, err := k.OpenAll(nil, []Value{{Text: ct}, {Text: ct}}); string(got) != "a valuea value" || err != nil {
					t.Errorf("%v: %q, %v", suite, got, err)
				}
				if got, err := k.Open(nil, ct, nil); string(got) != "a value" || err != nil {
					t.Errorf("%v: %q, %v", suite, got, err)
				}
			}
		}
		fips140.WithoutEnforcement(func() { k = newKey(t, suite, 7, testSecret(suite)) })
		use()
		fips140.WithoutEnforcement(use)
		use()
		k = newKey(t, suite, 7, testSecret(suite))
		sealed = nil
		fips140.WithoutEnforcement(use)
		use()
	}
}
