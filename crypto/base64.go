package crypto

import (
	"encoding/binary"
	"unsafe"
)

// Base64 is most of what a short text value costs, so this is base64url (RFC 4648,
// section 5), unpadded, by tables: eight letters in a step, in both directions. Package
// encoding/base64 takes twice as long. Ciphertexts aren't secret, so the tables may be
// looked up by them.

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// noLetter is a value that no letter has, at every place of a group of four.
const noLetter = 1 << 31

// values are those of a letter at each of the four places of a group.
var values = func() (t [4][256]uint32) {
	for place := range t {
		for c := range t[place] {
			t[place][c] = noLetter
		}
		for v, c := range []byte(letters) {
			t[place][c] = uint32(v) << (18 - 6*place)
		}
	}
	return t
}()

// pairs are the two letters of twelve bits, the first one in the low byte.
var pairs = func() (t [1 << 12]uint16) {
	for i := range t {
		t[i] = uint16(letters[i>>6]) | uint16(letters[i&63])<<8
	}
	return t
}()

// encodedLen is how many letters n bytes are.
func encodedLen(n int) int { return int((4*uint64(n) + 2) / 3) }

// encodeBase64 writes src to dst, which has encodedLen(len(src)) bytes or more.
func encodeBase64(dst, src []byte) {
	dst = dst[:encodedLen(len(src))]
	if n := encodeVectors(dst, src); n > 0 {
		src, dst = src[n:], dst[n/3*4:]
	}
	if len(src) > 0 {
		encodeTables(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), len(src))
	}
}

// encodeTables is encodeBase64 for n bytes. Slices would take it half as long again, for
// bounds that encodeBase64 has checked.
//
//go:noinline
func encodeTables(dst, src unsafe.Pointer, n int) {
	i, j := 0, 0               // no pointer may ever be behind the end
	for ; n-i >= 14; i += 12 { // reads two bytes more
		d, s := (*[16]byte)(unsafe.Add(dst, j)), (*[14]byte)(unsafe.Add(src, i))
		x, y := binary.BigEndian.Uint64(s[:]), binary.BigEndian.Uint64(s[6:])
		binary.LittleEndian.PutUint64(d[:], uint64(pairs[x>>52])|uint64(pairs[x>>40&0xfff])<<16|uint64(pairs[x>>28&0xfff])<<32|uint64(pairs[x>>16&0xfff])<<48)
		binary.LittleEndian.PutUint64(d[8:], uint64(pairs[y>>52])|uint64(pairs[y>>40&0xfff])<<16|uint64(pairs[y>>28&0xfff])<<32|uint64(pairs[y>>16&0xfff])<<48)
		j += 16
	}
	for ; n-i >= 3; i += 3 {
		d, s := (*[4]byte)(unsafe.Add(dst, j)), (*[3]byte)(unsafe.Add(src, i))
		x := uint(s[0])<<16 | uint(s[1])<<8 | uint(s[2])
		binary.LittleEndian.PutUint32(d[:], uint32(pairs[x>>12])|uint32(pairs[x&0xfff])<<16)
		j += 4
	}
	switch n - i {
	case 1:
		d, s := (*[2]byte)(unsafe.Add(dst, j)), (*[1]byte)(unsafe.Add(src, i))
		binary.LittleEndian.PutUint16(d[:], pairs[uint(s[0])<<4])
	case 2:
		d, s := (*[3]byte)(unsafe.Add(dst, j)), (*[2]byte)(unsafe.Add(src, i))
		x := uint(s[0])<<10 | uint(s[1])<<2
		binary.LittleEndian.PutUint16(d[:], pairs[x>>6])
		d[2] = letters[x&63]
	}
}

// decodedLen is how many bytes n letters are; a rest of one letter is none.
func decodedLen(n int) int { return n - (n+3)/4 }

// decodeBase64 writes what src stands for to dst, which has decodedLen(len(src)) bytes, and
// reports whether it is what encodeBase64 makes of them: nothing but letters, no rest of
// one, no bits behind the last byte.
func decodeBase64(dst, src []byte) bool {
	dst = dst[:decodedLen(len(src))]
	n, ok := decodeVectors(dst, src)
	if !ok {
		return false
	}
	if n > 0 {
		src, dst = src[n:], dst[n/4*3:]
	}
	if len(src) < 2 {
		return len(src) == 0
	}
	return decodeTables(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), len(src))
}

// decodeTables is decodeBase64 for n letters, two or more, as encodeTables does the opposite.
//
//go:noinline
func decodeTables(dst, src unsafe.Pointer, n int) bool {
	i, j, wrong := 0, 0, uint32(0)
	for ; n-i >= 16; i += 16 {
		d, s := (*[12]byte)(unsafe.Add(dst, j)), (*[16]byte)(unsafe.Add(src, i))
		a := values[0][s[0]] | values[1][s[1]] | values[2][s[2]] | values[3][s[3]]
		b := values[0][s[4]] | values[1][s[5]] | values[2][s[6]] | values[3][s[7]]
		binary.BigEndian.PutUint64(d[:], uint64(a)<<40|uint64(b)<<16) // six bytes, and two that are written over
		wrong |= a | b
		a = values[0][s[8]] | values[1][s[9]] | values[2][s[10]] | values[3][s[11]]
		c := values[0][s[12]] | values[1][s[13]] | values[2][s[14]] | values[3][s[15]]
		binary.BigEndian.PutUint64(d[4:], uint64(b)<<48|uint64(a)<<24|uint64(c))
		wrong |= a | c
		j += 12
	}
	for ; n-i >= 4; i += 4 {
		d, s := (*[3]byte)(unsafe.Add(dst, j)), (*[4]byte)(unsafe.Add(src, i))
		a := values[0][s[0]] | values[1][s[1]] | values[2][s[2]] | values[3][s[3]]
		wrong |= a
		d[0], d[1], d[2] = byte(a>>16), byte(a>>8), byte(a)
		j += 3
	}
	rest := uint32(0) // bits that must be zero
	switch n - i {
	case 1:
		return false
	case 2:
		d, s := (*[1]byte)(unsafe.Add(dst, j)), (*[2]byte)(unsafe.Add(src, i))
		a := values[0][s[0]] | values[1][s[1]]
		wrong |= a
		d[0], rest = byte(a>>16), a&0xffff
	case 3:
		d, s := (*[2]byte)(unsafe.Add(dst, j)), (*[3]byte)(unsafe.Add(src, i))
		a := values[0][s[0]] | values[1][s[1]] | values[2][s[2]]
		wrong |= a
		d[0], d[1], rest = byte(a>>16), byte(a>>8), a&0xff
	}
	return wrong&noLetter|rest == 0
}
