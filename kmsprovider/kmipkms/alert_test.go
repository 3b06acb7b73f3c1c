package kmipkms_test

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmipkms"
)

// Before the server has shown who it is, an alert is anybody's, and no refusal: a ring
// would drop its keys.
func TestAlertOfNobody(t *testing.T) {
	for _, alert := range []byte{42, 43, 44, 45, 46, 48, 49, 116} { // most of them about certificates
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				c.Read(make([]byte, 4096)) // what the client says first
				c.Write([]byte{21, 3, 3, 0, 2, 2, alert})
				c.Close()
			}
		}()
		p, err := kmipkms.New(kmipkms.Options{Addr: ln.Addr().String(), KeyID: "one", TLS: &tls.Config{}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Wrap(t.Context(), secret, kc)
		if !errors.Is(err, kmsprovider.ErrUnavailable) || !kmsprovider.Retryable(err) {
			t.Errorf("alert %d: %v", alert, err)
		}
	}
}
