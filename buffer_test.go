package structseal_test

import (
	"bytes"
	"database/sql"
	"errors"
	"iter"
	"reflect"
	"slices"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/structsealtest"
)

// scan is a record of bytes, scans one that goes the long way.
type scan struct {
	_     structseal.Record `seal:"scan"`
	ID    string            `seal:"id,bind"`
	Front []byte            `seal:"front"`
	Back  []byte            `seal:"back"`
}

type scans struct {
	_     structseal.Record `seal:"scans"`
	ID    string            `seal:"id,bind"`
	Name  string            `seal:"name"`
	Pages [][]byte          `seal:"pages"`
}

var aScan = scan{ID: "7", Front: []byte("a front page"), Back: []byte("and the back of it")}

func equalScans(a, b scan) bool {
	return a.ID == b.ID && bytes.Equal(a.Front, b.Front) && bytes.Equal(a.Back, b.Back)
}

// With a buffer that is reused a record of bytes costs no allocation.
func TestAppendToAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, suite := range []crypto.Suite{crypto.Default, crypto.Compact} {
		ctx, ring := t.Context(), benchRing(t, suite)
		large := scan{ID: "7", Front: make([]byte, 1<<20), Back: make([]byte, 1<<15)}
		for _, v := range []scan{aScan, large} {
			row, err := structseal.Encrypt(ctx, ring, v)
			if err != nil {
				t.Fatal(err)
			}
			var buf []byte
			reuse := structseal.AppendTo(&buf)
			var got scan
			for name, f := range map[string]func(){
				"encrypt": func() { got, err = structseal.Encrypt(ctx, ring, v, reuse) },
				"decrypt": func() { got, err = structseal.Decrypt(ctx, ring, row, reuse) },
			} {
				buf = nil
				if n := testing.AllocsPerRun(100, func() {
					if buf = buf[:0]; err == nil {
						f()
					}
				}); n != 0 || err != nil {
					t.Errorf("%v: %s: %v allocations, %v", suite, name, n, err)
				}
				if name == "encrypt" {
					if got, err = structseal.Decrypt(ctx, ring, got); err != nil {
						t.Fatal(err)
					}
				}
				if !equalScans(got, v) {
					t.Errorf("%v: %s went wrong", suite, name)
				}
			}
		}
	}
}

// Fields are pieces of the buffer, and what was in it stays.
func TestAppendTo(t *testing.T) {
	ctx, ring := t.Context(), structsealtest.Ring(t)
	for _, room := range []int{0, 10, 50, 1000} {
		buf := append(make([]byte, 0, room), "before"...)
		to := structseal.AppendTo(&buf)
		row, err := structseal.Encrypt(ctx, ring, aScan, to)
		if err != nil {
			t.Fatal(err)
		}
		if want := slices.Concat([]byte("before"), row.Front, row.Back); !bytes.Equal(buf, want) || &buf[6] != &row.Front[0] {
			t.Fatalf("room %d: the buffer is %x", room, buf)
		}
		if cap(row.Front) != len(row.Front) {
			t.Error("appending to a field would write over the next one")
		}
		back, err := structseal.Decrypt(ctx, ring, row, to) // behind its own ciphertexts
		if err != nil || !equalScans(back, aScan) {
			t.Fatalf("%+v, %v", back, err)
		}
		if again, err := structseal.Decrypt(ctx, ring, row); err != nil || !equalScans(again, aScan) {
			t.Errorf("room %d: the ciphertext was changed: %v", room, err)
		}
	}
	// Containers go the long way; strings aren't in the buffer.
	v := scans{ID: "7", Name: "Ada", Pages: [][]byte{[]byte("one"), nil, {}, []byte("two"), make([]byte, 1<<15)}}
	var buf []byte
	to := structseal.AppendTo(&buf)
	row, err := structseal.Encrypt(ctx, ring, v, to)
	if err != nil || !bytes.Equal(buf, slices.Concat(row.Pages...)) {
		t.Fatalf("%d bytes, %v", len(buf), err)
	}
	buf = nil
	back, err := structseal.Decrypt(ctx, ring, row, to)
	if err != nil || !reflect.DeepEqual(back, v) || !bytes.Equal(buf, slices.Concat(v.Pages...)) {
		t.Errorf("%+v, %v", back, err)
	}
	// In place.
	buf = buf[:0]
	if err := structseal.EncryptInPlace(ctx, ring, &v, to); err != nil || &v.Pages[0][0] != &buf[0] {
		t.Errorf("in place: %v", err)
	}
}

// A buffer whose memory the record itself lies in isn't written over while it is read.
func TestAppendToItself(t *testing.T) {
	ctx, ring := t.Context(), structsealtest.Ring(t)
	for _, size := range []int{1, 20, 1 << 16} {
		v := scan{ID: "7", Front: bytes.Repeat([]byte{7}, size), Back: bytes.Repeat([]byte{8}, size)}
		buf := make([]byte, 0, 8*size+1000)
		to := structseal.AppendTo(&buf)
		row, err := structseal.Encrypt(ctx, ring, v, to)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // to and fro, always from the buffer into it
			buf = buf[:0]
			got, err := structseal.Decrypt(ctx, ring, row, to)
			if err != nil || !equalScans(got, v) {
				t.Fatalf("decrypt, %d bytes: %v", size, err)
			}
			if again, err := structseal.Decrypt(ctx, ring, row); err != nil || !equalScans(again, v) {
				t.Fatalf("%d bytes: the row was written over: %v", size, err)
			}
			buf = buf[:0]
			if row, err = structseal.Encrypt(ctx, ring, got, to); err != nil {
				t.Fatalf("encrypt, %d bytes: %v", size, err)
			}
			if !equalScans(got, v) {
				t.Fatalf("%d bytes: the record was written over", size)
			}
		}
	}
}

type deed struct {
	_     structseal.Record `seal:"deed"`
	ID    []byte            `seal:"id,bind"`
	Front []byte            `seal:"front"`
	Back  []byte            `seal:"back"`
}

type deeds struct {
	_     structseal.Record `seal:"deeds"`
	ID    []byte            `seal:"id,bind"`
	Front []byte            `seal:"front"`
	More  [][]byte          `seal:"more"`
}

// Nor is what the verb only reads, or leaves as it is: bind fields, and what Only leaves out.
func TestAppendToOthers(t *testing.T) {
	ctx, ring := t.Context(), structsealtest.Ring(t)
	buf := make([]byte, 0, 4096)
	to := structseal.AppendTo(&buf)
	room := func(s string) []byte { // in the room behind an empty buffer
		buf = append(make([]byte, 0, 4096), s...)
		defer func() { buf = buf[:0] }()
		return buf[:len(s):len(s)]
	}
	flat, err := structseal.Encrypt(ctx, ring, deed{ID: room("an id"), Front: []byte("front")}, to)
	if err != nil || string(flat.ID) != "an id" {
		t.Errorf("%q, %v", flat.ID, err)
	}
	walked, err := structseal.Encrypt(ctx, ring, deeds{ID: room("an id"), More: [][]byte{[]byte("more")}}, to)
	if err != nil || string(walked.ID) != "an id" {
		t.Errorf("%q, %v", walked.ID, err)
	}
	flat, err = structseal.Encrypt(ctx, ring, deed{ID: []byte("1"), Front: room("front"), Back: []byte("back")}, to, structseal.Only("back"))
	if err != nil || string(flat.Front) != "front" {
		t.Errorf("%q, %v", flat.Front, err)
	}
	walked, err = structseal.Encrypt(ctx, ring, deeds{ID: []byte("1"), Front: room("front"), More: [][]byte{[]byte("more")}}, to, structseal.Only("more"))
	if err != nil || string(walked.Front) != "front" {
		t.Errorf("%q, %v", walked.Front, err)
	}
}

// What fails leaves the buffer as it was, and no plaintext behind it.
func TestAppendToFails(t *testing.T) {
	ctx, ring := t.Context(), structsealtest.Ring(t)
	for _, size := range []int{20, 1 << 16} {
		v := scan{ID: "7", Front: bytes.Repeat([]byte{7}, size), Back: bytes.Repeat([]byte{8}, size)}
		row, err := structseal.Encrypt(ctx, ring, v)
		if err != nil {
			t.Fatal(err)
		}
		row.Back = bytes.Clone(row.Back)
		row.Back[len(row.Back)-1] ^= 1
		buf := append(make([]byte, 0, 3*size+1000), "before"...)
		if _, err := structseal.Decrypt(ctx, ring, row, structseal.AppendTo(&buf)); !errors.Is(err, structseal.ErrTampered) {
			t.Fatal(err)
		}
		if string(buf) != "before" || bytes.Contains(buf[:cap(buf)], []byte{7, 7, 7, 7}) {
			t.Errorf("%d bytes: %q, and plaintext behind it", size, buf)
		}
	}
	var buf []byte
	to := structseal.AppendTo(&buf)
	var failed []error
	_, err := structseal.Encrypt(ctx, ring, aScan, structseal.AppendTo(nil))
	failed = append(failed, err)
	_, err = structseal.EncryptAll(ctx, ring, []scan{aScan}, to)
	failed = append(failed, err)
	_, _, err = structseal.Reencrypt(ctx, ring, aScan, to)
	failed = append(failed, err)
	_, err = structseal.Inspect(aScan, to)
	failed = append(failed, err)
	var seq iter.Seq2[scan, error] = func(yield func(scan, error) bool) { yield(aScan, nil) }
	for _, err := range structseal.EncryptSeq(ctx, ring, seq, to) {
		failed = append(failed, err)
	}
	for i, err := range failed {
		if !errors.Is(err, structseal.ErrInvalidArgument) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if len(failed) != 5 || buf != nil {
		t.Errorf("%d calls failed; %x", len(failed), buf)
	}
}

// A record whose values are strings, or NULL, leaves the buffer as it is.
func TestAppendToOfStrings(t *testing.T) {
	for _, suite := range []crypto.Suite{crypto.Default, crypto.Compact} {
		ctx, ring := t.Context(), benchRing(t, suite)
		buf := append(make([]byte, 0, 100), "front"...)
		reuse := structseal.AppendTo(&buf)
		row, err := structseal.Encrypt(ctx, ring, bench, reuse)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := structseal.Decrypt(ctx, ring, row, reuse); got != bench || err != nil {
			t.Errorf("%v: %+v, %v", suite, got, err)
		}
		for range 2 {
			if none, err := structseal.Encrypt(ctx, ring, scan{ID: "7"}, reuse); none.Front != nil || none.Back != nil || err != nil {
				t.Errorf("%v: %+v, %v", suite, none, err)
			}
			if none, err := structseal.Decrypt(ctx, ring, scan{ID: "7"}, reuse); none.Front != nil || none.Back != nil || err != nil {
				t.Errorf("%v: %+v, %v", suite, none, err)
			}
			if string(buf) != "front" {
				t.Errorf("%v: the buffer is %q now", suite, buf)
			}
			buf = buf[:5:5]
		}
	}
}

// letter has strings and bytes, either of which may be NULL, empty or there.
type letter struct {
	_     structseal.Record `seal:"letter"`
	ID    string            `seal:"id,bind"`
	Scan  []byte            `seal:"scan"`
	Name  sql.NullString    `seal:"name"`
	Seal  []byte            `seal:"seal"`
	Title string            `seal:"title"`
}

// Strings and bytes of one record go to memory of their own, whatever is NULL.
func TestAppendToOfBoth(t *testing.T) {
	for _, suite := range []crypto.Suite{crypto.Default, crypto.Compact} {
		ctx, ring := t.Context(), benchRing(t, suite)
		for i := range 3 * 3 * 2 * 2 {
			v := letter{ID: "7"}
			v.Scan = [][]byte{nil, {}, []byte("a scan of it")}[i%3]
			v.Seal = [][]byte{nil, {}, []byte("wax")}[i/3%3]
			v.Name.Valid = i/9%2 == 1
			if v.Name.Valid {
				v.Name.String = "Ada"
			}
			v.Title = []string{"", "On the Analytical Engine"}[i/18]
			buf := append(make([]byte, 0, 5+i*20), "front"...)
			var opts []structseal.Option
			for range 2 {
				row, err := structseal.Encrypt(ctx, ring, v, opts...)
				if err != nil {
					t.Fatal(err)
				}
				size := len(row.Scan) + len(row.Seal)
				if len(opts) > 0 && (len(buf) != 5+size || string(buf[5:]) != string(row.Scan)+string(row.Seal)) {
					t.Errorf("%v: %d: the ciphertexts aren't in the buffer", suite, i)
				}
				_ = append(row.Scan, "over the next one"...)
				got, err := structseal.Decrypt(ctx, ring, row, opts...)
				if err != nil || !reflect.DeepEqual(got, v) {
					t.Errorf("%v: %d: %+v, %v, want %+v", suite, i, got, err, v)
				}
				if want := "front" + string(v.Scan) + string(v.Seal); len(opts) > 0 && (len(buf) < 5 || string(buf[:5])+string(buf[5+size:]) != want) {
					t.Errorf("%v: %d: %q is in the buffer", suite, i, buf)
				}
				opts = append(opts, structseal.AppendTo(&buf))
			}
		}
	}
}
