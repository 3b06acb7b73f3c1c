// Package other has what records of another package are made of.
package other

import "github.com/structseal/structseal"

// Base is embedded by others.
type Base struct {
	TenantID string `seal:"tenant,bind,column=tenant"`
	Memo     string `seal:"memo,category=note"`
}

// Line is a record of its own.
type Line struct {
	_    structseal.Record `seal:"line,category=goods"`
	ID   uint64            `seal:"id,bind"`
	Text string            `seal:"text"`
}

// Loc is no record: it belongs to whoever has it.
type Loc struct {
	Lat structseal.Sealed[float64] `seal:"lat" db:"latitude"`
	Lon structseal.Sealed[float64] `seal:"lon" gorm:"column:longitude"`
}

// Text is a kind of string.
type Text string

// Pair is generic.
type Pair[A, B any] struct {
	First  structseal.Sealed[A] `seal:"first"`
	Second structseal.Sealed[B] `seal:"second"`
}
