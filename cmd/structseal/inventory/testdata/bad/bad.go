// Package bad has records that are refused, for a comparison of what source says with
// what reflection says. It isn't vetted: vet would refuse it, too.
package bad

import (
	"database/sql"
	"encoding/json"
	"math/big"
	"net"
	"time"

	"github.com/structseal/structseal"
)

// Checks judges every record of the package by reflection.
var Checks = []func() error{
	structseal.Check[malformed],
	structseal.Check[options],
	structseal.Check[marker1],
	structseal.Check[marker2],
	structseal.Check[marker3],
	structseal.Check[marker4],
	structseal.Check[marker5],
	structseal.Check[kinds],
	structseal.Check[keys],
	structseal.Check[binds],
	structseal.Check[unbound],
	structseal.Check[nothing],
	structseal.Check[inside],
	structseal.Check[subject1],
	structseal.Check[subject2],
	structseal.Check[lossy],
	structseal.Check[sealedOne[any]],
	structseal.Check[sealedOne[chan int]],
	structseal.Check[sealedOne[[]error]],
	structseal.Check[sealedOne[struct{ a int }]],
	structseal.Check[sealedOne[Loop]],
	structseal.Check[duplicate],
	structseal.Check[require],
}

type malformed struct {
	_  structseal.Record `seal:"malformed,unbound"`
	A  string            `seal: "a"`
	B  string            `seal:b`
	C  string            `Seal:"c"`
	D  string            "json:\"a\"\tseal:\"d\""
	E  string            `json:"a"seal:"e"`
	F  string            `seal:"f" seal:"g"`
	G  string            `sael:"g"`
	H  string            `json:"x,omitempty" sel:"h"`
	OK string            `seal:"ok"`
	i  string            `seal:"i"`
	_  string            `seal:"j"`
}

type options struct {
	_ structseal.Record `seal:"options,unbound,table=a b"`
	A string            `seal:""`
	B string            `seal:"b,"`
	C string            `seal:"c,bnid"`
	D string            `seal:"d,bind=1"`
	E string            `seal:"e,det"`
	F string            `seal:"f,bind,det=a"`
	G string            `seal:"g,index=x"`
	H string            `seal:"h,column=a b"`
	I string            `seal:"i,category="`
	J string            `seal:"j.k"`
	K string            `seal:"k,table=x"`
}

type (
	marker1 struct {
		_ structseal.Record
		A string `seal:"a"`
	}
	marker2 struct {
		_ structseal.Record `seal:"a"`
		_ structseal.Record `seal:"b"`
		A string            `seal:"a,bind"`
		B string            `seal:"b"`
	}
	marker3 struct {
		M structseal.Record `seal:"a"`
		A string            `seal:"a"`
	}
	marker4 struct {
		_ structseal.Record `seal:"a,unbuond"`
		A string            `seal:"a"`
	}
	marker5 struct {
		_ structseal.Record `seal:"a,column=x"`
		A string            `seal:"a"`
	}
)

type text string

func (text) MarshalText() ([]byte, error) { return nil, nil }

type ownNull string

func (*ownNull) MarshalJSON() ([]byte, error) { return nil, nil }

type slice []slice

type kinds struct {
	_  structseal.Record                `seal:"kinds"`
	ID string                           `seal:"id,bind"`
	A  int                              `seal:"a"`
	B  *time.Time                       `seal:"b"`
	C  [16]byte                         `seal:"c"`
	D  []int                            `seal:"d"`
	E  map[string]bool                  `seal:"e"`
	F  json.RawMessage                  `seal:"f"`
	G  net.IP                           `seal:"g"`
	H  any                              `seal:"h"`
	I  chan string                      `seal:"i"`
	J  func(a, b int, c ...string) bool `seal:"j"`
	K  struct{ A, B string }            `seal:"k"`
	L  sql.NullInt64                    `seal:"l"`
	M  sql.Null[int]                    `seal:"m"`
	N  sql.Null[[]string]               `seal:"n"`
	O  text                             `seal:"o"`
	P  ownNull                          `seal:"p"`
	Q  slice                            `seal:"q"`
	R  interface{ M(x int) error }      `seal:"r"`
	S  map[string]*struct {
		A int `json:"a" xml:"b"`
	} `seal:"s"`
	T  complex64                        `seal:"t"`
	U  byte                             `seal:"u"`
	V  rune                             `seal:"v"`
	W  error                            `seal:"w"`
	X  <-chan []byte                    `seal:"x"`
	Y  sql.NullTime                     `seal:"y"`
	Z  uintptr                          `seal:"z"`
	AA func() (int, error)              `seal:"aa"`
	AB sql.Null[sql.Null[string]]       `seal:"ab"`
	AC sql.Null[*string]                `seal:"ac"`
	AD sql.Null[structseal.Sealed[any]] `seal:"ad"`
}

type inner struct {
	X string `seal:"x"`
	Y int    `seal:"y"`
}

func (inner) MarshalText() ([]byte, error) { return nil, nil }

type pointerText struct{ A int }

func (*pointerText) MarshalText() ([]byte, error) { return nil, nil }

type keys struct {
	_  structseal.Record      `seal:"keys"`
	ID string                 `seal:"id,bind"`
	A  map[float64]string     `seal:"a"`
	B  map[any]string         `seal:"b"`
	C  map[*string]string     `seal:"c"`
	D  map[inner]string       `seal:"d"`
	E  map[inner]bool         //
	F  map[pointerText]string `seal:"f"`
	G  map[[2]byte]string     `seal:"g"`
}

type myTime time.Time

type binds struct {
	_ structseal.Record `seal:"binds"`
	A time.Time         `seal:"a,bind"`
	B float32           `seal:"b,bind"`
	C *string           `seal:"c,bind"`
	D []string          `seal:"d,bind"`
	E myTime            `seal:"e,bind"`
	F bool              `seal:"f,bind"`
	G string            `seal:"g,subject"`
	H string            `seal:"h,subject"`
	I any               `seal:"i,bind"`
	J uintptr           `seal:"j,bind"`
	K string            `seal:"k,subject,det=x"`
	L *big.Int          `seal:"l,bind"`
	M float64           `seal:"m,subject"`
}

type unbound struct {
	_ structseal.Record `seal:"unbound"`
	A string            `seal:"a"`
}

type nothing struct {
	_  structseal.Record `seal:"nothing"`
	ID string            `seal:"id,bind"`
}

type (
	withBind struct {
		ID string `seal:"id,bind"`
		A  string `seal:"a"`
	}
	hidden struct {
		_ structseal.Record `seal:"hidden,unbound"`
		A string            `seal:"a"`
	}
	inside struct {
		_  structseal.Record      `seal:"inside"`
		ID string                 `seal:"id,bind"`
		A  withBind               `seal:"a"`
		B  inner                  `seal:"b,det=d"`
		C  []inner                //
		D  structseal.Sealed[int] `json:"d"`
		E  *unbound               //
		f  hidden                 //
		G  struct {
			H []struct{ I map[string]*inner }
		}
		J struct {
			K string `seal: "k"`
		}
		*inner `json:"inner"`
	}
)

type (
	subject1 struct {
		_  structseal.Record `seal:"subject.1"`
		ID string            `seal:"id,bind,subject"`
		A  string            `seal:"a,det=d"`
		B  struct {
			C string `seal:"c,det=d"`
		} `seal:"b"`
	}
	subject2 struct {
		_  structseal.Record `seal:"subject.2"`
		ID string            `seal:"id,bind,subject=x"`
		A  string            `seal:"a"`
		B  []hidden
	}
)

type (
	Inner  struct{ A string }
	Middle struct{ Inner }
	Loop   struct{ *Loop }
)

type sealedOne[T any] struct {
	_  structseal.Record    `seal:"one"`
	ID int                  `seal:"id,bind"`
	V  structseal.Sealed[T] `seal:"v"`
}

type onlyMarshals struct{ A, B byte }

func (onlyMarshals) MarshalText() ([]byte, error) { return nil, nil }

type lossy struct {
	_ structseal.Record `seal:"lossy"`
	A string            `seal:"a,bind"`
	B structseal.Sealed[struct {
		A, B string
		Inner
	}] `seal:"b"`
	C structseal.Sealed[struct {
		A string
		*Inner
	}] `seal:"c"`
	D structseal.Sealed[struct {
		Middle
		A string
	}] `seal:"d"`
	E structseal.Sealed[struct {
		A string `json:"B"`
		B string
	}] `seal:"e"`
	F structseal.Sealed[[]map[string]*struct{ b string }] `seal:"f"`
	G structseal.Sealed[struct {
		time.Time
		big.Int
	}] `seal:"g"`
	H structseal.Sealed[struct {
		A string `json:"-"`
	}] `seal:"h"`
	I structseal.Sealed[struct{ F func() }]      `seal:"i"`
	J structseal.Sealed[complex128]              `seal:"j"`
	K structseal.Sealed[map[struct{ A int }]int] `seal:"k"`
	L structseal.Sealed[map[onlyMarshals]int]    `seal:"l"`
	M *structseal.Sealed[withBind]               `seal:"m"`
	N []structseal.Sealed[struct {
		time.Time
		A int
	}] `seal:"n"`
	O structseal.Sealed[[]struct {
		big.Int
		Unit string
	}] `seal:"o"`
	P structseal.Sealed[struct {
		A, B struct {
			*time.Time
			C int
		}
	}] `seal:"p"`
	Q structseal.Sealed[uintptr] `seal:"q"`
}

type duplicate struct {
	_ structseal.Record `seal:"duplicate"`
	A string            `seal:"a,bind"`
	B string            `seal:"b"`
	C string            `seal:"b"`
	D string            `seal:"a"`
	embedded
}

type embedded struct {
	E string `seal:"b"`
	F int    `seal:"f"`
}

type require struct {
	_ structseal.Record `seal:"require,require=a,require=b"`
	A string            `seal:"a,bind"`
	B string            `seal:"b"`
}
