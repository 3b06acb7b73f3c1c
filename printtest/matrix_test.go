package printtest

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/structseal/structseal/crypto"
)

// TestPrintMatrix proves P6: every value in every holder through every channel
// shows none of its secrets.
func TestPrintMatrix(t *testing.T) {
	all := values(t)
	if len(all) == 0 {
		t.Fatal("no values")
	}
	channels := channels()
	sent := 0
	for _, v := range all {
		if len(v.canaries) == 0 || len(v.holders) < 20 {
			t.Fatalf("%s: %d canaries, %d holders", v.name, len(v.canaries), len(v.holders))
		}
		t.Run(v.name, func(t *testing.T) {
			if oneWord(reflect.TypeOf(v.holders[0].v)) {
				t.Fatal("a struct of one pointer or function: spew and testify's diffs crash on its methods. Add a second word")
			}
			leaks := 0
			hunter := newHunter(v.canaries)
			for _, h := range v.holders {
				for _, c := range channels {
					out := c.send(h.v)
					sent++
					if found := hunter.hunt(out); found != nil {
						if leaks++; leaks <= 5 {
							t.Errorf("%s, through %s: shows %s:\n%.600s", h.name, c.name, strings.Join(found, ", "), out)
						}
					}
					if strings.Contains(out, "PANIC=") {
						t.Errorf("%s, through %s: a method panics:\n%.600s", h.name, c.name, out)
					}
				}
			}
			if leaks > 5 {
				t.Errorf("and %d more leaks", leaks-5)
			}
		})
	}
	t.Logf("%d outputs of %d values through %d channels", sent, len(all), len(channels))
}

// TestCrash proves P6 for what the runtime itself prints: a panic that nobody
// recovers, with the stacks of all goroutines.
func TestCrash(t *testing.T) {
	const index, file = "PRINTTEST_CRASH", "PRINTTEST_CANARIES"
	all := append(values(t), leaky...)
	if i := os.Getenv(index); i != "" {
		v := all[must(strconv.Atoi(i))(t)]
		// Some keys are new in every process, so the child says what to hunt.
		b := must(json.Marshal(v.canaries))(t)
		if err := os.WriteFile(os.Getenv(file), b, 0o600); err != nil {
			t.Fatal(err)
		}
		go func() { panic(v.holders[0].v) }()
		select {}
	}
	caught := 0
	for n, v := range all {
		canaries := filepath.Join(t.TempDir(), "canaries")
		cmd := exec.Command(must(os.Executable())(t), "-test.run=^TestCrash$")
		cmd.Env = append(os.Environ(), "GOTRACEBACK=all", index+"="+strconv.Itoa(n), file+"="+canaries)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(string(out), "panic: ") {
			t.Fatalf("%s: no crash: %v\n%s", v.name, err, out)
		}
		var hunted []canary
		if err := json.Unmarshal(must(os.ReadFile(canaries))(t), &hunted); err != nil || len(hunted) == 0 {
			t.Fatalf("%s: %d canaries, %v", v.name, len(hunted), err)
		}
		found := hunt(string(out), hunted)
		switch isLeaky := n >= len(all)-len(leaky); {
		case isLeaky && found != nil:
			caught++
		case !isLeaky && found != nil:
			t.Errorf("%s: a crash shows %s:\n%s", v.name, strings.Join(found, ", "), out)
		}
	}
	if caught == 0 {
		t.Error("no crash of a value that leaks was caught: the test can't fail")
	}
}

// oneWord reports whether t, or what it points to, is a struct that an interface
// holds in its data word. When spew calls pointer methods on one that it got by
// value, it takes the word for the address of the struct: with a function in it,
// the method then calls whatever is there, and the process dies.
func oneWord(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && t.Size() == unsafe.Sizeof(uintptr(0)) &&
		(reflect.PointerTo(t).Implements(reflect.TypeFor[fmt.Stringer]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[error]()))
}

// TestSecretsStayInside proves that type inference can't make the permission to
// read key bytes outside of the module that guards it.
func TestSecretsStayInside(t *testing.T) {
	key, _ := usedKey(t, crypto.Default, key32)
	if secret, err := withZero(key.Secret); err == nil {
		t.Errorf("the zero permission reads %d bytes of a key", len(secret))
	}
}

func withZero[Token any](f func(Token) ([]byte, error)) ([]byte, error) {
	var zero Token
	return f(zero)
}

func fipsOnly() bool { return fips140.Enforced() }

func hmacSHA256(key []byte, s string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(s))
	return m.Sum(nil)
}

// must returns the value of a call that has to work.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
