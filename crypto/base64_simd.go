//go:build goexperiment.simd && amd64

package crypto

import "simd/archsimd"

// Twelve bytes are sixteen letters. The steps are those of Muła and Lemire, Faster Base64
// Encoding and Decoding Using AVX2 Instructions (2018), with the tables of base64url.
// Package simd/archsimd is in Go's standard library for those who build with
// GOEXPERIMENT=simd.

var vectors = archsimd.X86.AVX2()

type (
	bytes16 = archsimd.Uint8x16
	block   = [16]byte
)

func repeat4(a, b, c, d byte) (v block) {
	for i := 0; i < len(v); i += 4 {
		v[i], v[i+1], v[i+2], v[i+3] = a, b, c, d
	}
	return v
}

func repeat(b byte) block { return repeat4(b, b, b, b) }

var (
	// Each group of three bytes becomes two words that overlap in the middle byte.
	spread   = block{1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10}
	outer    = repeat4(0x00, 0xfc, 0xc0, 0x0f)
	outerMul = repeat4(0x40, 0x00, 0x00, 0x04)
	inner    = repeat4(0xf0, 0x03, 0x3f, 0x00)
	innerMul = repeat4(0x10, 0x00, 0x00, 0x01)
	// What to add to a value, by 0 for a to z, 1 to 10 for digits, 11 and 12 for the
	// last two, and 13 for A to Z.
	toLetter = block{'a' - 26, 252, 252, 252, 252, 252, 252, 252, 252, 252, 252, 256 + '-' - 62, '_' - 63, 'A', 0, 0}
	lastUp   = repeat(51)
	upper    = repeat(26)
	isUpper  = repeat(13)

	low = repeat(0x0f)
	// Bits of what is wrong with a letter by its low half, and by its high half: one in
	// common means that it is no letter.
	wrongLow  = block{0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x3b, 0x3b, 0x3a, 0x3b, 0x33}
	wrongHigh = block{0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x20, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10}
	// What to add to a letter for its value, by its high half; '_' is apart.
	toValue   = block{0, 0, 62 - '-', 4, 191, 191, 185, 185}
	score     = repeat('_')
	scoreMore = repeat(33)
	pairMul   = repeat4(0x40, 0x01, 0x40, 0x01)
	quadMul   = repeat4(0x00, 0x10, 0x01, 0x00)
	gather    = block{2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 0x80, 0x80, 0x80, 0x80}
)

func load(b *block) bytes16 { return archsimd.LoadUint8x16(b) }

// encodeVectors encodes the start of src, a multiple of twelve bytes, and returns how many.
func encodeVectors(dst, src []byte) (n int) {
	if !vectors || len(src) < 16 {
		return 0
	}
	shuffle, letter := load(&spread).AsInt8x16(), load(&toLetter)
	and1, mul1 := load(&outer), load(&outerMul).AsUint16x8()
	and2, mul2 := load(&inner), load(&innerMul).AsUint16x8()
	last, up, is := load(&lastUp), load(&upper).AsInt8x16(), load(&isUpper)
	for at := 0; len(src)-n >= 16 && len(dst)-at >= 16; n, at = n+12, at+16 {
		x := load((*block)(src[n:])).PermuteOrZero(shuffle)
		v := x.And(and1).AsUint16x8().MulHigh(mul1).Or(x.And(and2).AsUint16x8().Mul(mul2)).AsUint8x16()
		class := v.SubSaturated(last).Or(up.Greater(v.AsInt8x16()).ToInt8x16().AsUint8x16().And(is))
		letter.PermuteOrZero(class.AsInt8x16()).Add(v).Store((*block)(dst[at:]))
	}
	return n
}

// decodeVectors decodes the start of src, a multiple of sixteen letters, and returns how
// many, and whether all of them are letters.
func decodeVectors(dst, src []byte) (n int, ok bool) {
	if !vectors || len(src) < 16 || len(dst) < 16 {
		return 0, true
	}
	half, lo, hi := load(&low), load(&wrongLow), load(&wrongHigh)
	value, last, more := load(&toValue), load(&score), load(&scoreMore)
	mul1, mul2, shuffle := load(&pairMul).AsInt8x16(), load(&quadMul).AsInt16x8(), load(&gather).AsInt8x16()
	var zero, wrong bytes16
	for at := 0; len(src)-n >= 16 && len(dst)-at >= 16; n, at = n+16, at+12 {
		x := load((*block)(src[n:]))
		h := x.AsUint16x8().ShiftAllRight(4).AsUint8x16().And(half).AsInt8x16()
		l := x.And(half).AsInt8x16()
		wrong = wrong.Or(lo.PermuteOrZero(l).And(hi.PermuteOrZero(h)))
		v := x.Add(value.PermuteOrZero(h)).Add(x.Equal(last).ToInt8x16().AsUint8x16().And(more))
		v.DotProductPairsSaturated(mul1).DotProductPairs(mul2).AsUint8x16().PermuteOrZero(shuffle).Store((*block)(dst[at:]))
	}
	return n, wrong.Equal(zero).ToBits() == 0xffff
}
