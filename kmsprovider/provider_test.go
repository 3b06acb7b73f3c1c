package kmsprovider

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Every pair differs only in where its parts begin and end, or in their order.
func TestAADIsInjective(t *testing.T) {
	contexts := []Context{
		nil,
		{"": ""},
		{"a": ""},
		{"": "a"},
		{"a": "b"},
		{"ab": ""},
		{"a": "b", "c": "d"},
		{"a": "d", "c": "b"},
		{"a": "bc", "d": ""},
		{"a": "b", "cd": ""},
		{"a": "b\x00\x00\x00\x01c\x00\x00\x00\x01d"},
		{"a": "b", "c": "d", "": ""},
		{"ring": "app", "key": "00000001"},
		{"ring": "app\x00", "key": "00000001"},
	}
	seen := make(map[string]int)
	for i, c := range contexts {
		aad := string(c.AAD())
		if j, ok := seen[aad]; ok {
			t.Errorf("%q and %q have the same encoding", c, contexts[j])
		}
		seen[aad] = i
		for range 20 { // maps have no order
			if string(c.AAD()) != aad {
				t.Fatalf("%q has two encodings", c)
			}
		}
	}
	if !bytes.Equal(Context(nil).AAD(), Context{}.AAD()) {
		t.Error("nil and empty differ")
	}
}

func TestAADBytes(t *testing.T) {
	got := hex.EncodeToString(Context{"b": "", "a": "xy"}.AAD())
	want := hex.EncodeToString([]byte("structseal/v1/kek")) + "02" + "0161" + "027879" + "0162" + "00"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRetryable(t *testing.T) {
	for err, want := range map[error]bool{
		nil:                      false,
		ErrRejected:              false,
		ErrNotFound:              false,
		ErrDenied:                false,
		ErrDisabled:              false,
		ErrWrongAnswer:           false,
		ErrUnavailable:           true,
		ErrThrottled:             true,
		context.DeadlineExceeded: true,
		context.Canceled:         false,
		errors.New("something"):  false,
	} {
		if Retryable(err) != want {
			t.Errorf("Retryable(%v) = %v", err, !want)
		}
		if err != nil {
			wrapped := fmt.Errorf("kms: %w: %w", err, errors.New("http 500"))
			if Retryable(wrapped) != want {
				t.Errorf("Retryable(%v) = %v", wrapped, !want)
			}
			final := errors.Join(err, ErrDisabled)
			if Retryable(final) {
				t.Errorf("Retryable(%v): a final answer is final", final)
			}
		}
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"":                        false,
		"local:0123456789abcdef":  true,
		"!":                       true,
		"~":                       true,
		"a b":                     false,
		"a\n":                     false,
		"a\x7f":                   false,
		`a"b`:                     false,
		`a\b`:                     false,
		"k\u00e9y":                false,
		strings.Repeat("k", 2048): true,
		strings.Repeat("k", 2049): false,
	} {
		if ValidID(id) != want {
			t.Errorf("ValidID(%.40q) = %v", id, !want)
		}
	}
}
