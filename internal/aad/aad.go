// Package aad encodes the associated data that binds a ciphertext to its
// place. docs/format.md, section "Context", is the specification; package
// crypto has the public form (crypto.Context) and the parser.
//
// The pieces are separate functions because the tag engine prepares the
// constant ones once per type and only appends them per record.
package aad

import "encoding/binary"

const (
	// Magic opens the context of bound values.
	Magic = "structseal/v1"
	// MagicDeterministic opens the context of deterministic fields. Neither
	// magic is a prefix of the other, so no context of one kind is one of the
	// other.
	MagicDeterministic = "structseal/deterministic/v1"

	// TypeLabel, TypeIndex and TypeKey tag the elements of a path, so that a
	// map key "3" and an element 3 differ.
	TypeLabel = 0x01
	TypeIndex = 0x02
	TypeKey   = 0x03

	// MinElement and MinBinding are the lengths of the shortest path element and
	// the shortest binding.
	MinElement = 2
	MinBinding = 2
)

// Lengths and counts are unsigned LEB128 (the varint of Protocol Buffers) in
// their shortest form: self-delimiting like fixed-width ones, and one byte each
// in practice. A context goes through GHASH with every value, at about 5 ns per
// 16 bytes; four-byte lengths made decrypting a short field a quarter slower.

// AppendString appends the length-prefixed s.
func AppendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// AppendCount appends the number of parts that follow.
func AppendCount(dst []byte, n int) []byte {
	return binary.AppendUvarint(dst, uint64(n))
}

// AppendRing opens a context: the magic and the ring's name.
func AppendRing(dst []byte, ring string) []byte {
	return AppendString(append(dst, Magic...), ring)
}

// AppendLabel appends a path element for the label of a field.
func AppendLabel(dst []byte, label string) []byte {
	return AppendString(append(dst, TypeLabel), label)
}

// AppendIndex appends a path element for element i of a slice or array of n.
// The length is bound so that elements can't be cut off or added. Its payload is
// self-delimiting and has no length.
func AppendIndex(dst []byte, i, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(append(dst, TypeIndex), i), n)
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
