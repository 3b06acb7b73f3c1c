package pykmip_test

import (
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/kmipkms"
	"github.com/structseal/structseal/kmsprovider/kmipkms/pykmip"
)

// In a test of a program:
func Example() {
	_ = func(t *testing.T) {
		server := pykmip.Start(t)
		kms, err := kmipkms.New(kmipkms.Options{Addr: server.Addr(), KeyID: server.MakeKey(t), TLS: server.TLS()})
		if err != nil {
			t.Fatal(err)
		}
		defer kms.Close()
		ring, _, err := keyring.Create(t.Context(), "app", keyring.NewMemoryStore(), kms, nil)
		if err != nil {
			t.Fatal(err)
		}
		ring.Close()
	}
}
