package kmstest_test

import (
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

func TestLocalKMS(t *testing.T) {
	one, other := key(1), key(2)
	open := func(key []byte) func(*testing.T) kmsprovider.Provider {
		return func(t *testing.T) kmsprovider.Provider {
			p, err := localkms.New(key)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	kmstest.Run(t, open(one), open(other),
		kmstest.Secrets(string(one)), kmstest.Lacks("there is no service", kmstest.Modes()...))
}

func key(b byte) []byte {
	out := make([]byte, 32)
	for i := range out {
		out[i] = b + byte(i)*7
	}
	return out
}
