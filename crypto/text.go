package crypto

import (
	"encoding/base64"
	"strings"
)

// TextPrefix opens the text form of a ciphertext. The digit is the version of
// the text form.
const TextPrefix = "s1."

// Strict refuses trailing bits; there is no padding. CR and LF, which package
// base64 skips, are refused in ParseText.
var textEncoding = base64.RawURLEncoding.Strict()

// TextLen returns the length of the text form of n bytes.
func TextLen(n int) int { return len(TextPrefix) + textEncoding.EncodedLen(n) }

// AppendText appends the text form of a ciphertext to dst: "s1." and unpadded
// base64url (RFC 4648, section 5). It is how string columns hold ciphertexts.
func AppendText(dst, ciphertext []byte) []byte {
	return textEncoding.AppendEncode(append(dst, TextPrefix...), ciphertext)
}

// ParseText appends the ciphertext of a text form to dst. Every ciphertext has
// exactly one text form: padding, line breaks, other alphabets and trailing bits
// are refused.
//
// Errors: ErrNotEncrypted when text lacks the prefix; ErrMalformed.
func ParseText(dst []byte, text string) ([]byte, error) {
	body, ok := strings.CutPrefix(text, TextPrefix)
	if !ok {
		return nil, ErrNotEncrypted
	}
	// Decode skips CR and LF. A text with k of them then decodes to fewer bytes
	// than its length stands for, which is refused below: 3*len/4, rounded down,
	// shrinks with every character less unless the last group has just one, and
	// that is no base64.
	if len(body)%4 == 1 {
		return nil, ErrMalformed
	}
	n := textEncoding.DecodedLen(len(body))
	out := grow(dst, n, nil)[:len(dst)+n]
	m, err := textEncoding.Decode(out[len(dst):], stringBytes(body))
	if err != nil || m != n {
		return nil, ErrMalformed
	}
	return out, nil
}

// IsText reports whether text is the text form of something that could be a
// ciphertext: canonical, starting with 0x01, and long enough.
func IsText(text string) bool {
	if !strings.HasPrefix(text, TextPrefix) {
		return false
	}
	ct, err := ParseText(nil, text)
	if err != nil {
		return false
	}
	_, err = KeyID(ct)
	return err == nil
}
