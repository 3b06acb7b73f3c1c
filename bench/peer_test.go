package bench

import (
	"crypto/rand"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// here calls f for each peer that was built in.
func here(t *testing.T, f func(t *testing.T, p Peer)) {
	for _, p := range Peers() {
		t.Run(p.Name, func(t *testing.T) {
			if p.Absent != "" {
				t.Skip(p.Absent)
			}
			f(t, p)
		})
	}
}

func TestPeersAreWhole(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9-]+$`)
	var names []string
	for _, p := range Peers() {
		if !name.MatchString(p.Name) || slices.Contains(names, p.Name) || p.Title == "" {
			t.Errorf("%q, %q: no name of its own, or no title", p.Name, p.Title)
		}
		names = append(names, p.Name)
		c := p.Claims
		if p.Absent == "" && (p.Setup == "" || c.Bound == "" || c.Commits == "" || c.Messages == "") {
			t.Errorf("%s: says too little", p.Name)
		}
		if p.Absent == "" && p.Text == nil && p.Bytes == nil {
			t.Errorf("%s: nothing to measure", p.Name)
		}
	}
	if names[0] != "floor" || names[1] != "structseal" {
		t.Errorf("the first are %q", names[:2])
	}
}

func TestRecords(t *testing.T) {
	here(t, func(t *testing.T, p Peer) {
		if p.Text != nil {
			t.Run("text", func(t *testing.T) { checkRows(t, p.Claims, p.Claims.Text, p.Text) })
		}
		if p.Binary != nil {
			t.Run("binary", func(t *testing.T) { checkRows(t, p.Claims, p.Claims.Binary, p.Binary) })
		}
	})
}

func checkRows[T Value](t *testing.T, claims Claims, growth int, open func() (Rows[T], error)) {
	rows, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, rows)
	plain := Example[T]()
	seal := func() Row[T] {
		t.Helper()
		sealed, err := rows.Seal(plain)
		if err != nil {
			t.Fatal(err)
		}
		return own(sealed)
	}

	sealed, again := seal(), seal()
	for i, f := range sealed.fields() {
		was := string(*plain.fields()[i])
		if strings.Contains(string(*f), was) || len(*f) < len(was)+16 {
			t.Errorf("%s: not encrypted: %q", labels[i], string(*f))
		}
		if string(*f) == string(*again.fields()[i]) {
			t.Errorf("%s: two ciphertexts are equal", labels[i])
		}
		if _, ok := any(*f).(string); ok && strings.ContainsFunc(string(*f), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: not text: %q", labels[i], string(*f))
		}
	}
	if got := len(sealed.SSN) - len(plain.SSN); got != growth {
		t.Errorf("%d bytes grow by %d, not by %d", len(plain.SSN), got, growth)
	}
	opened, err := rows.Open(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(opened, plain) {
		t.Errorf("opened %+v", opened)
	}

	fails := func(what string, claimed bool, change func(*Row[T])) {
		t.Helper()
		changed := own(sealed)
		change(&changed)
		if _, err := rows.Open(changed); (err != nil) != claimed {
			t.Errorf("%s: claimed to fail: %v; error: %v", what, claimed, err)
		}
	}
	fails("moved to another row", claims.Row, func(r *Row[T]) { r.ID = "01890a5d-ac96-774b-bcce-b302099a8058" })
	fails("moved to another field", claims.Field, func(r *Row[T]) { r.Name, r.Email = r.Email, r.Name })
	for i := range labels {
		fails(labels[i]+" changed", true, func(r *Row[T]) {
			b := []byte(*r.fields()[i])
			if b[len(b)/2] == 'A' {
				b[len(b)/2] = 'B'
			} else {
				b[len(b)/2] = 'A'
			}
			*r.fields()[i] = T(b)
		})
	}
}

// own copies a record out of the memory that the next call overwrites.
func own[T Value](r Row[T]) Row[T] {
	for _, f := range r.fields() {
		*f = T(slices.Clone([]byte(*f)))
	}
	return r
}

func TestBytes(t *testing.T) {
	here(t, func(t *testing.T, p Peer) {
		if p.Bytes == nil {
			t.Skip("has no such API")
		}
		impl, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		defer closeIt(t, impl)
		var a, b, c place
		id := Example[string]().ID
		here, row, field := a.of(id, "name"), b.of(strings.Replace(id, "8", "9", 1), "name"), c.of(id, "email")
		for _, size := range append([]int{11}, Sizes...) {
			plain := make([]byte, size)
			rand.Read(plain)
			ct, err := impl.Seal(make([]byte, 0, size+128), plain, here)
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if size == 11 && len(ct)-size != p.Claims.Binary {
				t.Errorf("%d bytes grow by %d, not by %d", size, len(ct)-size, p.Claims.Binary)
			}
			pt, err := impl.Open(make([]byte, 0, size+128), ct, here)
			if err != nil || string(pt) != string(plain) {
				t.Fatalf("%d bytes: opened %d others: %v", size, len(pt), err)
			}
			for what, claimed := range map[string]bool{"row": p.Claims.Row, "field": p.Claims.Field} {
				other := row
				if what == "field" {
					other = field
				}
				if _, err := impl.Open(nil, ct, other); (err != nil) != claimed {
					t.Errorf("%d bytes in another %s: claimed to fail: %v; error: %v", size, what, claimed, err)
				}
			}
			ct[len(ct)/2] ^= 1
			if _, err := impl.Open(nil, ct, here); err == nil {
				t.Errorf("%d bytes: opened, though changed", size)
			}
		}
	})
}

// TestSealerResets: more values than one reading of randomness is for.
func TestSealerResets(t *testing.T) {
	impl, err := structsealSealer.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		text := fmt.Sprint("value ", i)
		ct, err := impl.Seal(nil, []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if pt, err := impl.Open(nil, ct, nil); err != nil || string(pt) != text {
			t.Errorf("opened %q: %v", pt, err)
		}
	}
}

func TestPlacesDiffer(t *testing.T) {
	var p place
	seen := map[string]bool{}
	for _, id := range []string{"01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"} {
		for _, l := range labels {
			s := string(p.of(id, l))
			if len(s) != 64 || !strings.Contains(s, id) || seen[s] {
				t.Errorf("%s, %s: %q", id, l, s)
			}
			seen[s] = true
		}
	}
}
