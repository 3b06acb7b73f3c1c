package structseal_test

import (
	"errors"
	"fmt"
	"log"
	"reflect"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/manifest"
)

type (
	describedBase struct {
		ID   [16]byte `seal:"id,bind,subject=person,category=identifier"`
		Memo string   `seal:"memo"`
	}
	describedOther struct {
		_  structseal.Record `seal:"described.other"`
		ID string            `seal:"id,bind,subject=person"`
		A  string            `seal:"a"`
	}
	describedPart struct {
		Street string `seal:"street,category=street"`
		Zip    string `seal:"zip" gorm:"column:plz"`
	}
	described struct {
		_             structseal.Record `seal:"described,table=app.people,category=contact,require=region"`
		describedBase `gorm:"embeddedPrefix:base_"`
		Tenant        int64                  `seal:"tenant,bind,column=owner"`
		HTTPUser      *string                `seal:"user" json:"u"`
		Photo         []byte                 `seal:"photo,column=-"`
		Born          structseal.Sealed[int] `seal:"born" db:"birth"`
		Home          describedPart          `seal:"home,category=place" gorm:"embedded;embeddedPrefix:home_"`
		Work          describedPart          `seal:"work"`
		Tags          map[string][]string    `seal:"tags"`
		Others        []describedOther       //
		Plain         string                 `json:"plain"`
	}
)

// TestDescribe: labels, columns and forms of a record with one of everything.
func TestDescribe(t *testing.T) {
	want := manifest.Record{
		Label: "described", Type: "github.com/structseal/structseal_test.described", Table: "app.people", Category: "contact", Require: []string{"region"},
		Binds: []manifest.Bind{
			{Label: "id", Field: "describedBase.ID", Type: "[16]byte", Column: "base_id", Kind: manifest.BindBytes, Subject: true, SubjectKind: "person", Category: "identifier"},
			{Label: "tenant", Field: "Tenant", Type: "int64", Column: "owner", Kind: manifest.BindInteger},
		},
		Fields: []manifest.Field{
			{Path: []string{"memo"}, Field: "describedBase.Memo", Type: "string", Column: "base_memo", Form: manifest.FormString},
			{Path: []string{"user"}, Field: "HTTPUser", Type: "*string", Column: "http_user", Form: manifest.FormString, Nullable: true},
			{Path: []string{"photo"}, Field: "Photo", Type: "[]byte", Form: manifest.FormBytes, Nullable: true},
			{Path: []string{"born"}, Field: "Born", Type: "structseal.Sealed[int]", Column: "birth", Form: manifest.FormSealed},
			{Path: []string{"home", "street"}, Field: "Home.Street", Type: "string", Column: "home_street", Form: manifest.FormString, Category: "street"},
			{Path: []string{"home", "zip"}, Field: "Home.Zip", Type: "string", Column: "home_plz", Form: manifest.FormString, Category: "place"},
			{Path: []string{"work", "street"}, Field: "Work.Street", Type: "string", Column: "work", Form: manifest.FormString, Many: true, Category: "street"},
			{Path: []string{"work", "zip"}, Field: "Work.Zip", Type: "string", Column: "work", Form: manifest.FormString, Many: true},
			{Path: []string{"tags"}, Field: "Tags", Type: "map[string][]string", Column: "tags", Form: manifest.FormString, Nullable: true, Many: true, Shape: "tags{}[]"},
			{Path: []string{}, Field: "Others", Type: "[]structseal_test.describedOther", Form: manifest.FormRecord, Nullable: true, Many: true, Shape: "[]", Record: "described.other"},
		},
	}
	got, err := structseal.Describe[*described]()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	m := manifest.Manifest{Format: manifest.Format, Records: []manifest.Record{got}}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
}

type (
	describedDown[T any] struct {
		L T   `seal:"l"`
		R []T `seal:"r"`
	}
	describedDown4[T any] = describedDown[describedDown[describedDown[describedDown[T]]]]
)

type panics struct {
	_ structseal.Record `seal:"panics,unbound"`
	A *string           `seal:"a"`
}

func (p panics) TableName() string { return *p.A }

func TestDescribeErrors(t *testing.T) {
	var te *structseal.TagError
	if _, err := structseal.Describe[struct {
		_ structseal.Record `seal:"bad"`
		A string            `seal:"a"`
	}](); !errors.As(err, &te) {
		t.Errorf("a bad tag: %v", err)
	}
	if _, err := structseal.Describe[int](); !errors.Is(err, structseal.ErrInvalidArgument) {
		t.Errorf("no struct: %v", err)
	}
	if _, err := structseal.Describe[struct {
		_ structseal.Record                                                      `seal:"big,unbound"`
		A describedDown4[describedDown4[describedDown4[describedDown4[string]]]] `seal:"a"`
	}](); !errors.Is(err, structseal.ErrInvalidArgument) {
		t.Errorf("2^16 fields: %v", err)
	}
	if r, err := structseal.Describe[panics](); err != nil || r.Table != "panics" {
		t.Errorf("TableName panics: %q, %v", r.Table, err)
	}
}

// A test that fails when a label changes, because labels are permanent.
func ExampleDescribe() {
	r, err := structseal.Describe[Customer]()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range r.Fields {
		fmt.Println(r.FieldLabel(&f), f.Form)
	}
	// Output:
	// customer.email string
	// customer.born sealed
}
