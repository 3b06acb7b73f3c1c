package crypto

import (
	"slices"
	"strings"
)

// TextPrefix opens the text form of a ciphertext. The digit is the version of
// the text form.
const TextPrefix = "s1."

// TextLen returns the length of the text form of n bytes.
func TextLen(n int) int { return len(TextPrefix) + encodedLen(n) }

// AppendText appends the text form of a ciphertext to dst: "s1." and unpadded
// base64url (RFC 4648, section 5). It is how string columns hold ciphertexts.
func AppendText(dst, ciphertext []byte) []byte {
	return appendText(slices.Grow(dst, TextLen(len(ciphertext))), ciphertext)
}

// appendText is AppendText to a dst that has room.
func appendText(dst, ciphertext []byte) []byte {
	out := dst[:len(dst)+TextLen(len(ciphertext))]
	text := out[len(dst):]
	*(*[len(TextPrefix)]byte)(text) = [len(TextPrefix)]byte([]byte(TextPrefix))
	encodeBase64(text[len(TextPrefix):], ciphertext)
	return out
}

// ParseText appends the ciphertext of a text form to dst. Every ciphertext has
// exactly one text form: padding, line breaks, other alphabets and trailing bits
// are refused.
//
// Errors: ErrNotEncrypted when text lacks the prefix; ErrMalformed.
func ParseText(dst []byte, text string) ([]byte, error) {
	if !strings.HasPrefix(text, TextPrefix) {
		return nil, ErrNotEncrypted
	}
	body := stringBytes(text)[len(TextPrefix):]
	n := decodedLen(len(body))
	out := grow(dst, n, nil)[:len(dst)+n]
	if !decodeBase64(out[len(dst):], body) {
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
