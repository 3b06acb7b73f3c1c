package structseal_test

import (
	"bytes"
	"crypto/fips140"
	"database/sql"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/structseal/structseal"
)

var addGolden = flag.String("add-golden", "", "append rows made by this code to testdata/golden.json, with this remark")

const goldenFile = "testdata/golden.json"

// golden is frozen, like the rows that are stored somewhere: never change a label
// or a type here, add records instead.
type golden struct {
	_        structseal.Record                 `seal:"golden.record,require=tenant"`
	ID       string                            `seal:"id,bind"`
	Serial   int64                             `seal:"a_serial,bind"`
	UUID     uuid                              `seal:"uuid,bind"`
	Text     string                            `seal:"text"`
	Blob     []byte                            `seal:"blob"`
	Null     sql.NullString                    `seal:"null"`
	Lines    []string                          `seal:"lines"`
	Grid     [2][]string                       `seal:"grid"`
	ByName   map[string]string                 `seal:"by_name"`
	ByNumber map[int]structseal.Sealed[string] `seal:"by_number"`
	Born     structseal.Sealed[time.Time]      `seal:"born"`
	Count    structseal.Sealed[int]            `seal:"count"`
	Raw      structseal.Sealed[[16]byte]       `seal:"raw"`
	Card     structseal.Sealed[goldenCard]     `seal:"card"`
	Email    string                            `seal:"email,det=email"`
	Home     goldenHome                        `seal:"home"`
	Kids     []goldenKid
	Folded
}

type goldenCard struct {
	Number string `json:"number"`
	Year   int    `json:"year"`
}

type goldenHome struct {
	Street string                `seal:"street"`
	Rooms  map[string]goldenHome `seal:"rooms" json:",omitempty"`
}

type goldenKid struct {
	_    structseal.Record `seal:"golden.kid"`
	ID   uint8             `seal:"id,bind"`
	Name *string           `seal:"name"`
}

// Folded is embedded without a tag.
type Folded struct {
	Note string `seal:"note"`
}

func newGolden() golden {
	name := "Byron"
	return golden{
		ID: "g-1", Serial: -42, UUID: uuid{1, 2, 3, 15: 0xff}, Text: "", Blob: []byte{0, 1, 0xff}, Null: sql.NullString{String: "é", Valid: true},
		Lines: []string{"one", "two", "three"}, Grid: [2][]string{{"g"}, nil}, ByName: map[string]string{"": "empty", "3": "three"},
		ByNumber: map[int]structseal.Sealed[string]{3: structseal.Of("drei"), -1: structseal.Of("")},
		Born:     structseal.Of(time.Date(1815, 12, 10, 1, 2, 3, 4000, time.FixedZone("", -5400))), Count: structseal.Of(-7),
		Raw: structseal.Of([16]byte{1, 0xfe}), Card: structseal.Of(goldenCard{"4929 <&>", 2031}), Email: "ada@example.net",
		Home: goldenHome{"12 St James's Square", map[string]goldenHome{"attic": {Street: "up"}}},
		Kids: []goldenKid{{ID: 1, Name: &name}, {ID: 2}}, Folded: Folded{"folded"},
	}
}

type goldenRow struct {
	Remark string
	Suite  string
	Row    golden
}

// TestGoldenRows opens rows that were stored by earlier code, under keys that
// never change. If it fails, existing data can't be read any more: mend the code,
// not the file.
func TestGoldenRows(t *testing.T) {
	var stored []json.RawMessage
	text, err := os.ReadFile(goldenFile)
	if err == nil {
		err = json.Unmarshal(text, &stored)
	}
	if *addGolden != "" {
		stored = append(stored, makeGolden(t, primaryID, "xaes-256-gcm"), makeGolden(t, compactID, "aes-256-gcm"))
		text = must(json.MarshalIndent(stored, "", "\t"))(t)
		err = os.WriteFile(goldenFile, append(text, '\n'), 0o644)
	}
	if err != nil || len(stored) < 2 {
		t.Fatalf("%d golden rows: %v", len(stored), err)
	}
	ring := fixedRing(t, "golden")
	want := newGolden()
	opts := []structseal.Option{structseal.Bind("tenant", 7)}
	for i, s := range stored {
		var g goldenRow
		d := json.NewDecoder(bytes.NewReader(s))
		d.DisallowUnknownFields()
		if err := d.Decode(&g); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
		if fips140.Enforced() { // without its AES-SIV
			opts = append(opts, structseal.Only("text", "blob", "null", "lines", "grid", "by_name", "by_number", "born", "count", "raw", "card", "home", "note"))
			want.Email, want.Kids = g.Row.Email, g.Row.Kids
		}
		back, err := structseal.Decrypt(t.Context(), ring, g.Row, opts...)
		if err != nil {
			t.Errorf("row %d (%s, %s): %v", i, g.Suite, g.Remark, err)
			continue
		}
		if d := difference(back, want); d != "" {
			t.Errorf("row %d (%s, %s): %s", i, g.Suite, g.Remark, d)
		}
		// Deterministic ciphertexts are the same for ever.
		if !fips140.Enforced() {
			again := must(structseal.Encrypt(t.Context(), ring, want, structseal.Bind("tenant", 7)))(t)
			if again.Email != g.Row.Email {
				t.Errorf("row %d: the deterministic ciphertext has changed", i)
			}
		}
	}
}

func makeGolden(t *testing.T, primary uint32, suite string) json.RawMessage {
	row := must(structseal.Encrypt(t.Context(), fixedRingUnder(t, "golden", primary), newGolden(), structseal.Bind("tenant", 7)))(t)
	return must(json.Marshal(goldenRow{*addGolden, suite, row}))(t)
}
