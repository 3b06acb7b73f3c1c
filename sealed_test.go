package structseal_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
)

// sealedCells returns the same cell unsealed and sealed.
func sealedCells(t *testing.T) (plain, sealed structseal.Sealed[string], text string) {
	t.Helper()
	v := sealedOne[string]{ID: 1, V: structseal.Of("the secret")}
	row := must(structseal.Encrypt(t.Context(), fixedRing(t, "r"), v))(t)
	return v.V, row.V, string(must(row.V.MarshalText())(t))
}

// TestSealedWays sends a Sealed through every encoder: the ciphertext goes out and
// comes back, a value doesn't go anywhere.
func TestSealedWays(t *testing.T) {
	type S = structseal.Sealed[string]
	type holder struct {
		XMLName struct{} `json:"-" xml:"h"`
		A       string   `xml:"a,attr"`
		V       S        `xml:"v"`
		W       S        `xml:"w,attr"`
	}
	plain, sealed, text := sealedCells(t)
	for name, way := range map[string]func(S) (out []byte, back S, err error){
		"text": func(s S) (out []byte, back S, err error) {
			if out, err = s.MarshalText(); err == nil {
				err = back.UnmarshalText(out)
			}
			return
		},
		"binary": func(s S) (out []byte, back S, err error) {
			if out, err = s.MarshalBinary(); err == nil {
				err = back.UnmarshalBinary(out)
			}
			return
		},
		"json": func(s S) (out []byte, back S, err error) {
			if out, err = json.Marshal(holder{A: "a", V: s, W: sealed}); err == nil {
				var h holder
				err = json.Unmarshal(out, &h)
				back = h.V
			}
			return
		},
		"json map key": func(s S) (out []byte, back S, err error) {
			if out, err = json.Marshal(map[string]*S{"k": &s}); err == nil {
				var m map[string]*S
				if err = json.Unmarshal(out, &m); err == nil {
					back = *m["k"]
				}
			}
			return
		},
		"xml": func(s S) (out []byte, back S, err error) {
			if out, err = xml.Marshal(holder{A: "a", V: s, W: sealed}); err == nil {
				var h holder
				err = xml.Unmarshal(out, &h)
				back = h.V
			}
			return
		},
		"xml attribute": func(s S) (out []byte, back S, err error) {
			if out, err = xml.Marshal(holder{A: "a", V: sealed, W: s}); err == nil {
				var h holder
				err = xml.Unmarshal(out, &h)
				back = h.W
			}
			return
		},
		"gob": func(s S) (out []byte, back S, err error) {
			var b bytes.Buffer
			if err = gob.NewEncoder(&b).Encode(struct{ V S }{s}); err == nil {
				out = bytes.Clone(b.Bytes())
				var h struct{ V S }
				err = gob.NewDecoder(&b).Decode(&h)
				back = h.V
			}
			return
		},
		"bson": func(s S) (out []byte, back S, err error) {
			typ, out, err := s.MarshalBSONValue()
			if err == nil {
				if typ != 2 || !bytes.HasSuffix(out, append([]byte(text), 0)) {
					t.Errorf("bson: type %d, %q", typ, out)
				}
				err = back.UnmarshalBSONValue(typ, out)
			}
			return
		},
		"sql": func(s S) (out []byte, back S, err error) {
			v, err := s.Value()
			if err == nil {
				if v != driver.Value(text) {
					t.Errorf("Value: %v", v)
				}
				out = []byte(v.(string))
				err = back.Scan(v)
			}
			return
		},
	} {
		out, back, err := way(sealed)
		if err != nil || !back.Equal(sealed) || !back.IsSealed() {
			t.Errorf("%s: sealed: %v, %v", name, back, err)
		}
		if bytes.Contains(out, []byte("secret")) {
			t.Errorf("%s: plaintext goes out", name)
		}
		for state, s := range map[string]S{"unsealed": plain, "zero": {}} {
			if name == "gob" && s.IsZero() {
				continue // gob leaves zero values out, and reads zero back
			}
			out, back, err := way(s)
			if err == nil || strings.Contains(err.Error(), "secret") || bytes.Contains(out, []byte("secret")) || !back.IsZero() {
				t.Errorf("%s: %s: %v, %v", name, state, back, err)
			}
			// Package gob and xml wrap errors as they like.
			if name != "gob" && !errors.Is(err, structseal.ErrNotEncrypted) {
				t.Errorf("%s: %s: %v", name, state, err)
			}
		}
	}
}

// TestSealedReads: what doesn't hold a ciphertext isn't read as one.
func TestSealedReads(t *testing.T) {
	type S = structseal.Sealed[string]
	plain, sealed, text := sealedCells(t)
	kept := sealed
	for what, in := range map[string]string{"plaintext": "the secret", "nothing": ""} {
		for name, err := range map[string]error{
			"text":   kept.UnmarshalText([]byte(in)),
			"binary": kept.UnmarshalBinary([]byte(in)),
			"json":   kept.UnmarshalJSON(must(json.Marshal(in))(t)),
			"bson":   kept.UnmarshalBSONValue(2, append([]byte{byte(len(in) + 1), 0, 0, 0}, in+"\x00"...)),
		} {
			wantErr(t, name+": "+what, err, structseal.ErrNotEncrypted)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for name, err := range map[string]error{
		"json number":  kept.UnmarshalJSON([]byte("123")),
		"json object":  kept.UnmarshalJSON([]byte(`{"secret":1}`)),
		"bson int":     kept.UnmarshalBSONValue(0x10, []byte{1, 2, 3, 4}),
		"bson short":   kept.UnmarshalBSONValue(2, []byte{1}),
		"bson length":  kept.UnmarshalBSONValue(2, []byte{255, 255, 255, 255, 0}),
		"bson nothing": kept.UnmarshalBSONValue(2, nil),
	} {
		wantErr(t, name, err, structseal.ErrNotEncrypted)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, s := range []string{text + "=", text + "\n", "s1.", "s1.!", text[:len(text)-1] + "\r"} {
		wantErr(t, fmt.Sprintf("%q", s), kept.UnmarshalText([]byte(s)), structseal.ErrTampered)
		wantErr(t, fmt.Sprintf("Scan %q", s), kept.Scan(s), structseal.ErrTampered)
	}
	if !kept.Equal(sealed) {
		t.Error("an error changed the value")
	}
	if err := kept.UnmarshalJSON([]byte("null")); err != nil || !kept.Equal(sealed) {
		t.Errorf("json null: %v", err)
	}

	// Both forms, from both kinds of columns.
	var in S
	bin := must(sealed.MarshalBinary())(t)
	for _, src := range []any{text, []byte(text), string(bin), bin} {
		if err := in.Scan(src); err != nil || !in.Equal(sealed) {
			t.Errorf("Scan(%T): %v", src, err)
		}
	}
	// Drivers reuse their memory.
	shared := bytes.Clone(bin)
	if err := in.Scan(shared); err != nil {
		t.Fatal(err)
	}
	clear(shared)
	out := must(in.MarshalBinary())(t)
	clear(out)
	if !in.Equal(sealed) {
		t.Error("a Sealed shares memory with what it was read from or written to")
	}
	if err := in.Scan(nil); err == nil || !strings.Contains(err.Error(), "*Sealed") {
		t.Errorf("NULL: %v", err)
	}
	if err := in.Scan(struct{ secret string }{"secret"}); err == nil || strings.Contains(err.Error(), "{secret}") {
		t.Errorf("Scan of a struct: %v", err)
	}

	// Plaintext in a column is kept aside.
	if err := in.Scan("the secret"); err != nil {
		t.Fatal(err)
	}
	_, err := in.Get()
	wantErr(t, "Get of a column's plaintext", err, structseal.ErrNotEncrypted)
	_, err = in.Value()
	wantErr(t, "Value of a column's plaintext", err, structseal.ErrNotEncrypted)
	if in.IsSealed() || in.IsZero() || in.Equal(plain) || in.Equal(S{}) || !in.Equal(in) {
		t.Error("a column's plaintext passes for something else")
	}
	_, err = sealed.Get()
	wantErr(t, "Get of a sealed one", err, structseal.ErrEncrypted)
}

func TestSealedEqual(t *testing.T) {
	plain, sealed, _ := sealedCells(t)
	again := must(structseal.Encrypt(t.Context(), fixedRing(t, "r"), sealedOne[string]{ID: 1, V: plain}))(t).V
	var zero structseal.Sealed[string]
	for name, c := range map[string]struct{ got, want bool }{
		"values":                     {plain.Equal(structseal.Of("the secret")), true},
		"other values":               {plain.Equal(structseal.Of("another")), false},
		"zero and empty":             {zero.Equal(structseal.Of("")), true},
		"sealed and value":           {sealed.Equal(plain), false},
		"value and sealed":           {plain.Equal(sealed), false},
		"sealed":                     {sealed.Equal(sealed), true},
		"sealed twice":               {sealed.Equal(again), false},
		"by Equal":                   {structseal.Of(time.Unix(1, 0)).Equal(structseal.Of(time.Unix(1, 0).UTC())), true},
		"bytes":                      {structseal.Of([]byte{}).Equal(structseal.Of([]byte(nil))), true},
		"named bytes":                {structseal.Of(namedBytes{}).Equal(structseal.Of(namedBytes(nil))), true},
		"other bytes":                {structseal.Of(namedBytes{1}).Equal(structseal.Of(namedBytes{2})), false},
		"maps":                       {structseal.Of(map[string]int{"a": 1}).Equal(structseal.Of(map[string]int{"a": 1})), true},
		"zero IsZero":                {zero.IsZero(), true},
		"empty IsZero":               {structseal.Of("").IsZero(), true},
		"value IsZero":               {plain.IsZero(), false},
		"sealed IsZero":              {sealed.IsZero(), false},
		"zero IsSealed":              {zero.IsSealed(), false},
		"pointer to nothing, IsZero": {structseal.Of(new(int)).IsZero(), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %t", name, c.got)
		}
	}
	if v, err := zero.Get(); v != "" || err != nil {
		t.Errorf("zero: %q, %v", v, err)
	}
	for _, s := range []structseal.Sealed[string]{plain, sealed, zero} {
		if out := fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s) + s.LogValue().String(); strings.Contains(out, "secret") || strings.Contains(out, "736563") {
			t.Error(out)
		}
	}
	var _ encoding.TextMarshaler = plain
	var _ driver.Valuer = plain
	var _ sql.Scanner = &plain
	if structseal.Of(1).GormDataType() != "text" {
		t.Error("GormDataType")
	}
}

// column is a database with one row of one column.
type column struct{ value driver.Value }

func (c *column) Connect(context.Context) (driver.Conn, error) { return c, nil }
func (c *column) Driver() driver.Driver                        { return nil }
func (c *column) Prepare(string) (driver.Stmt, error)          { return c, nil }
func (c *column) Close() error                                 { return nil }
func (c *column) Begin() (driver.Tx, error)                    { return nil, errors.New("no") }
func (c *column) NumInput() int                                { return -1 }
func (c *column) Query([]driver.Value) (driver.Rows, error)    { return &rows{column: c}, nil }
func (c *column) Exec(args []driver.Value) (driver.Result, error) {
	c.value = args[0]
	return driver.RowsAffected(1), nil
}

type rows struct {
	*column
	done bool
}

func (r *rows) Columns() []string { return []string{"c"} }
func (r *rows) Next(dest []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	dest[0] = r.value
	return nil
}

// TestSealedDatabase writes and reads through database/sql.
func TestSealedDatabase(t *testing.T) {
	plain, sealed, text := sealedCells(t)
	c := &column{value: "untouched"}
	db := sql.OpenDB(c)
	defer db.Close()
	ctx := t.Context()

	for _, arg := range []any{plain, &plain, structseal.Sealed[string]{}} {
		_, err := db.ExecContext(ctx, "insert", arg)
		wantErr(t, "an unsealed argument", err, structseal.ErrNotEncrypted)
	}
	if c.value != "untouched" {
		t.Errorf("the database got %v", c.value)
	}
	var none *structseal.Sealed[string]
	for _, arg := range []any{sealed, &sealed, none} {
		must(db.ExecContext(ctx, "insert", arg))(t)
		var back *structseal.Sealed[string]
		if err := db.QueryRowContext(ctx, "select").Scan(&back); err != nil {
			t.Fatal(err)
		}
		if arg == any(none) {
			if c.value != nil || back != nil {
				t.Errorf("NULL: %v, %v", c.value, back)
			}
			var s structseal.Sealed[string]
			if err := db.QueryRowContext(ctx, "select").Scan(&s); err == nil {
				t.Error("NULL was read into a Sealed")
			}
			continue
		}
		if c.value != driver.Value(text) || back == nil || !back.Equal(sealed) {
			t.Errorf("the database got %v, read %v", c.value, back)
		}
	}
	// sql.Null works as well.
	n := sql.Null[structseal.Sealed[string]]{V: sealed, Valid: true}
	must(db.ExecContext(ctx, "insert", n))(t)
	var back sql.Null[structseal.Sealed[string]]
	if err := db.QueryRowContext(ctx, "select").Scan(&back); err != nil || !back.Valid || !back.V.Equal(sealed) {
		t.Errorf("sql.Null: %v, %v", back, err)
	}
	must(db.ExecContext(ctx, "insert", sql.Null[structseal.Sealed[string]]{}))(t)
	if err := db.QueryRowContext(ctx, "select").Scan(&back); err != nil || back.Valid || c.value != nil {
		t.Errorf("sql.Null, NULL: %v, %v", back, err)
	}
	if _, err := crypto.ParseText(nil, text); err != nil {
		t.Error(err)
	}
}
