package sqlrows

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/structseal/structseal/manifest"
	"github.com/structseal/structseal/rotate"
)

// A driver gives text as bytes now and then, and a parameter of bytes is compared in
// another way than one of text: so every value is brought into the form of its column.
func (c column) value(v any) any {
	switch v := v.(type) {
	case []byte:
		if c.text {
			return string(v)
		}
		return append([]byte{}, v...)
	case string:
		if !c.text {
			return []byte(v)
		}
	}
	return v
}

// bindText writes a bind value as structseal authenticates it.
func (c column) bindText(v any) (string, error) {
	var text string
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		text = v
	case []byte:
		text = string(v)
	case int64:
		text = strconv.FormatInt(v, 10)
	case uint64:
		text = strconv.FormatUint(v, 10)
	default:
		return "", fmt.Errorf("%w: a %T can't bind", rotate.ErrMismatch, v)
	}
	switch c.kind {
	case manifest.BindUUID:
		if len(text) == 16 {
			h := hex.EncodeToString([]byte(text))
			return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"), nil
		}
		return strings.ToLower(text), nil
	case manifest.BindInteger:
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			if _, err := strconv.ParseUint(text, 10, 64); err != nil {
				return "", fmt.Errorf("%w: a column of an integer bind field holds none", rotate.ErrMismatch)
			}
		}
	}
	return text, nil
}

// A position is a key as a text that jobs remember.
type part struct {
	Int   *int64  `json:"i,omitempty"`
	Uint  *uint64 `json:"u,omitempty"`
	Text  *string `json:"s,omitempty"`
	Bytes []byte  `json:"b,omitempty"`
}

func encodeKey(key []any) (string, error) {
	parts := make([]part, len(key))
	for i, v := range key {
		switch v := v.(type) {
		case int64:
			parts[i].Int = &v
		case uint64:
			parts[i].Uint = &v
		case string:
			parts[i].Text = &v
		case []byte:
			parts[i].Bytes = v
		default:
			return "", fmt.Errorf("%w: rows can't be gone through by a key with a %T; give the columns of another unique key", rotate.ErrMismatch, v)
		}
	}
	text, err := json.Marshal(parts)
	return string(text), err
}

func decodeKey(text string, columns int) ([]any, error) {
	var parts []part
	if err := json.Unmarshal([]byte(text), &parts); err != nil || len(parts) != columns {
		return nil, fmt.Errorf("%w: the position of the job is none of this table's key; was the key changed?", rotate.ErrMismatch)
	}
	key := make([]any, len(parts))
	for i, p := range parts {
		switch {
		case p.Int != nil:
			key[i] = *p.Int
		case p.Uint != nil:
			key[i] = *p.Uint
		case p.Text != nil:
			key[i] = *p.Text
		default:
			key[i] = append([]byte{}, p.Bytes...)
		}
	}
	return key, nil
}

// keyText shows a key to people.
func keyText(key []any) string {
	var parts []string
	for _, v := range key {
		switch v := v.(type) {
		case []byte:
			parts = append(parts, hex.EncodeToString(v))
		default:
			parts = append(parts, fmt.Sprint(v))
		}
	}
	return strings.Join(parts, "/")
}
