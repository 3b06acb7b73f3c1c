package kmstest_test

import (
	"errors"
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

// A Resilient keeps the promises of the provider that it calls.
func TestResilient(t *testing.T) {
	server := newToyServer()
	proxy := kmstest.NewProxy(t, server)
	open := func(key string) func(*testing.T) kmsprovider.Provider {
		return func(*testing.T) kmsprovider.Provider {
			return kmsprovider.NewResilient(&toy{id: "toy:" + key, key: key, url: proxy.URL, client: proxy.Client()},
				&kmsprovider.ResilientOptions{Concurrency: 2})
		}
	}
	opts := []kmstest.Option{proxy.Faults(), kmstest.ServiceError(func(err error) bool { return errors.As(err, new(*toyError)) })}
	for _, m := range toyModes {
		opts = append(opts, server.fault(m))
	}
	kmstest.Run(t, open("one"), open("two"), opts...)
}

func key(b byte) []byte {
	out := make([]byte, 32)
	for i := range out {
		out[i] = b + byte(i)*7
	}
	return out
}
