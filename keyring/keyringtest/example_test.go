package keyringtest_test

import (
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/keyringtest"
)

// The whole test of a store is one call in a _test.go file. Here every handle is
// the store itself.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestMyStore(t *testing.T) {
		store := keyring.NewMemoryStore()
		keyringtest.Run(t, func(*testing.T) keyring.Store { return store })
	}
	// Output:
}
