package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/structseal/structseal/keyring"
)

func hexID(id uint32) string { return fmt.Sprintf("%08x", id) }

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// keyID reads the id of a key: eight hexadecimal digits.
func keyID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 16, 32)
	if err != nil || len(text) != 8 {
		return 0, usageError{fmt.Errorf("%q is not the id of a key, which has eight hexadecimal digits; see structseal keys list", text)}
	}
	return uint32(id), nil
}

// findKey returns what the ring knows of the key that text names.
func findKey(ring *keyring.Keyring, text string) (keyring.KeyInfo, error) {
	id, err := keyID(text)
	if err != nil {
		return keyring.KeyInfo{}, err
	}
	for _, k := range ring.Keys() {
		if k.ID == id {
			return k, nil
		}
	}
	return keyring.KeyInfo{}, fmt.Errorf("ring %s, key %s: %w", ring.Name(), text, keyring.ErrUnknownKey)
}
