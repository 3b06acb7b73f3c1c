// Package good has records of all kinds, for a comparison of what source says with
// what reflection says.
package good

import (
	"database/sql"
	"encoding/json"
	"math/big"
	"net/netip"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/cmd/structseal/inventory/testdata/good/other"
	"github.com/structseal/structseal/manifest"
)

// All describes every record of the package by reflection.
var All = []func() (manifest.Record, error){
	structseal.Describe[Customer],
	structseal.Describe[CustomerName],
	structseal.Describe[embedding],
	structseal.Describe[embeddedMarker],
	structseal.Describe[leaves],
	structseal.Describe[order],
	structseal.Describe[item],
	structseal.Describe[other.Line],
	structseal.Describe[sealedOne[int]],
	structseal.Describe[sealedOne[other.Text]],
	structseal.Describe[sealedOne[map[string][]byte]],
	structseal.Describe[sealedOne[time.Time]],
	structseal.Describe[sealedOne[json.RawMessage]],
	structseal.Describe[sealedOne[big.Int]],
	structseal.Describe[sealedOne[tree]],
	structseal.Describe[sealedOne[struct {
		A     int `json:"a"`
		Inner promoted
	}]],
	structseal.Describe[sealedOne[netip.Addr]],
	structseal.Describe[sealedOne[ownText]],
	structseal.Describe[outer],
	structseal.Describe[person],
	structseal.Describe[patient],
	structseal.Describe[nobody],
	structseal.Describe[Model],
	structseal.Describe[named],
	structseal.Describe[HTTPLogEntry],
	structseal.Describe[binds1],
	structseal.Describe[binds2],
	structseal.Describe[binds3],
	structseal.Describe[binds4],
	structseal.Describe[noTable],
	structseal.Describe[aliased],
	structseal.Describe[account],
	structseal.Describe[itemLike],
	structseal.Describe[sealedOne[bool]],
	structseal.Describe[profiled],
	structseal.Describe[loop],
	structseal.Describe[unreadable],
	localRecord(),
	structseal.Describe[struct {
		_ structseal.Record `seal:"unnamed,unbound"`
		A string            `seal:"a"`
	}],
}

type (
	text      string
	textBytes []byte
	alias     = *structseal.Sealed[int]
	pairOf    = other.Pair[int, other.Text]
)

// Customer is what the README has.
type Customer struct {
	_     structseal.Record            `seal:"customer,table=app.customers,category=contact,require=tenant,require=region"`
	ID    string                       `seal:"id,bind,category=identifier"`
	Email string                       `seal:"email,column=e_mail" gorm:"column:not_this"`
	Born  structseal.Sealed[time.Time] `seal:"born,category=birth"`
	Plain string
}

// CustomerName is a part of it.
type CustomerName struct {
	_     structseal.Record `seal:"customer,table=app.customers,require=region,require=tenant"`
	ID    []byte            `seal:"id,bind"`
	Email string            `seal:"email"`
}

type (
	Base struct {
		ID      string `seal:"id,bind"`
		Created time.Time
		Note    string `seal:"note"`
	}
	base struct {
		Hidden string `seal:"hidden"`
	}
	Address struct {
		Street string          `seal:"street"`
		Tags   map[text][]text `seal:"tags"`
	}
	Contact struct {
		Mail *string `seal:"mail"`
	}
	embedding struct {
		_ structseal.Record `seal:"embedding"`
		Base
		base     `gorm:"embeddedPrefix:b_"`
		Address  `seal:"address,category=place"`
		*Contact `seal:"contact" gorm:"embeddedPrefix:c_"`
		Own      string `seal:"own"`
	}
	embeddedMarker struct {
		structseal.Record `seal:"embedded.marker"`
		ID                uint32 `seal:"id,bind"`
		A                 string `seal:"a"`
	}
)

type key struct{ A, B byte }

func (k key) MarshalText() ([]byte, error) { return []byte{'0' + k.A, ':', '0' + k.B}, nil }

type leaves struct {
	_  structseal.Record                      `seal:"leaves"`
	ID [16]byte                               `seal:"id,bind"`
	A  text                                   `seal:"a" db:"aa,omitempty"`
	B  textBytes                              `seal:"b" bun:"bb,pk"`
	C  **text                                 `seal:"c" bun:",nullzero"`
	D  *[]byte                                `seal:"d" bun:"type:bytea"`
	E  [][]byte                               `seal:"e"`
	F  map[int8]string                        `seal:"f"`
	G  map[key][]string                       `seal:"g"`
	H  map[text]*string                       `seal:"h"`
	I  [3]textBytes                           `seal:"i"`
	J  sql.NullString                         `seal:"j"`
	K  sql.Null[textBytes]                    `seal:"k"`
	L  []sql.Null[string]                     `seal:"l"`
	M  alias                                  `seal:"m"`
	N  []*structseal.Sealed[[]byte]           `seal:"n"`
	O  sql.Null[structseal.Sealed[bool]]      `seal:"o"`
	P  map[netip.Addr][2]map[uint]text        `seal:"p"`
	Q  [][][]string                           `seal:"q"`
	R  structseal.Sealed[[16]byte]            `seal:"r"`
	S  structseal.Sealed[map[string][]tree]   `seal:"s"`
	T  string                                 `seal:"t,det=some.domain" gorm:"-"`
	U  string                                 `seal:"u" gorm:"-:migration;column:uu" db:"-"`
	V  string                                 `seal:"v" gorm:"-:migration;column:uu"`
	W  string                                 `seal:"w,column=-"`
	X  structseal.Sealed[struct{ A any8 }]    `seal:"x"`
	Y  structseal.Sealed[struct{ time.Time }] `seal:"y"`
	Z  structseal.Sealed[struct{ Promoted2 }] `seal:"z"`
}

type any8 int8

type line struct {
	Text string `seal:"text"`
	More []line `seal:"more"`
	Up   *line  `seal:"up"`
}

type item struct {
	_    structseal.Record `seal:"item"`
	ID   int               `seal:"id,bind"`
	Name string            `seal:"name"`
	Subs []*item
}

type order struct {
	_       structseal.Record     `seal:"order"`
	ID      string                `seal:"id,bind"`
	First   line                  `seal:"first" gorm:"embedded;embeddedPrefix:first_"`
	Second  *line                 `seal:"second" bun:"embed:second_"`
	Lines   []line                `seal:"lines,column=line_json"`
	ByName  map[string]*line      `seal:"by_name"`
	Grid    [2][]line             `seal:"grid"`
	Deep    **line                `seal:"deep"`
	Items   []item                // a record of its own needs no label
	Named   map[int]item          `gorm:"column:named_json"`
	Nil     *item                 //
	Two     [2]item               `seal:"two,column=two"`
	Nothing [0]line               `seal:"nothing"`
	Empty   map[string][]**string `seal:"empty"`
	Rel     []*other.Line         `seal:"rel" bun:"rel:has-many,join:id=order_id"`
	Pair    pairOf                `seal:"pair"`
	Where   other.Loc             `seal:"where,category=place"`
	Flat    struct {
		City string `seal:"city,column=flat_city,category=town"`
		Zip  string `seal:"zip"`
	} `seal:"flat"`
}

type sealedOne[T any] struct {
	_  structseal.Record    `seal:"one"`
	ID int                  `seal:"id,bind"`
	V  structseal.Sealed[T] `seal:"v"`
}

type (
	tree struct {
		V    int64
		Kids []*tree
	}
	promoted struct{ B string }
	// Promoted2 is for others.
	Promoted2 struct{ C any8 }
	ownText   struct {
		time.Time
		unit string
	}
)

func (o ownText) MarshalJSON() ([]byte, error)     { return []byte(o.unit), nil }
func (o *ownText) UnmarshalJSON(text []byte) error { o.unit = string(text); return nil }

func (o ownText) MarshalText() ([]byte, error)     { return []byte(o.unit), nil }
func (o *ownText) UnmarshalText(text []byte) error { o.unit = string(text); return nil }

// outer has a generic struct inside.
type outer struct {
	_     structseal.Record            `seal:"outer,unbound"`
	Pair  other.Pair[time.Time, []int] `seal:"pair"`
	Pairs []other.Pair[any8, *tree]    `seal:"pairs" json:"-"`
	Ones  []sealedOne[bool]
}

// UUID is written as 36 characters.
type UUID [16]byte

func (u UUID) MarshalText() ([]byte, error) { return u[:], nil }

// ULID is not.
type ULID [16]byte

func (u *ULID) MarshalText() ([]byte, error) { return u[:], nil }

type person struct {
	_     structseal.Record `seal:"person"`
	ID    UUID              `seal:"id,bind,subject=human"`
	Name  string            `seal:"name"`
	Files []patient
}

type patient struct {
	_    structseal.Record `seal:"patient"`
	ID   ULID              `seal:"id,bind"`
	Of   string            `seal:"of,subject"`
	Name string            `seal:"name"`
}

type nobody struct {
	_     structseal.Record `seal:"nobody,unbound"`
	Names [2]string         `seal:"names"`
}

// BaseModel stands for bun's.
type BaseModel struct{}

// Model has its table by bun's tag.
type Model struct {
	BaseModel `bun:"table:bun_models,alias:m"`
	_         structseal.Record `seal:"model"`
	UserID    netip.Addr        `seal:"id,bind" bun:"user"`
	HTTPUrl   string            `seal:"url"`
}

const tableOfNamed = "the_" + "named"

type named struct {
	BaseModel `bun:"not_this"`
	_         structseal.Record `seal:"named"`
	ID        int8              `seal:"id,bind"`
	A         string            `seal:"a"`
}

func (*named) TableName() string { return tableOfNamed }

// HTTPLogEntry has names that snake case makes something of.
type HTTPLogEntry struct {
	_         structseal.Record `seal:"log"`
	UserUUID  string            `seal:"user_uuid,bind"`
	IPAddress string            `seal:"ip"`
	OAuth2ID  string            `seal:"oauth"`
	X_Y       string            `seal:"xy"`
	APIKeyV2  string            `seal:"key"`
	AB        string            `seal:"ab"`
}

type binds1 struct {
	_ structseal.Record `seal:"binds.1"`
	Z text              `seal:"z,bind"`
	A textBytes         `seal:"a,bind"`
	M int               `seal:"m,bind,column=mm"`
	V string            `seal:"v"`
}
type binds2 struct {
	_ structseal.Record `seal:"binds.2"`
	A [3]byte           `seal:"a,bind"`
	B uint8             `seal:"b,bind" db:"-"`
	V string            `seal:"v"`
}
type binds3 struct {
	_ structseal.Record `seal:"binds.3"`
	A key               `seal:"a,bind"`
	V string            `seal:"v"`
}
type binds4 struct {
	_          structseal.Record `seal:"binds.4"`
	other.Base `gorm:"embedded;embeddedPrefix:o_"`
	V          string `seal:"v"`
}
type noTable struct {
	_ structseal.Record `seal:"no.table,table=-"`
	A string            `seal:"a,bind"`
	V string            `seal:"v"`
}

type aliased = struct {
	_ structseal.Record `seal:"aliased"`
	A string            `seal:"a,bind"`
	V alias             `seal:"v"`
}

// account is declared by another type's structure.
type account itemLike

type itemLike struct {
	Marker `seal:"account"`
	ID     string `seal:"id,bind"`
	Name   string `seal:"name"`
}

// Marker is an alias of the marker.
type Marker = structseal.Record

type profile struct {
	structseal.Sealed[time.Time] `seal:"born"`
	Email                        string `seal:"email"`
}

type profiled struct {
	_       structseal.Record `seal:"profiled"`
	ID      string            `seal:"id,bind"`
	Profile profile           `seal:"profile" gorm:"embedded"`
}

type loop struct {
	_    structseal.Record `seal:"loop"`
	ID   string            `seal:"id,bind"`
	Name string            `seal:"name"`
	Next *loop             `seal:"next"`
	Node node              `seal:"node"`
}

type node struct {
	Left  *node  `seal:"left"`
	Right *node  `seal:"right"`
	Value string `seal:"value"`
}

type unreadable struct {
	_   structseal.Record `seal:"unreadable"`
	ID  string            `seal:"id,bind"`
	Any map[string]any    `json:"any"`
	F   func() chan error `json:"f"`
	T   tree              `json:"t"`
	U   [2]*tree          `json:"u"`
	V   string            `seal:"v"`
}

func localRecord() func() (manifest.Record, error) {
	type local struct {
		_ structseal.Record `seal:"local"`
		A string            `seal:"a,bind"`
		V []string          `seal:"v"`
	}
	return structseal.Describe[local]
}
