package crypto

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// A second implementation, from the documents alone and slow on purpose: GCM
// from NIST SP 800-38D, XAES from C2SP, SIV from RFC 5297, HKDF from RFC 5869,
// the frames and contexts from docs/format.md. It shares nothing with the
// package but AES and SHA-256. It also runs in FIPS-only mode, which refuses
// cipher.NewGCM.

// refGF is an element of GF(2^128) in GCM's bit order: hi holds the first bits.
type refGF struct{ hi, lo uint64 }

func refGFBytes(b []byte) refGF {
	return refGF{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (a refGF) bytes() []byte {
	b := binary.BigEndian.AppendUint64(nil, a.hi)
	return binary.BigEndian.AppendUint64(b, a.lo)
}

func (a refGF) add(b refGF) refGF { return refGF{a.hi ^ b.hi, a.lo ^ b.lo} }

// mul is SP 800-38D, algorithm 1.
func (a refGF) mul(b refGF) refGF {
	var z refGF
	for i := range 128 {
		word := a.hi
		if i >= 64 {
			word = a.lo
		}
		if word>>(63-i%64)&1 == 1 {
			z = z.add(b)
		}
		odd := b.lo & 1
		b = refGF{b.hi >> 1, b.lo>>1 | b.hi<<63}
		b.hi ^= odd * (0xe1 << 56)
	}
	return z
}

// inverse is a^(2^128-2).
func (a refGF) inverse() refGF {
	z := refGF{hi: 1 << 63} // one
	for range 127 {
		a = a.mul(a)
		z = z.mul(a)
	}
	return z
}

func refBlock(key, in []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	out := make([]byte, 16)
	block.Encrypt(out, in)
	return out
}

// refGHASH is the hash of data and ciphertext, each padded, and the lengths.
func refGHASH(h refGF, aad, ct []byte) refGF {
	var y refGF
	for _, part := range [][]byte{aad, ct} {
		for ; len(part) > 0; part = part[min(16, len(part)):] {
			block := make([]byte, 16)
			copy(block, part)
			y = y.add(refGFBytes(block)).mul(h)
		}
	}
	return y.add(refGF{8 * uint64(len(aad)), 8 * uint64(len(ct))}).mul(h)
}

// refCTR is GCM's counter mode, from the counter after the tag's.
func refCTR(key, nonce, in []byte) []byte {
	var out []byte
	for i := 0; i < len(in); i += 16 {
		counter := binary.BigEndian.AppendUint32(append([]byte(nil), nonce...), uint32(2+i/16))
		for j, k := range refBlock(key, counter) {
			if i+j < len(in) {
				out = append(out, in[i+j]^k)
			}
		}
	}
	return out
}

func refTag(key, nonce, ct, aad []byte) []byte {
	h := refGFBytes(refBlock(key, make([]byte, 16)))
	mask := refBlock(key, append(append([]byte(nil), nonce...), 0, 0, 0, 1))
	return refGHASH(h, aad, ct).add(refGFBytes(mask)).bytes()
}

// refGCM returns ciphertext and tag.
func refGCM(key, nonce, plaintext, aad []byte) []byte {
	ct := refCTR(key, nonce, plaintext)
	return append(ct, refTag(key, nonce, ct, aad)...)
}

// refGCMOpen returns the text and whether the tag is right.
func refGCMOpen(key, nonce, body, aad []byte) ([]byte, bool) {
	ct, tag := body[:len(body)-16], body[len(body)-16:]
	return refCTR(key, nonce, ct), string(refTag(key, nonce, ct, aad)) == string(tag)
}

// refDouble multiplies by x in CMAC's and SIV's bit order.
func refDouble(b []byte) []byte {
	hi, lo := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	carry := hi >> 63
	out := binary.BigEndian.AppendUint64(nil, hi<<1|lo>>63)
	return binary.BigEndian.AppendUint64(out, lo<<1^carry*0x87)
}

func refXOR(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range out {
		out[i] = a[i] ^ b[i]
	}
	return out
}

// refCMAC is NIST SP 800-38B.
func refCMAC(key, msg []byte) []byte {
	sub := refDouble(refBlock(key, make([]byte, 16)))
	last := append([]byte(nil), msg...)
	x := make([]byte, 16)
	for len(last) > 16 {
		x = refBlock(key, refXOR(x, last[:16]))
		last = last[16:]
	}
	if len(last) < 16 {
		sub = refDouble(sub)
		last = append(last, 0x80)
		last = append(last, make([]byte, 16-len(last))...)
	}
	return refBlock(key, refXOR(x, refXOR(last, sub)))
}

// refXAESKey is the key derivation of C2SP XAES-256-GCM: CMAC of two blocks.
func refXAESKey(key, salt []byte) []byte {
	var out []byte
	for i := byte(1); i <= 2; i++ {
		out = append(out, refCMAC(key, append([]byte{0, i, 'X', 0}, salt...))...)
	}
	return out
}

// refSIV is RFC 5297 with one string of associated data, for any AES key size.
func refSIV(key, plaintext, aad []byte) []byte {
	mac, enc := key[:len(key)/2], key[len(key)/2:]
	d := refDouble(refCMAC(mac, make([]byte, 16)))
	d = refXOR(d, refCMAC(mac, aad))
	var v []byte
	if n := len(plaintext); n >= 16 {
		v = refCMAC(mac, append(append([]byte(nil), plaintext[:n-16]...), refXOR(plaintext[n-16:], d)...))
	} else {
		padded := append(append([]byte(nil), plaintext...), 0x80)
		padded = append(padded, make([]byte, 16-len(padded))...)
		v = refCMAC(mac, refXOR(refDouble(d), padded))
	}
	return append(v, refSIVCTR(enc, v, plaintext)...)
}

// refSIVDecrypt decrypts and checks nothing.
func refSIVDecrypt(key, body []byte) []byte {
	return refSIVCTR(key[len(key)/2:], body[:16], body[16:])
}

func refSIVCTR(key, v, in []byte) []byte {
	iv := append([]byte(nil), v...)
	iv[8] &= 0x7f
	iv[12] &= 0x7f
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(in))
	cipher.NewCTR(block, iv).XORKeyStream(out, in)
	return out
}

// refSeal makes the ciphertext of docs/format.md with a given salt and nonce
// (neither is used by Deterministic, the salt only by Default).
func refSeal(s Suite, id uint32, key, salt, nonce, plaintext, context []byte) []byte {
	frame := binary.BigEndian.AppendUint32([]byte{1}, id)
	switch s {
	case Default:
		text := append(make([]byte, 32), plaintext...)
		frame = append(append(frame, salt...), nonce...)
		return append(frame, refGCM(refXAESKey(key, salt), nonce, text, context)...)
	case Compact:
		return append(append(frame, nonce...), refGCM(key, nonce, plaintext, context)...)
	default:
		return append(frame, refSIV(key, plaintext, context)...)
	}
}

// refHMAC is RFC 2104 with SHA-256.
func refHMAC(key, msg []byte) []byte {
	pad := func(b byte) []byte {
		out := bytes.Repeat([]byte{b}, sha256.BlockSize)
		for i, k := range key { // no key here is longer than a block
			out[i] ^= k
		}
		return out
	}
	inner := sha256.Sum256(append(pad(0x36), msg...))
	outer := sha256.Sum256(append(pad(0x5c), inner[:]...))
	return outer[:]
}

// refHKDF is RFC 5869 with SHA-256 and no salt.
func refHKDF(secret []byte, info string, n int) []byte {
	prk := refHMAC(make([]byte, 32), secret)
	var out, t []byte
	for i := byte(1); len(out) < n; i++ {
		t = refHMAC(prk, append(append(t, info...), i))
		out = append(out, t...)
	}
	return out[:n]
}

// refNumber is LEB128: seven bits a byte, the lowest first.
func refNumber(n uint64) []byte {
	out := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		out[len(out)-1] |= 0x80
		out = append(out, byte(n&0x7f))
	}
	return out
}

func refString(s string) []byte { return append(refNumber(uint64(len(s))), s...) }

// refBlindIndex is the tag of docs/format.md.
func refBlindIndex(root []byte, ring, record, field, index, value string, nbits int) []byte {
	info := "structseal/v1/index"
	for _, s := range []string{ring, record, field, index} {
		info += string(refString(s))
	}
	sum := refHMAC(refHKDF(root, info, 32), []byte(value))
	for i := range sum {
		if keep := nbits - 8*i; keep < 8 {
			sum[i] &= bits.Reverse8(byte(1<<max(keep, 0) - 1))
		}
	}
	return sum[:(nbits+7)/8]
}

// refText is the text form, six bits at a time.
func refText(b []byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	out := "s1."
	for bit := 0; bit < 8*len(b); bit += 6 {
		v := uint16(b[bit/8]) << 8
		if bit/8+1 < len(b) {
			v |= uint16(b[bit/8+1])
		}
		out += string(alphabet[v>>(10-bit%8)&63])
	}
	return out
}
