package crypto

import "encoding/binary"

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
	if n := encodeVectors(dst, src); n > 0 {
		src, dst = src[n:], dst[n/3*4:]
	}
	for len(src) >= 16 && len(dst) >= 16 {
		s, d := src[:16], dst[:16]
		x, y := binary.BigEndian.Uint64(s), binary.BigEndian.Uint64(s[6:])
		binary.LittleEndian.PutUint64(d, uint64(pairs[x>>52])|uint64(pairs[x>>40&0xfff])<<16|uint64(pairs[x>>28&0xfff])<<32|uint64(pairs[x>>16&0xfff])<<48)
		binary.LittleEndian.PutUint64(d[8:], uint64(pairs[y>>52])|uint64(pairs[y>>40&0xfff])<<16|uint64(pairs[y>>28&0xfff])<<32|uint64(pairs[y>>16&0xfff])<<48)
		src, dst = src[12:], dst[16:]
	}
	for len(src) >= 8 && len(dst) >= 8 {
		x := binary.BigEndian.Uint64(src) // six bytes of it
		binary.LittleEndian.PutUint64(dst, uint64(pairs[x>>52])|uint64(pairs[x>>40&0xfff])<<16|uint64(pairs[x>>28&0xfff])<<32|uint64(pairs[x>>16&0xfff])<<48)
		src, dst = src[6:], dst[8:]
	}
	for len(src) >= 3 {
		x := uint(src[0])<<16 | uint(src[1])<<8 | uint(src[2])
		binary.LittleEndian.PutUint16(dst, pairs[x>>12])
		binary.LittleEndian.PutUint16(dst[2:], pairs[x&0xfff])
		src, dst = src[3:], dst[4:]
	}
	switch len(src) {
	case 1:
		binary.LittleEndian.PutUint16(dst, pairs[uint(src[0])<<4])
	case 2:
		x := uint(src[0])<<10 | uint(src[1])<<2
		binary.LittleEndian.PutUint16(dst, pairs[x>>6])
		dst[2] = letters[x&63]
	}
}

// decodedLen is how many bytes n letters are; a rest of one letter is none.
func decodedLen(n int) int { return n - (n+3)/4 }

// decodeBase64 writes what src stands for to dst, which has decodedLen(len(src)) bytes, and
// reports whether it is what encodeBase64 makes of them: nothing but letters, no rest of
// one, no bits behind the last byte.
func decodeBase64(dst, src []byte) bool {
	n, ok := decodeVectors(dst, src)
	if !ok {
		return false
	}
	if n > 0 {
		src, dst = src[n:], dst[n/4*3:]
	}
	wrong := uint32(0)
	for len(src) >= 16 && len(dst) >= 16 {
		s, d := src[:16], dst[:16]
		a := values[0][s[0]] | values[1][s[1]] | values[2][s[2]] | values[3][s[3]]
		b := values[0][s[4]] | values[1][s[5]] | values[2][s[6]] | values[3][s[7]]
		binary.BigEndian.PutUint64(d, uint64(a)<<40|uint64(b)<<16) // six bytes, and two that are written over
		wrong |= a | b
		a = values[0][s[8]] | values[1][s[9]] | values[2][s[10]] | values[3][s[11]]
		b = values[0][s[12]] | values[1][s[13]] | values[2][s[14]] | values[3][s[15]]
		binary.BigEndian.PutUint64(d[6:], uint64(a)<<40|uint64(b)<<16)
		wrong |= a | b
		src, dst = src[16:], dst[12:]
	}
	if len(src) >= 8 && len(dst) >= 8 {
		s := src[:8]
		a := values[0][s[0]] | values[1][s[1]] | values[2][s[2]] | values[3][s[3]]
		b := values[0][s[4]] | values[1][s[5]] | values[2][s[6]] | values[3][s[7]]
		wrong |= a | b
		binary.BigEndian.PutUint64(dst, uint64(a)<<40|uint64(b)<<16)
		src, dst = src[8:], dst[6:]
	}
	for len(src) >= 4 {
		a := values[0][src[0]] | values[1][src[1]] | values[2][src[2]] | values[3][src[3]]
		wrong |= a
		dst[0], dst[1], dst[2] = byte(a>>16), byte(a>>8), byte(a)
		src, dst = src[4:], dst[3:]
	}
	switch len(src) {
	case 1:
		return false
	case 2:
		a := values[0][src[0]] | values[1][src[1]]
		if wrong |= a; a&0xffff != 0 {
			return false
		}
		dst[0] = byte(a >> 16)
	case 3:
		a := values[0][src[0]] | values[1][src[1]] | values[2][src[2]]
		if wrong |= a; a&0xff != 0 {
			return false
		}
		dst[0], dst[1] = byte(a>>16), byte(a>>8)
	}
	return wrong&noLetter == 0
}
