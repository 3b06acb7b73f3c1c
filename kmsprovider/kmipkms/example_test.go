package kmipkms_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"

	"github.com/structseal/structseal/kmsprovider/kmipkms"
)

// The certificate tells the server who asks. Nothing is called here.
func Example() {
	var client tls.Certificate // tls.LoadX509KeyPair("app.pem", "app.key")
	roots := x509.NewCertPool()
	kms, err := kmipkms.New(kmipkms.Options{
		Addr:  "kms.example.org:5696",
		KeyID: "2e1fd0f0-5a5e-44fd-a07c-3ae4d4d2f9a6",
		TLS:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer kms.Close()
	fmt.Println(kms.ID())
	// Output: kmip://kms.example.org:5696/2e1fd0f0-5a5e-44fd-a07c-3ae4d4d2f9a6
}
