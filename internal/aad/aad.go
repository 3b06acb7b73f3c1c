// Package aad encodes the associated data that binds a ciphertext to its
// place. docs/format.md, section "Context", is the specification; package
// crypto has the public form (crypto.Context) and the parser.
//
// The pieces are separate functions because the tag engine prepares the
// constant ones once per type and only appends them per record.
package aad

import (
	"encoding/binary"
	"math"
)

const (
	// Magic opens the context of bound values.
	Magic = "structseal/v1"
	// MagicDeterministic opens the context of deterministic fields. The two
	// can't collide: after Magic comes the length of a ring name, whose first
	// byte is zero because of MaxRing, never '/'.
	MagicDeterministic = "structseal/v1/deterministic"
	// MaxRing is the length of the longest ring name in bytes.
	MaxRing = 1<<24 - 1

	// TypeLabel, TypeIndex and TypeKey tag the elements of a path, so that a
	// map key "3" and an element 3 differ.
	TypeLabel = 0x01
	TypeIndex = 0x02
	TypeKey   = 0x03

	// ElementOverhead is the length of an element before its payload.
	ElementOverhead = 1 + 4
)

// AppendString appends the length-prefixed s. It panics when s is 4 GiB or
// longer: a length that wraps around would let two contexts share an encoding.
func AppendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	if uint64(len(s)) > math.MaxUint32 {
		panic("structseal: a part of a context is 4 GiB or longer")
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

// AppendCount appends the number of parts that follow.
func AppendCount(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

// AppendRing opens a context: the magic and the ring's name. It panics when the
// name is longer than MaxRing.
func AppendRing(dst []byte, ring string) []byte {
	if len(ring) > MaxRing {
		panic("structseal: the name of a ring is 16 MiB or longer")
	}
	return AppendString(append(dst, Magic...), ring)
}

// AppendLabel appends a path element for the label of a field.
func AppendLabel(dst []byte, label string) []byte {
	return AppendString(append(dst, TypeLabel), label)
}

// AppendIndex appends a path element for element i of a slice or array of n.
// The length is bound so that elements can't be cut off or added.
func AppendIndex(dst []byte, i, n uint64) []byte {
	dst = append(dst, TypeIndex, 0, 0, 0, 16)
	dst = binary.BigEndian.AppendUint64(dst, i)
	return binary.BigEndian.AppendUint64(dst, n)
}

// AppendKey appends a path element for the value under a map key.
func AppendKey[S ~string | ~[]byte](dst []byte, key S) []byte {
	return AppendString(append(dst, TypeKey), key)
}

// AppendDeterministic appends the whole context of a deterministic field.
func AppendDeterministic(dst []byte, suite, ring, domain string) []byte {
	dst = append(dst, MagicDeterministic...)
	dst = AppendString(dst, suite)
	dst = AppendString(dst, ring)
	return AppendString(dst, domain)
}
