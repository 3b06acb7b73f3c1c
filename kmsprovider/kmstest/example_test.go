package kmstest_test

import (
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// The whole test of a provider is one call in a _test.go file. This one calls no
// service, so it can't be put into any mode.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestMyProvider(t *testing.T) {
		one, other := localkms.NewRandom(), localkms.NewRandom()
		kmstest.Run(t,
			func(*testing.T) kmsprovider.Provider { return one },
			func(*testing.T) kmsprovider.Provider { return other },
			kmstest.Lacks("there is no service", kmstest.Modes()...))
	}
	// Output:
}
