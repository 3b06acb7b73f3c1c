package structseal_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/structsealtest"
)

// patient goes the short way. patientLong is the same record, but for a field that
// makes it go the long way; mixed ones have strings and bytes.
type patient struct {
	_     structseal.Record `seal:"patient"`
	ID    int64             `seal:"id,bind"`
	Org   string            `seal:"org,bind"`
	Name  string            `seal:"name"`
	Photo []byte            `seal:"photo"`
	Phone sql.NullString    `seal:"phone"`
	Print sql.Null[[]byte]  `seal:"print"`
	City  string
}

type patientLong struct {
	_     structseal.Record `seal:"patient"`
	ID    int64             `seal:"id,bind"`
	Org   string            `seal:"org,bind"`
	Name  string            `seal:"name"`
	Photo []byte            `seal:"photo"`
	Phone sql.NullString    `seal:"phone"`
	Print sql.Null[[]byte]  `seal:"print"`
	City  string
	More  []string `seal:"more"`
}

func (p patient) long() patientLong {
	return patientLong{ID: p.ID, Org: p.Org, Name: p.Name, Photo: p.Photo, Phone: p.Phone, Print: p.Print, City: p.City}
}

func (p patientLong) short() patient {
	return patient{ID: p.ID, Org: p.Org, Name: p.Name, Photo: p.Photo, Phone: p.Phone, Print: p.Print, City: p.City}
}

func patients() (all []patient) {
	for n := range 32 {
		p := patient{ID: int64(n + 1), Org: strings.Repeat("o", n%3+1), Name: strings.Repeat("n", n*7%40), City: "Rome"}
		if n&1 != 0 {
			p.Photo = bytes.Repeat([]byte{9}, n)
		}
		if n&2 != 0 {
			p.Phone = sql.NullString{String: fmt.Sprint("+", n), Valid: true}
		}
		if n&4 != 0 {
			p.Print = sql.Null[[]byte]{V: bytes.Repeat([]byte{8}, n%5), Valid: true}
		}
		if n&8 != 0 {
			p.Photo = []byte{}
		}
		all = append(all, p)
	}
	return all
}

// What one way seals the other one opens, NULLs and empty values included.
func TestShortAndLongWay(t *testing.T) {
	ctx := t.Context()
	for _, suite := range []crypto.Suite{crypto.Default, crypto.Compact} {
		ring := benchRing(t, suite)
		tenant := structseal.Bind("tenant", "acme")
		for i, p := range patients() {
			for _, opts := range [][]structseal.Option{nil, {tenant}} {
				row, err := structseal.Encrypt(ctx, ring, p, opts...)
				if err != nil {
					t.Fatal(err)
				}
				if row.Name == p.Name || row.City != p.City || row.Phone.Valid && row.Phone.String == p.Phone.String || (row.Photo == nil) != (p.Photo == nil) {
					t.Fatalf("%+v became %+v", p, row)
				}
				long, err := structseal.Decrypt(ctx, ring, row.long(), opts...)
				if err != nil || !reflect.DeepEqual(long.short(), p) {
					t.Fatalf("%d: %+v was opened to %+v, %v", i, p, long, err)
				}
				rowLong, err := structseal.Encrypt(ctx, ring, p.long(), opts...)
				if err != nil {
					t.Fatal(err)
				}
				again, err := structseal.Decrypt(ctx, ring, rowLong.short(), opts...)
				if err != nil || !reflect.DeepEqual(again, p) {
					t.Fatalf("%d: %+v was opened to %+v, %v", i, p, again, err)
				}
			}
		}
	}
}

// What is wrong with a record both ways say in the same words, and what is unusual about
// it comes to the same.
func TestShortAndLongWayAgree(t *testing.T) {
	ctx := t.Context()
	ring, other := structsealtest.Ring(t), structsealtest.Ring(t)
	full := patients()[7]
	sealed := func(r *keyring.Keyring, p patient) patient {
		row, err := structseal.Encrypt(ctx, r, p)
		if err != nil {
			t.Fatal(err)
		}
		return row
	}
	row, foreign := sealed(ring, full), sealed(other, full)
	before := row
	if _, err := ring.Rotate(ctx, keyring.Data, &keyring.RotateOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	after := sealed(ring, full)
	with := func(p patient, change func(*patient)) patient {
		change(&p)
		return p
	}
	flipped := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
		return b
	}
	var count atomic.Int64
	for name, c := range map[string]struct {
		encrypt bool
		in      patient
		opts    []structseal.Option
		fails   error // nil if it works
	}{
		"two keys":                {in: with(before, func(p *patient) { p.Photo = after.Photo })},
		"plain string":            {in: with(row, func(p *patient) { p.Name = "Ada" }), fails: structseal.ErrNotEncrypted},
		"plain bytes":             {in: with(row, func(p *patient) { p.Photo = []byte("Ada") }), fails: structseal.ErrNotEncrypted},
		"empty string":            {in: with(row, func(p *patient) { p.Phone.String = "" }), fails: structseal.ErrNotEncrypted},
		"plaintext allowed":       {in: with(row, func(p *patient) { p.Name = "Ada" }), opts: []structseal.Option{structseal.AllowPlaintext(&count)}},
		"changed bytes":           {in: with(row, func(p *patient) { p.Photo = flipped(p.Photo) }), fails: structseal.ErrTampered},
		"changed last":            {in: with(row, func(p *patient) { p.Print.V = flipped(p.Print.V) }), fails: structseal.ErrTampered},
		"cut bytes":               {in: with(row, func(p *patient) { p.Photo = p.Photo[:40] }), fails: structseal.ErrTampered},
		"cut text":                {in: with(row, func(p *patient) { p.Name = p.Name[:len(p.Name)-4] }), fails: structseal.ErrTampered},
		"no text":                 {in: with(row, func(p *patient) { p.Name = "s1." }), fails: structseal.ErrTampered},
		"another row":             {in: with(row, func(p *patient) { p.ID++ }), fails: structseal.ErrTampered},
		"swapped fields":          {in: with(row, func(p *patient) { p.Photo, p.Print.V = p.Print.V, p.Photo }), fails: structseal.ErrTampered},
		"another ring":            {in: foreign, fails: structseal.ErrUnknownKey},
		"no id":                   {in: with(row, func(p *patient) { p.ID = 0 }), fails: structseal.ErrUnbound},
		"bound to more":           {in: row, opts: []structseal.Option{structseal.Bind("tenant", "acme")}, fails: structseal.ErrTampered},
		"label given twice":       {in: row, opts: []structseal.Option{structseal.Bind("org", "acme")}, fails: structseal.ErrInvalidArgument},
		"one field":               {in: row, opts: []structseal.Option{structseal.Only("photo")}},
		"encrypt: no id":          {encrypt: true, in: with(full, func(p *patient) { p.Org = "" }), fails: structseal.ErrUnbound},
		"encrypt: again, string":  {encrypt: true, in: with(full, func(p *patient) { p.Name = row.Name }), fails: structseal.ErrEncrypted},
		"encrypt: again, bytes":   {encrypt: true, in: with(full, func(p *patient) { p.Photo = row.Photo }), fails: structseal.ErrEncrypted},
		"encrypt: foreign, bytes": {encrypt: true, in: with(full, func(p *patient) { p.Photo = row.Print.V }), fails: structseal.ErrForeignCiphertext},
		"encrypt: looks like one": {encrypt: true, in: with(full, func(p *patient) { p.Name, p.Photo = "s1.", []byte{1} })},
		"encrypt: one, literally": {encrypt: true, in: with(full, func(p *patient) { p.Name = row.Name }), opts: []structseal.Option{structseal.Literal()}},
		"encrypt: large":          {encrypt: true, in: with(full, func(p *patient) { p.Photo = bytes.Repeat([]byte{5}, 1<<16) })},
	} {
		verb, verbLong := structseal.Decrypt[patient], structseal.Decrypt[patientLong]
		if c.encrypt {
			verb, verbLong = structseal.Encrypt[patient], structseal.Encrypt[patientLong]
		}
		in := c.in
		short, err := verb(ctx, ring, c.in, c.opts...)
		long, errLong := verbLong(ctx, ring, c.in.long(), c.opts...)
		if !reflect.DeepEqual(c.in, in) {
			t.Errorf("%s: the caller's value was changed", name)
		}
		if !errors.Is(err, c.fails) || !errors.Is(errLong, c.fails) {
			t.Errorf("%s: %v; the long way: %v", name, err, errLong)
			continue
		}
		if c.fails != nil {
			if strings.ReplaceAll(errLong.Error(), "patientLong", "patient") != err.Error() || !reflect.DeepEqual(short, patient{}) {
				t.Errorf("%s: %+v, %v; the long way: %v", name, short, err, errLong)
			}
			continue
		}
		if c.encrypt { // they differ, and open to the same
			if short, err = structseal.Decrypt(ctx, ring, short); err != nil || !reflect.DeepEqual(short, c.in) {
				t.Errorf("%s: %+v, %v", name, short, err)
			}
			continue
		}
		if !reflect.DeepEqual(short, long.short()) {
			t.Errorf("%s: %+v; the long way: %+v", name, short, long)
		}
	}
	if n := count.Load(); n != 2 {
		t.Errorf("%d plaintexts", n)
	}
}

// refusingKMS refuses to unwrap data keys.
type refusingKMS struct {
	countingKMS
	refuses bool
}

func (k *refusingKMS) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	if k.refuses {
		k.unwraps.Add(1)
		return nil, kmsprovider.ErrDenied
	}
	return k.countingKMS.Unwrap(ctx, wrapped, kc)
}

// A key that can't be had is asked for once, though there are two ways.
func TestShortWayAsksOnce(t *testing.T) {
	ctx := t.Context()
	kms := &refusingKMS{countingKMS: countingKMS{Provider: localkms.NewRandom()}}
	store := keyring.NewMemoryStore()
	ring, pin, err := keyring.Create(ctx, "r", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	row, err := structseal.Encrypt(ctx, ring, patients()[7])
	if err != nil {
		t.Fatal(err)
	}
	for verb, f := range map[string]func(ctx context.Context, ring *keyring.Keyring, v patient, opts ...structseal.Option) (patient, error){
		"encrypt": structseal.Encrypt[patient],
		"decrypt": structseal.Decrypt[patient],
	} {
		in := row
		if verb == "encrypt" {
			in = patients()[7]
		}
		kms.refuses = false
		cold, err := keyring.Open(ctx, "r", store, kms, pin, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer cold.Close()
		kms.refuses = true
		before := kms.unwraps.Load()
		if _, err := f(ctx, cold, in); !errors.Is(err, kmsprovider.ErrDenied) {
			t.Errorf("%s: %v", verb, err)
		}
		if n := kms.unwraps.Load() - before; n != 1 {
			t.Errorf("%s: %d unwraps", verb, n)
		}
	}
}

type twoAndOne struct {
	_  structseal.Record       `seal:"two"`
	ID string                  `seal:"id,bind"`
	A  string                  `seal:"a"`
	B  string                  `seal:"b"`
	C  *structseal.Sealed[int] `seal:"c"`
}

// A key of the compact suite counts a message for each value, whichever way it goes: in
// records, with NULLs, in slices.
func TestMessagesAreCountedOnce(t *testing.T) {
	ctx, ring := t.Context(), benchRing(t, crypto.Compact)
	key, err := ring.Primary(ctx, keyring.Data)
	if err != nil {
		t.Fatal(err)
	}
	five := structseal.Of(5)
	nulls := patient{ID: 1, Org: "o", Name: "Ada"}
	for name, c := range map[string]struct {
		values int
		f      func() error
	}{
		"short way":        {5, func() error { _, err := structseal.Encrypt(ctx, ring, bench); return err }},
		"long way":         {3, func() error { _, err := structseal.Encrypt(ctx, ring, twoAndOne{ID: "1", C: &five}); return err }},
		"NULLs":            {1, func() error { _, err := structseal.Encrypt(ctx, ring, nulls); return err }},
		"NULLs in a slice": {2, func() error { _, err := structseal.EncryptAll(ctx, ring, []patient{nulls, nulls}); return err }},
		"slice":            {200, func() error { _, err := structseal.EncryptAll(ctx, ring, make40(bench)); return err }},
	} {
		before := key.Messages()
		for range 100 {
			if err := c.f(); err != nil {
				t.Fatal(err)
			}
		}
		// A chunk of records may count a few too many where its reads of randomness end.
		if n := int(key.Messages() - before); n < 100*c.values || n > 105*c.values {
			t.Errorf("%s: %d messages for %d values", name, n, 100*c.values)
		}
	}
}

func make40(v benchCustomer) []benchCustomer {
	all := make([]benchCustomer, 40)
	for i := range all {
		all[i] = v
	}
	return all
}

// countingReader counts the randomness that is read.
type countingReader struct {
	io.Reader
	n atomic.Int64
}

func (r *countingReader) Read(b []byte) (int, error) {
	r.n.Add(int64(len(b)))
	return r.Reader.Read(b)
}

// Every call reads the randomness of its nonces: what another one has read and not used,
// whichever way it went, was as old as that one.
func TestRandomnessIsOfTheCall(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("the mode makes its own nonces")
	}
	ctx, ring := t.Context(), benchRing(t, crypto.Compact)
	five := structseal.Of(5)
	counted := &countingReader{Reader: rand.Reader}
	rand.Reader = counted
	defer func() { rand.Reader = counted.Reader }()
	long := strings.Repeat("x", 1<<15)
	for name, f := range map[string]func() error{
		"a short one":       func() error { _, err := structseal.Encrypt(ctx, ring, bench); return err },
		"a long one":        func() error { _, err := structseal.Encrypt(ctx, ring, twoAndOne{ID: "1", C: &five}); return err },
		"one of large ones": func() error { _, err := structseal.Encrypt(ctx, ring, twoAndOne{ID: "1", A: long, B: "b"}); return err },
		"a slice":           func() error { _, err := structseal.EncryptAll(ctx, ring, make40(bench)[:3]); return err },
		"one that failed": func() error {
			bad := make40(bench)[:3]
			bad[1].ID = ""
			if _, err := structseal.EncryptAll(ctx, ring, bad); !errors.Is(err, structseal.ErrUnbound) {
				t.Errorf("the slice: %v", err)
			}
			return nil
		},
	} {
		for range 20 {
			if err := f(); err != nil {
				t.Fatal(err)
			}
			before := counted.n.Load()
			if _, err := structseal.Encrypt(ctx, ring, bench); err != nil {
				t.Fatal(err)
			}
			if n := counted.n.Load() - before; n < 5*12 {
				t.Fatalf("after %s five values read %d bytes", name, n)
			}
		}
	}
}
