package rotate

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// checkSealed reports whether a text is what a structseal.Sealed of the type decrypts
// to. Only types whose text is fixed are known here.
func checkSealed(typ string, text []byte) error {
	_, inside, found := strings.Cut(typ, "Sealed[")
	inside = strings.TrimSuffix(inside, "]")
	s, ok := string(text), false
	switch inside {
	case "string":
		ok = utf8.Valid(text)
	case "bool":
		ok = s == "true" || s == "false"
	case "int", "int8", "int16", "int32", "int64":
		bits, _ := strconv.Atoi(strings.TrimPrefix(inside, "int"))
		n, err := strconv.ParseInt(s, 10, bits)
		ok = err == nil && strconv.FormatInt(n, 10) == s
	case "uint", "uint8", "uint16", "uint32", "uint64":
		bits, _ := strconv.Atoi(strings.TrimPrefix(inside, "uint"))
		n, err := strconv.ParseUint(s, 10, bits)
		ok = err == nil && strconv.FormatUint(n, 10) == s
	case "time.Time":
		_, err := time.Parse(time.RFC3339Nano, s)
		ok = err == nil
	default:
		if !found {
			inside = typ
		}
		return fmt.Errorf("%w: %s: only a program that has the type can tell whether the text is one; encrypt such rows there", ErrPlaintext, inside)
	}
	if !ok {
		return fmt.Errorf("%w: the text is no %s as structseal writes it", ErrPlaintext, inside)
	}
	return nil
}
