package describe

import (
	"strings"
	"testing"

	"github.com/structseal/structseal/internal/sealtag"
)

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "ID": "id", "UserID": "user_id", "IDs": "ids", "HTTPServer": "http_server", "userName": "user_name", "A": "a", "AB": "ab",
		"ABc": "a_bc", "X_Y": "x__y", "X_Ya": "x_ya", "X1": "x1", "AbC1": "ab_c1", "OAuth2Token": "o_auth2_token", "APIKeyV2": "api_key_v2", "UUID": "uuid",
		"Straße": "straße", "ÄrgerÖl": "ärger_öl", "JSONData": "json_data", "MD5Hash": "md5_hash", "lower": "lower", "Is_OK": "is_ok", "XMLHTTPRequest": "xml_http_request", "A_": "a_",
	} {
		if got := Snake(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestTables(t *testing.T) {
	for name, want := range map[string]string{
		"Customer": "customers", "Company": "companies", "Day": "days", "Box": "boxes", "Branch": "branches", "Address": "addresses", "Wish": "wishes",
		"Person": "people", "SalesPerson": "sales_people", "Woman": "women", "Child": "children", "Analysis": "analyses", "Status": "statuses",
		"News": "news", "Mouse": "mice", "Axis": "axes", "FieldMouse": "field_mouses", "Datum": "data", "Index": "indices", "Wife": "wives", "Giraffe": "giraffes",
		"Boy": "boys", "Soliloquy": "soliloquies", "Human": "humen", "Leaf": "leafs", "Half": "halves", "Bus": "buses", "Alias": "aliases", "Schema": "schemas", "Media": "media",
		"Series": "series", "Money": "money", "V2": "v2", "HTTPLog": "http_logs", "Of[a/b.T]": "ofs", "": "",
	} {
		if got := tableOf(&Struct{Name: name}); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	s := &Struct{Name: "X", BunTag: "table:from_bun,alias:x", TableName: "from_method", Marker: sealtag.Tag{Table: "from_tag"}}
	for _, want := range []string{"from_tag", "from_method", "from_bun", "xes", ""} {
		if got := tableOf(s); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		switch want {
		case "from_tag":
			s.Marker.Table = ""
		case "from_method":
			s.TableName = ""
		case "from_bun":
			s.BunTag = "alias:x"
		case "xes":
			s.Marker.Table = "-"
		}
	}
}

func TestColumns(t *testing.T) {
	const none = "(none)"
	for raw, want := range map[string]string{
		``:                                     "p_user_id",
		`gorm:"column:a" bun:"b" db:"c"`:       "p_a",
		`gorm:"not null" bun:"b" db:"c"`:       "p_b",
		`gorm:"Column:A"`:                      "p_A",
		`gorm:"default:a\\;column:b;column:c"`: "p_c",
		`gorm:"-"`:                             none,
		`gorm:"-:all"`:                         none,
		`gorm:"-:migration"`:                   "p_user_id",
		`gorm:"<-:create"`:                     "p_user_id",
		`bun:"b,pk"`:                           "p_b",
		`bun:",pk"`:                            "p_user_id",
		`bun:"type:text,column:x"`:             "p_x",
		`bun:"type:text"`:                      "p_user_id",
		`bun:"-"`:                              none,
		`bun:"rel:has-many,join:id=x"`:         none,
		`bun:"m2m:a_to_b,join:A=B"`:            none,
		`db:"c,omitempty"`:                     "p_c",
		`db:",omitempty"`:                      "p_user_id",
		`db:"-"`:                               none,
		`json:"x"`:                             "p_user_id",
		`seal:"a,column=said" gorm:"-" db:"c"`: "said",
		`seal:"a,column=-" gorm:"column:a"`:    none,
	} {
		value, _, err := sealtag.Lookup(raw)
		if err != nil {
			t.Fatal(err)
		}
		m := Member{Chain: []GoField{{Name: "UserID", Tag: raw}}}
		if value != "" {
			if m.Tag, err = sealtag.Parse(value, false); err != nil {
				t.Fatal(err)
			}
		}
		if want == none {
			want = ""
		}
		got, explicit := columnOf("p_", m)
		if got != want || explicit != (got != "p_user_id") {
			t.Errorf("`%s`: %q, %t, want %q", raw, got, explicit, want)
		}
	}
}

func TestEmbeds(t *testing.T) {
	for raw, want := range map[string]string{
		``: "", `gorm:"embedded"`: "flat", `gorm:"embedded;embeddedPrefix:a_" bun:"embed:b_"`: "flat a_", `gorm:"embedded" bun:"embed:b_"`: "flat", `bun:"embed:b_"`: "flat b_", `bun:"embedded"`: "",
	} {
		got := ""
		if flat, prefix := embeds(Member{Chain: []GoField{{Name: "A", Tag: raw}}}); flat {
			got = strings.TrimSpace("flat " + prefix)
		}
		if got != want {
			t.Errorf("`%s`: %q, want %q", raw, got, want)
		}
	}
	if flat, prefix := embeds(Member{Chain: []GoField{{Name: "A", Anonymous: true, Tag: `gorm:"embeddedPrefix:c_"`}}}); !flat || prefix != "c_" {
		t.Errorf("anonymous: %t, %q", flat, prefix)
	}
}

func TestTypeText(t *testing.T) {
	for text, want := range map[string]string{
		"string": "string",
		"structseal.Sealed[github.com/a/b-c.v2/d.T]":                      "structseal.Sealed[d.T]",
		"map[uint8][16]uint8":                                             "map[uint8][16]byte",
		"[]uint8":                                                         "[]byte",
		"structseal.Sealed[map[string]interface {}]":                      "structseal.Sealed[map[string]any]",
		"a.Of[example.com/x/a.local·1,*example.com/y.T]":                  "a.Of[a.local,*y.T]",
		"structseal.Sealed[func(example.com/a/b.T, int) []uint8]":         "structseal.Sealed[func(b.T, int) []byte]",
		"structseal.Sealed[struct { A example.com/a/b.T \"json:\\\"\" }]": "structseal.Sealed[struct { A b.T \"json:\\\"\" }]",
	} {
		if got := TypeText(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
