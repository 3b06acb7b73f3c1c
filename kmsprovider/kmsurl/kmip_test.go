package kmsurl_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmipkms"
	"github.com/structseal/structseal/kmsprovider/kmipkms/pykmip"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// certificate writes one that is the fake server's, the client's and its own authority.
func certificate(t *testing.T, dir string) (cert, key, both string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certText := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyText := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return write(t, dir+"/cert.pem", certText), write(t, dir+"/key.pem", keyText), write(t, dir+"/both.pem", certText+keyText)
}

func TestKMIP(t *testing.T) {
	dir, server := t.TempDir(), pykmip.Start(t)
	ca, cert, key := server.Files()
	both := write(t, dir+"/both.pem", read(t, cert)+read(t, key))
	driver, err := kmipkms.New(kmipkms.Options{Addr: server.Addr(), KeyID: server.MakeKey(t), TLS: server.TLS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Close() })
	opensRingOf(t, driver, driver.ID()+"?cert="+cert+"&key="+key+"&ca="+ca)
	opensRingOf(t, driver, driver.ID()+"?cert="+both+"&ca=file:"+ca)

	bad := write(t, filepath.Join(dir, "bad.pem"), "x")
	for query, want := range map[string]error{
		"?cert=" + both + "&ca=/nonexistent":           fs.ErrNotExist,
		"?cert=" + both + "&key=/nonexistent":          fs.ErrNotExist,
		"?cert=" + bad:                                 nil,
		"?cert=" + both + "&ca=" + bad:                 nil,
		"?cert=" + cert + "&key=" + key + "&ca=" + key: nil,
	} {
		kms, done, err := kmsurl.Open(t.Context(), driver.ID()+query)
		if kms != nil || err == nil || want != nil && !errors.Is(err, want) || errors.Is(err, kmsurl.ErrURI) || done() != nil {
			t.Errorf("%s: %v, %v", query, kms, err)
		}
	}
}

// server-iv reaches the driver: the fake server gets no IV.
func TestKMIPServerIV(t *testing.T) {
	cert, key, both := certificate(t, t.TempDir())
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	ivs := make(chan []byte, 1)
	routes := kmipserver.NewBatchExecutor()
	routes.Route(kmip.OperationEncrypt, kmipserver.HandleFunc(func(_ context.Context, p *payloads.EncryptRequestPayload) (*payloads.EncryptResponsePayload, error) {
		ivs <- p.IVCounterNonce
		return nil, kmipserver.ErrItemNotFound
	}))
	server := kmipserver.NewServer(listener, routes)
	go server.Serve()
	t.Cleanup(func() { server.Shutdown() })
	uri := "kmip://" + listener.Addr().String() + "/a%2Fb?cert=" + both + "&ca=" + cert
	for query, want := range map[string]int{"": 12, "&server-iv=false": 12, "&server-iv=true": 0} {
		kms := open(t, uri+query)
		if _, err := kms.Wrap(t.Context(), make([]byte, 32), kmsprovider.Context{}); !errors.Is(err, kmsprovider.ErrNotFound) {
			t.Fatalf("%s: %v", query, err)
		}
		if iv := <-ivs; len(iv) != want {
			t.Errorf("%q: an IV of %d bytes, want %d", query, len(iv), want)
		}
		if kms.ID() != uri[:strings.Index(uri, "?")] {
			t.Errorf("ID %s", kms.ID())
		}
	}
}
