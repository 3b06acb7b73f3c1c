package structseal

import (
	"encoding/json"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"
)

// structOf builds a record type with one more field of type t and the raw tag.
func structOf(t reflect.Type, raw string) reflect.Type {
	return reflect.StructOf([]reflect.StructField{
		{Name: "_", PkgPath: "p", Type: recordType, Tag: `seal:"rec"`},
		{Name: "ID", Type: reflect.TypeFor[string](), Tag: `seal:"id,bind"`},
		{Name: "Good", Type: reflect.TypeFor[string](), Tag: `seal:"good"`},
		{Name: "Bad", Type: t, Tag: reflect.StructTag(raw)},
	})
}

var str = reflect.TypeFor[string]()

// TestP5_MalformedTags: whatever isn't exactly right is a located error.
func TestP5_MalformedTags(t *testing.T) {
	type inner struct {
		X string `seal:"x"`
	}
	for _, c := range []struct {
		typ  reflect.Type
		raw  string
		want string // part of the reason
	}{
		// raw tags that reflect's Lookup silently misses
		{str, `seal: "x"`, "malformed"},
		{str, `seal:x`, "malformed"},
		{str, `seal:'x'`, "malformed"},
		{str, "seal:`x`", "malformed"},
		{str, `seal`, "malformed"},
		{str, `seal:`, "malformed"},
		{str, `seal:"x`, "malformed"},
		{str, `"seal:x"`, "malformed"},
		{str, "\tseal:\"x\"", "malformed"},
		{str, "json:\"a\"\tseal:\"x\"", "malformed"},
		{str, "json:\"a\"\nseal:\"x\"", "malformed"},
		{str, `json:"a",seal:"x"`, "malformed"},
		{str, `json:"a"seal:"x"`, "space"},
		{str, `json:a seal:"x"`, "malformed"},
		{str, `json:"a seal:"x"`, "malformed"},
		{str, `seal :"x"`, "malformed"},
		{str, `seal:"x" json:`, "malformed"},
		{str, `seal:"\x"`, "malformed"},
		{str, `seal:"x" seal:"y"`, "second seal"},
		// keys that are meant to be seal
		{str, `Seal:"x"`, "did you mean"},
		{str, `SEAL:"x"`, "did you mean"},
		{str, `sael:"x"`, "did you mean"},
		{str, `sealed:"x"`, "did you mean"},
		{str, `seals:"x"`, "did you mean"},
		{str, `saal:"x"`, "did you mean"},
		{str, `sel:"x"`, "did you mean"},
		{str, `seall:"x"`, "did you mean"},
		{str, `structseal:"x"`, "did you mean"},
		// labels
		{str, `seal:""`, "empty label"},
		{str, `seal:",bind"`, "empty label"},
		{str, `seal:"-"`, "letter"},
		{str, `seal:" x"`, "letter"},
		{str, `seal:"x "`, "letter"},
		{str, `seal:"x.y"`, "letter"},
		{str, `seal:"1x"`, "letter"},
		{str, `seal:"é"`, "letter"},
		{str, `seal:"` + strings.Repeat("a", 65) + `"`, "at most 64"},
		{str, `seal:"good"`, "taken by field Good"},
		{str, `seal:"id"`, "taken by field ID"},
		// options
		{str, `seal:"x,"`, "empty option"},
		{str, `seal:"x,,bind"`, "empty option"},
		{str, `seal:"x, bind"`, `did you mean "bind"`},
		{str, `seal:"x,bnid"`, `did you mean "bind"`},
		{str, `seal:"x,Bind"`, `did you mean "bind"`},
		{str, `seal:"x,omitempty"`, "unknown option"},
		{str, `seal:"x,bind,bind"`, "twice"},
		{str, `seal:"x,bind=1"`, "takes no value"},
		{str, `seal:"x,det"`, "needs a value"},
		{str, `seal:"x,det="`, "needs a value"},
		{str, `seal:"x,det=a b"`, "letter"},
		{str, `seal:"x,det=a,det=b"`, "twice"},
		{str, `seal:"x,dett=a"`, `did you mean "det"`},
		{str, `seal:"x,bind,det=a"`, "bind and det"},
		{str, `seal:"x,unbound"`, "marker"},
		{str, `seal:"x,require=t"`, "marker"},
		{str, `seal:"x,index=y"`, "not supported"},
		{str, `seal:"x,norm=email"`, "not supported"},
		{str, `seal:"x,bits=4"`, "not supported"},
		{str, `seal:"x,table=t"`, "marker"},
		{str, `seal:"x,column"`, "needs a value"},
		{str, `seal:"x,column=a b"`, "option column"},
		{str, `seal:"x,column=1a"`, "option column"},
		{str, `seal:"x,column=` + strings.Repeat("a", 129) + `"`, "at most 128"},
		{str, `seal:"x,column=a,column=b"`, "twice"},
		{str, `seal:"x,colum=a"`, `did you mean "column"`},
		{str, `seal:"x,category="`, "needs a value"},
		{str, `seal:"x,category=a b"`, "option category"},
		{str, `seal:"x,categroy=a"`, `did you mean "category"`},
		{str, `seal:"x,subject="`, "needs a value"},
		{str, `seal:"x,subject=a b"`, "letter"},
		{str, `seal:"x,subject,subject=a"`, "twice"},
		{str, `seal:"x,subject,det=a"`, "subject and det"},
		{reflect.TypeFor[float64](), `seal:"x,subject"`, "round floats"},
		{str, `seal:"x,subjct"`, `did you mean "subject"`},
		// types
		{reflect.TypeFor[int](), `seal:"x"`, "structseal.Sealed[int]"},
		{reflect.TypeFor[bool](), `seal:"x"`, "structseal.Sealed[bool]"},
		{reflect.TypeFor[float64](), `seal:"x"`, "structseal.Sealed[float64]"},
		{reflect.TypeFor[time.Time](), `seal:"x"`, "structseal.Sealed[time.Time]"},
		{reflect.TypeFor[*time.Time](), `seal:"x"`, "structseal.Sealed[time.Time]"},
		{reflect.TypeFor[[16]byte](), `seal:"x"`, "structseal.Sealed[[16]uint8]"},
		{reflect.TypeFor[[]int](), `seal:"x"`, "structseal.Sealed[int]"},
		{reflect.TypeFor[map[string]int](), `seal:"x"`, "structseal.Sealed[int]"},
		{reflect.TypeFor[json.RawMessage](), `seal:"x"`, "structseal.Sealed[json.RawMessage]"},
		{reflect.TypeFor[net.IP](), `seal:"x"`, "structseal.Sealed[net.IP]"},
		{reflect.TypeFor[any](), `seal:"x"`, "concrete type"},
		{reflect.TypeFor[chan string](), `seal:"x"`, "Sealed"},
		{reflect.TypeFor[map[float64]string](), `seal:"x"`, "map keys"},
		{reflect.TypeFor[map[any]string](), `seal:"x"`, "map keys"},
		{reflect.TypeFor[struct{ A string }](), `seal:"x"`, "Sealed"},
		{reflect.TypeFor[Sealed[any]](), `seal:"x"`, "concrete type"},
		{reflect.TypeFor[Sealed[chan int]](), `seal:"x"`, "no JSON form"},
		{reflect.TypeFor[Sealed[struct{ a int }]](), `seal:"x"`, "unexported"},
		{reflect.TypeFor[Sealed[struct {
			A int `json:"-"`
		}]](), `seal:"x"`, "would be lost"},
		{reflect.TypeFor[Sealed[inner]](), `seal:"x"`, "has a seal tag"},
		{reflect.TypeFor[Sealed[int]](), ``, "give it a label"},
		{reflect.TypeFor[inner](), ``, "give it a label"},
		{reflect.TypeFor[[]inner](), ``, "give it a label"},
		{reflect.TypeFor[map[string]*inner](), ``, "give it a label"},
		{reflect.TypeFor[inner](), `seal:"x,det=d"`, "det belongs on the fields"},
		// bind kinds
		{reflect.TypeFor[time.Time](), `seal:"x,bind"`, "round times"},
		{reflect.TypeFor[float64](), `seal:"x,bind"`, "round floats"},
		{reflect.TypeFor[*string](), `seal:"x,bind"`, "can't bind"},
		{reflect.TypeFor[[]string](), `seal:"x,bind"`, "can't bind"},
		{reflect.TypeFor[Record](), `seal:"x"`, "must be named _"},
	} {
		typ := structOf(c.typ, c.raw)
		_, err := planOf(typ)
		var te *TagError
		if !errors.As(err, &te) {
			t.Errorf("%s `%s`: got %v, want a TagError", c.typ, c.raw, err)
			continue
		}
		if !strings.Contains(te.Reason, c.want) {
			t.Errorf("%s `%s`: reason %q, want %q", c.typ, c.raw, te.Reason, c.want)
		}
		if te.Field != "Bad" || te.Tag != c.raw {
			t.Errorf("%s `%s`: located at field %q tag `%s`", c.typ, c.raw, te.Field, te.Tag)
		}
		// No verb moves data.
		v := reflect.New(typ)
		v.Elem().FieldByName("Good").SetString("plain")
		if err := EncryptInPlace(t.Context(), nil, v.Interface()); !errors.As(err, &te) {
			t.Errorf("%s `%s`: EncryptInPlace: %v", c.typ, c.raw, err)
		}
		if got := v.Elem().FieldByName("Good").String(); got != "plain" {
			t.Errorf("%s `%s`: value changed to %q", c.typ, c.raw, got)
		}
	}
}

// Foreign tags, broken ones too, are not our business.
func TestTagsOfOthers(t *testing.T) {
	for _, raw := range []string{``, `json:"a"`, `json:"a,omitempty" db:"b"`, `json: "a"`, `deal:"x"`, `real:"y"`, `json:a`} {
		if _, err := planOf(structOf(str, raw)); err != nil {
			t.Errorf("`%s`: %v", raw, err)
		}
	}
}

func TestP5_Markers(t *testing.T) {
	field := func(name, tag string, typ reflect.Type) reflect.StructField {
		f := reflect.StructField{Name: name, Type: typ, Tag: reflect.StructTag(tag)}
		if name == "_" {
			f.PkgPath = "p"
		}
		return f
	}
	id := field("ID", `seal:"id,bind"`, str)
	val := field("V", `seal:"v"`, str)
	for _, c := range []struct {
		fields []reflect.StructField
		want   string
	}{
		{[]reflect.StructField{id, val}, "no marker"},
		{[]reflect.StructField{field("_", ``, recordType), id, val}, "names the record"},
		{[]reflect.StructField{field("_", `seal:""`, recordType), id, val}, "empty label"},
		{[]reflect.StructField{field("_", `seal:"r,bind"`, recordType), id, val}, "belongs on a field"},
		{[]reflect.StructField{field("_", `seal:"r,unbuond"`, recordType), id, val}, `did you mean "unbound"`},
		{[]reflect.StructField{field("_", `seal:"r,require="`, recordType), id, val}, "needs a value"},
		{[]reflect.StructField{field("_", `seal:"r,require=a,require=a"`, recordType), id, val}, "twice"},
		{[]reflect.StructField{field("_", `seal:"r,column=a"`, recordType), id, val}, "belongs on a field"},
		{[]reflect.StructField{field("_", `seal:"r,table=a b"`, recordType), id, val}, "option table"},
		{[]reflect.StructField{field("_", `seal:"r,table=a,table=b"`, recordType), id, val}, "twice"},
		{[]reflect.StructField{field("_", `seal:"r,tabel=a"`, recordType), id, val}, `did you mean "table"`},
		{[]reflect.StructField{field("_", `seal:"r,category=1"`, recordType), id, val}, "option category"},
		{[]reflect.StructField{field("_", `seal:"r,require=id"`, recordType), id, val}, "label of field ID"},
		{[]reflect.StructField{field("_", `seal:"r"`, recordType), val}, "no bind field"},
		{[]reflect.StructField{field("_", `seal:"r"`, recordType), id}, "no field is sealed"},
		{[]reflect.StructField{field("A", ``, str)}, "no seal tags"},
		{[]reflect.StructField{field("_", `seal:"r"`, recordType), id, val, field("_", `seal:"q"`, recordType)}, "second marker"},
		{[]reflect.StructField{field("_", `seal:"r"`, recordType), id, val, field("_", `seal:"q"`, str)}, "blank field"},
	} {
		typ := reflect.StructOf(c.fields)
		_, err := planOf(typ)
		var te *TagError
		if !errors.As(err, &te) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", typ, err, c.want)
		}
	}
	if _, err := planOf(reflect.StructOf([]reflect.StructField{field("A", ``, str)})); !errors.Is(err, ErrNoFields) {
		t.Errorf("no tags: %v, want ErrNoFields", err)
	}
}

func TestCheckReportsEveryTag(t *testing.T) {
	type bad struct {
		_ Record `seal:"bad"`
		A string `seal:"a,bnid"`
		B int    `seal:"b"`
		c string `seal:"c"`
		D string `seal:"d"`
	}
	_ = bad{}.c
	err := Check[bad]()
	for _, want := range []string{"bad.A", "bad.B", "bad.c", "no bind field"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check: %v, want a mention of %s", err, want)
		}
	}
	if err := Check[int](); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("Check[int]: %v", err)
	}
}
