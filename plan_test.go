package structseal

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/structseal/structseal/internal/aad"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// TestPlanOnce: a type is compiled once, whoever comes first, and its errors are
// kept as well.
func TestPlanOnce(t *testing.T) {
	for round := range 50 {
		good := structOf(str, fmt.Sprintf(`seal:"x%d"`, round))
		bad := structOf(str, fmt.Sprintf(`seal:"x%d,bnid"`, round))
		var wg sync.WaitGroup
		plans := make([]*plan, 8)
		errs := make([]error, 8)
		for i := range plans {
			wg.Go(func() {
				plans[i], _ = planOf(good)
				_, errs[i] = planOf(bad)
			})
		}
		wg.Wait()
		for i := range plans {
			if plans[i] == nil || plans[i] != plans[0] || errs[i] == nil || errs[i] != errs[0] {
				t.Fatalf("plan %d: %p and %p, %v and %v", i, plans[i], plans[0], errs[i], errs[0])
			}
		}
	}
}

// Each type refers to the one below twice.
type (
	twice[T any] struct {
		A *T
		B []T
	}
	twice4[T any]  = twice[twice[twice[twice[T]]]]
	twice16[T any] = twice4[twice4[twice4[twice4[T]]]]
	twice32[T any] = twice16[twice16[T]]
)

// TestPlanOfManyTypes: types that refer to each other all over are looked at
// once each. Along every path it would take 2^32 steps.
func TestPlanOfManyTypes(t *testing.T) {
	for _, typ := range []reflect.Type{
		structOf(reflect.TypeFor[twice32[int]](), `json:"x"`),
		structOf(reflect.TypeFor[Sealed[twice32[int]]](), `seal:"x"`),
	} {
		if _, err := planOf(typ); err != nil {
			t.Error(err)
		}
	}
}

// TestPlanKeepsOffsets: what an embedded struct has is found where it lies.
func TestPlanKeepsOffsets(t *testing.T) {
	type Deep struct {
		Pad byte
		ID  uint8  `seal:"id,bind"`
		B   []byte `seal:"b"`
	}
	type Embedded struct {
		Pad [3]byte
		Deep
	}
	type rec struct {
		Pad byte
		_   Record `seal:"rec"`
		Embedded
		A string `seal:"a"`
	}
	p, err := planOf(reflect.TypeFor[rec]())
	if err != nil {
		t.Fatal(err)
	}
	var v rec
	want := map[string]uintptr{"id": 0, "b": 0, "a": 0}
	for label, name := range map[string]string{"id": "ID", "b": "B", "a": "A"} {
		f, _ := reflect.TypeOf(v).FieldByName(name)
		off := uintptr(0)
		typ := reflect.TypeOf(v)
		for _, i := range f.Index {
			off += typ.Field(i).Offset
			typ = typ.Field(i).Type
		}
		want[label] = off
	}
	got := map[string]uintptr{p.binds[0].label: p.binds[0].offset}
	for _, f := range p.fields {
		got[f.label] = f.offset
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("offsets %v, want %v", got, want)
	}
}

// TestPathText: what errors show of a place, without map keys.
func TestPathText(t *testing.T) {
	path := aad.AppendString(nil, "customer")
	path = aad.AppendCount(path, 5)
	path = aad.AppendLabel(path, "lines")
	path = aad.AppendIndex(path, 300, 70_000)
	path = aad.AppendLabel(path, "notes")
	path = aad.AppendKey(path, "ada@example.net")
	path = aad.AppendLabel(path, "x")
	if got := pathText(path); got != "customer.lines[300/70000].notes{}.x" {
		t.Errorf("got %s", got)
	}
}

// TestRelease: what goes back to the pool holds no value, and no pointer to one.
func TestRelease(t *testing.T) {
	j := newJob(t.Context(), nil, "test", &noOptions)
	secret := []byte("secret")
	j.text = append(j.text, secret...)
	j.keepFrame(append(make([]byte, 0, 64), secret...))
	s := "secret"
	j.items = append(j.items, item{f: &field{}, p: unsafe.Pointer(&s)})
	j.walked = true
	j.maps = append(j.maps, pendingMap{m: reflect.ValueOf(map[string]string{"k": s})})
	j.seen = map[visit]struct{}{{nil, str}: {}}
	text, frame, items, maps := j.text, j.frame, j.items, j.maps
	j.release()
	for _, b := range [][]byte{text, frame} {
		if !allZero(b[:cap(b)]) {
			t.Errorf("%q is left", b)
		}
	}
	if items[0].f != nil || items[0].p != nil || maps[0].m.IsValid() || len(j.seen) != 0 || j.ctx != nil || j.opt != nil || j.depth != 0 {
		t.Error("pointers are left")
	}
}

// TestErrorsAreLocated: errors name the type and the field, and wrap.
func TestErrorsAreLocated(t *testing.T) {
	inner := errors.New("cause")
	for _, c := range []struct {
		err  error
		want string
	}{
		{&FieldError{Op: "decrypt", Type: "main.T", Field: "F", Label: "t.f", KeyID: 0xab, Err: inner}, "structseal: decrypt main.T.F (t.f): key 000000ab: cause"},
		{&FieldError{Op: "encrypt", Type: "main.T", Err: inner}, "structseal: encrypt main.T: cause"},
		{&TagError{Type: "main.T", Field: "F", Tag: `seal:"x"`, Reason: "why", Err: inner}, "structseal: main.T.F `seal:\"x\"`: why"},
		{&RecordError{Index: 3, Err: inner}, "record 3: cause"},
	} {
		if c.err.Error() != c.want || !errors.Is(c.err, inner) {
			t.Errorf("%q, want %q", c.err, c.want)
		}
	}
}

type (
	plainID   [16]byte
	pairID    struct{ Tenant, N uint32 }
	pointerID struct{ S *string }
	nestedID  struct{ Parts [2]pointerID }
)

func (plainID) MarshalText() ([]byte, error)   { return []byte("plain"), nil }
func (pairID) MarshalText() ([]byte, error)    { return []byte("pair"), nil }
func (pointerID) MarshalText() ([]byte, error) { return []byte("pointer"), nil }
func (nestedID) MarshalText() ([]byte, error)  { return []byte("nested"), nil }

type boundTo[ID any] struct {
	_  Record `seal:"bound"`
	ID ID     `seal:"id,bind"`
	A  string `seal:"a"`
}

// What binds a flat record may be copied as bytes: values with pointers may not, because
// the garbage collector wouldn't see them.
func TestFlatBinds(t *testing.T) {
	for typ, want := range map[reflect.Type]bool{
		reflect.TypeFor[boundTo[string]]():    true,
		reflect.TypeFor[boundTo[plainID]]():   true,
		reflect.TypeFor[boundTo[pairID]]():    true,
		reflect.TypeFor[boundTo[pointerID]](): false,
		reflect.TypeFor[boundTo[nestedID]]():  false,
	} {
		p, err := planOf(typ)
		if err != nil || p.flat != want {
			t.Errorf("%v: flat: %v, %v", typ, p.flat, err)
		}
	}
}

type twoTexts struct {
	_  Record `seal:"texts"`
	ID string `seal:"id,bind"`
	A  string `seal:"a"`
	B  string `seal:"b"`
}

// The short way opens what is under one key before it knows of the next one: when that fails
// no plaintext stays behind.
func TestQuickLeavesNoPlaintext(t *testing.T) {
	ctx := t.Context()
	ring, _, err := keyring.Create(ctx, "r", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	v := twoTexts{ID: "1", A: strings.Repeat("secret", 20), B: "b"}
	row, err := Encrypt(ctx, ring, v)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	v.ID = "2"
	other, err := Encrypt(ctx, ring, v)
	if err != nil {
		t.Fatal(err)
	}
	row.B = other.B // under the new key, and of another row
	p, err := planOf(reflect.TypeFor[twoTexts]())
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(ctx, ring, opDecrypt, &noOptions)
	j.text = make([]byte, 0, len(row.A)+len(row.B))
	memory := j.text[:cap(j.text)]
	if j.quick(p, unsafe.Pointer(&row)) {
		t.Fatal("it was opened")
	}
	if bytes.Contains(memory, []byte("secret")) {
		t.Error("a plaintext is left")
	}
	j.release()
}
