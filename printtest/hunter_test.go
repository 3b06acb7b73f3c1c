package printtest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// A canary is a secret that must never turn up.
type canary struct {
	Name  string
	Bytes []byte
}

func bytesCanary(name string, b []byte) canary { return canary{name, slices.Clone(b)} }
func textCanary(name, s string) canary         { return canary{name, []byte(s)} }

// window is how many bytes of a secret in a row count as a leak. Short enough
// for hex dumps that break lines, long enough to never match by chance.
const window = 8

// A hunter looks for canaries. Their encodings are made once.
type hunter struct {
	names []string
	forms [4]map[[headSize]byte][]found // by stream and first bytes
	known map[string][]string           // outputs seen before
}

// found is what it means that a text is there.
type found struct {
	text, name string
	canary     int
}

// headSize is at most the length of the shortest form of a window.
const headSize = 6

func newHunter(canaries []canary) *hunter {
	h := &hunter{known: map[string][]string{}}
	for i := range h.forms {
		h.forms[i] = map[[headSize]byte][]found{}
	}
	for i, c := range canaries {
		if len(c.Bytes) < window {
			panic("printtest: the canary " + c.Name + " is too short")
		}
		h.names = append(h.names, c.Name)
		for at := range len(c.Bytes) - window + 1 {
			for _, f := range encodings(c.Bytes[at : at+window]) {
				head := [headSize]byte([]byte(f.text))
				// Most encodings of plain text are that text.
				if known := h.forms[f.stream][head]; !slices.ContainsFunc(known, func(k found) bool { return k.text == f.text && k.canary == i }) {
					h.forms[f.stream][head] = append(known, found{f.text, f.name, i})
				}
			}
		}
	}
	return h
}

// hunt reports which canaries are in output, and in which encoding.
func (h *hunter) hunt(output string) []string {
	if out, ok := h.known[output]; ok {
		return out
	}
	all := []streams{newStreams(output)}
	if percent.MatchString(output) {
		all = append(all, newStreams(percent.ReplaceAllStringFunc(output, func(s string) string {
			b, _ := hex.DecodeString(s[1:])
			return string(b)
		})))
	}
	var out []string
	seen := map[int]bool{}
	for _, s := range all {
		for i, text := range s {
			for at := 0; at+headSize <= len(text); at++ {
				for _, f := range h.forms[i][[headSize]byte([]byte(text[at:at+headSize]))] {
					if !seen[f.canary] && strings.HasPrefix(text[at:], f.text) {
						seen[f.canary] = true
						out = append(out, h.names[f.canary]+" as "+f.name)
					}
				}
			}
		}
	}
	h.known[output] = out
	return out
}

func hunt(output string, canaries []canary) []string { return newHunter(canaries).hunt(output) }

// streams are forms of one output in which bytes stand next to each other,
// whatever a printer puts between them.
type streams [4]string

type stream int

const (
	inRaw      stream = iota
	inHex             // lower case, without 0x, \x, blanks, commas and colons
	inDecimals        // all numbers, with one blank before and after each
	inSqueezed        // without blanks, quotes, commas and brackets
)

var (
	percent = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	numbers = regexp.MustCompile(`\d+`)
	// noise holds numbers that aren't data: type names, indices, the other side
	// of a diff, octal prefixes.
	noise = regexp.MustCompile(`\bu?int(?:8|16|32|64|ptr)?\b|\[\d+\]: | != \d+|\b0o`)

	hexNoise = strings.NewReplacer("0x", "", "0X", "", `\x`, "", " ", "", "\t", "", "\n", "", ",", "", ":", "")
	squeeze  = strings.NewReplacer(" ", "", "\t", "", "\n", "", ",", "", "'", "", `"`, "", "`", "", "[", "", "]", "", "{", "", "}", "")
)

func newStreams(output string) streams {
	var decimals strings.Builder
	decimals.WriteByte(' ')
	for _, n := range numbers.FindAllString(noise.ReplaceAllString(output, ""), -1) {
		decimals.WriteString(n)
		decimals.WriteByte(' ')
	}
	return streams{
		inRaw:      output,
		inHex:      strings.ToLower(hexNoise.Replace(output)),
		inDecimals: decimals.String(),
		inSqueezed: squeeze.Replace(output),
	}
}

type form struct {
	name   string
	stream stream
	text   string
}

// encodings returns how the bytes of a window look in each encoding.
func encodings(w []byte) []form {
	// Every window start is tried, so one starts on a base64 group.
	group := w[:len(w)/3*3]
	out := []form{
		{"raw bytes", inRaw, string(w)},
		{"base64 (standard)", inRaw, base64.RawStdEncoding.EncodeToString(group)},
		{"base64 (URL)", inRaw, base64.RawURLEncoding.EncodeToString(group)},
		{"bytes as runes", inRaw, string(runes(w))},
		{"Go string", inRaw, unquote(strconv.Quote(string(w)))},
		{"ASCII Go string", inRaw, unquote(strconv.QuoteToASCII(string(w)))},
		{"HTML text", inRaw, template.HTMLEscapeString(string(w))},
		{"URL query", inRaw, url.QueryEscape(string(w))},
		{"URL path", inRaw, url.PathEscape(string(w))},
		{"hexadecimal", inHex, hex.EncodeToString(w)},
		{"decimal bytes", inDecimals, each(" %d", w) + " "},
		{"octal bytes", inDecimals, each(" %o", w) + " "},
		{"binary bytes", inDecimals, each(" %b", w) + " "},
		{"code points", inSqueezed, each("U+%04X", w)},
		{"code points with characters", inSqueezed, squeeze.Replace(each("U+%04X '%[1]c' ", w))},
		{"\\u escapes", inRaw, each(`\u%04x`, w)},
	}
	if sq := squeeze.Replace(string(w)); strings.ContainsFunc(sq, func(r rune) bool { return r < '0' || r > '9' }) && len(sq) >= window-2 {
		out = append(out, form{"single characters", inSqueezed, sq})
	}
	// These lose what isn't UTF-8; nothing but losses would match anything.
	if strings.Count(string([]rune(string(w))), "\ufffd") <= len(w)/3 {
		out = append(out,
			form{"UTF-16LE", inRaw, utf16Text(w, binary.LittleEndian)},
			form{"UTF-16BE", inRaw, utf16Text(w, binary.BigEndian)},
			form{"JSON string", inRaw, jsonText(w)},
			form{"XML text", inRaw, xmlText(w)},
			form{"JavaScript string", inRaw, template.JSEscapeString(string(w))})
	}
	// An expanded AES-256 key starts with the key itself, in words.
	be, le := binary.BigEndian, binary.LittleEndian
	swapped := be.AppendUint32(nil, le.Uint32(w))
	swapped = be.AppendUint32(swapped, le.Uint32(w[4:]))
	return append(out,
		form{"decimal 32-bit words (big endian)", inDecimals, fmt.Sprintf(" %d %d ", be.Uint32(w), be.Uint32(w[4:]))},
		form{"decimal 32-bit words (little endian)", inDecimals, fmt.Sprintf(" %d %d ", le.Uint32(w), le.Uint32(w[4:]))},
		form{"decimal 64-bit word (big endian)", inDecimals, fmt.Sprintf(" %d ", be.Uint64(w))},
		form{"decimal 64-bit word (little endian)", inDecimals, fmt.Sprintf(" %d ", le.Uint64(w))},
		form{"hexadecimal 32-bit words (little endian)", inHex, hex.EncodeToString(swapped)},
		form{"hexadecimal 64-bit word (little endian)", inHex, fmt.Sprintf("%016x", le.Uint64(w))},
	)
}

func each(format string, w []byte) string {
	var b strings.Builder
	for _, c := range w {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

func runes(w []byte) []rune {
	out := make([]rune, len(w))
	for i, c := range w {
		out[i] = rune(c)
	}
	return out
}

func utf16Text(w []byte, order binary.AppendByteOrder) string {
	var out []byte
	for _, u := range utf16.Encode([]rune(string(w))) {
		out = order.AppendUint16(out, u)
	}
	return string(out)
}

// unquote drops the quotes and keeps the escapes.
func unquote(s string) string { return s[1 : len(s)-1] }

func jsonText(w []byte) string {
	b, err := json.Marshal(string(w))
	if err != nil {
		return ""
	}
	return unquote(string(b))
}

func xmlText(w []byte) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, w); err != nil {
		return ""
	}
	return b.String()
}
