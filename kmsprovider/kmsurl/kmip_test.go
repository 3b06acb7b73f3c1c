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
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmipkms"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
)

// certificate writes one that is the server's, the client's and its own authority.
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

// pykmip starts a PyKMIP server, and returns its address and an active key.
func pykmip(t *testing.T, dir, cert, key string, config *tls.Config) (addr, id string) {
	t.Helper()
	program, err := exec.LookPath("pykmip-server")
	if err == nil { // the package is of the system's Python, whatever else comes first on PATH
		err = exec.Command("/usr/bin/python3", "-c", "import kmip").Run()
	}
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("pykmip-server is not installed: %v", err)
	}
	if err := errors.Join(err, os.Mkdir(dir+"/policy", 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 5 { // another process may take the port between
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr = free.Addr().String()
		free.Close()
		conf := write(t, dir+"/server.conf", "[server]\nhostname=127.0.0.1\nport="+addr[strings.LastIndex(addr, ":")+1:]+
			"\ncertificate_path="+cert+"\nkey_path="+key+"\nca_path="+cert+"\nauth_suite=TLS1.2\npolicy_path="+dir+
			"/policy\nenable_tls_client_auth=True\nlogging_level=WARNING\ndatabase_path="+dir+"/keys.db\n")
		server := exec.Command("/usr/bin/python3", program, "-f", conf, "-l", dir+"/server.log")
		server.Dir, server.SysProcAttr = dir, &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { server.Wait(); close(ended) }()
		t.Cleanup(func() { // it has a child process
			syscall.Kill(-server.Process.Pid, syscall.SIGKILL)
			<-ended
		})
		poll := time.NewTicker(20 * time.Millisecond)
		defer poll.Stop()
		for up := true; up; {
			admin, err := kmipclient.Dial(addr, kmipclient.WithTlsConfig(config.Clone()))
			if err == nil {
				defer admin.Close()
				made, err := admin.Create().AES(256, kmip.CryptographicUsageEncrypt|kmip.CryptographicUsageDecrypt).Exec()
				if err == nil {
					_, err = admin.Activate(made.UniqueIdentifier).Exec()
				}
				if err != nil {
					t.Fatal(err)
				}
				return addr, made.UniqueIdentifier
			}
			select {
			case <-poll.C:
			case <-ended:
				up = false
			}
		}
	}
	log, _ := os.ReadFile(dir + "/server.log")
	t.Fatalf("pykmip-server does not start:\n%s", log)
	return "", ""
}

func TestKMIP(t *testing.T) {
	dir := t.TempDir()
	cert, key, both := certificate(t, dir)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}
	addr, id := pykmip(t, dir, cert, key, config)
	driver, err := kmipkms.New(kmipkms.Options{Addr: addr, KeyID: id, TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Close() })
	opensRingOf(t, driver, driver.ID()+"?cert="+cert+"&key="+key+"&ca="+cert)
	opensRingOf(t, driver, driver.ID()+"?cert="+both+"&ca=file:"+cert)

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
