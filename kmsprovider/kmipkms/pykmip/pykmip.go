package pykmip

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"

	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// A Server is a PyKMIP server on the loopback interface with one client, "app". It
// takes about 10 ms for a call.
type Server struct {
	// Authority is whom server and client trust.
	Authority *kmstest.Authority
	// Client is the client's certificate.
	Client tls.Certificate

	program string
	dir     string
	mu      sync.Mutex
	addr    string
	stop    func()
}

// Start starts a server, which ends with the test or with this process. Where PyKMIP
// isn't installed the test is skipped, or fails if CI=true is set.
func Start(t testing.TB) *Server {
	t.Helper()
	program, err := exec.LookPath("pykmip-server")
	if err == nil {
		// The package is of the system's Python, whatever else comes first on PATH.
		err = exec.Command("/usr/bin/python3", "-c", "import kmip").Run()
	}
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatalf("PyKMIP (pykmip-server) is not installed, and CI is set: %v", err)
	case err != nil:
		t.Skipf("PyKMIP (pykmip-server) is not installed: %v", err)
	}
	s := &Server{Authority: kmstest.NewAuthority(t), program: program, dir: t.TempDir()}
	s.Client = s.Authority.Issue(t, "app", x509.ExtKeyUsageClientAuth)
	s.write(t, "server", s.Authority.Issue(t, "127.0.0.1", x509.ExtKeyUsageServerAuth))
	s.write(t, "client", s.Client)
	if err := os.WriteFile(s.dir+"/ca.pem", s.Authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.dir+"/policy", 0o700); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	return s
}

// Files returns where the PEM of the authority's certificate, and of the client's with
// its key, lie, for another process.
func (s *Server) Files() (authority, certificate, key string) {
	return s.dir + "/ca.pem", s.dir + "/client.pem", s.dir + "/client.key"
}

// Addr returns host and port.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// TLS returns the configuration of the client.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{RootCAs: s.Authority.Pool(), Certificates: []tls.Certificate{s.Client}}
}

// Stop ends the server at once. Its keys stay for Restart.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
}

// Restart starts the server on another port, with the keys that it had, and waits until
// it answers.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	log, err := os.Create(filepath.Join(s.dir, "out.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range 5 { // another process may take the port between
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := free.Addr().String()
		free.Close()
		conf := strings.ReplaceAll("[server]\nhostname=127.0.0.1\nport="+addr[strings.LastIndex(addr, ":")+1:]+
			"\ncertificate_path=DIR/server.pem\nkey_path=DIR/server.key\nca_path=DIR/ca.pem\nauth_suite=TLS1.2\n"+
			"policy_path=DIR/policy\nenable_tls_client_auth=True\nlogging_level=WARNING\ndatabase_path=DIR/keys.db\n", "DIR", s.dir)
		if err := os.WriteFile(s.dir+"/server.conf", []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/usr/bin/python3", s.program, "-f", s.dir+"/server.conf", "-l", s.dir+"/server.log")
		cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
		// It has a child process: both end with the group, or by itself when this process dies.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		stop := sync.OnceFunc(func() {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		})
		t.Cleanup(stop)
		if s.answers(addr, ended) {
			s.mu.Lock()
			s.addr, s.stop = addr, stop
			s.mu.Unlock()
			return
		}
		stop()
	}
	text, _ := os.ReadFile(log.Name())
	t.Fatalf("pykmip-server does not start:\n%s", text)
}

func (s *Server) answers(addr string, ended chan struct{}) bool {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for range 3000 {
		if c, err := tls.Dial("tcp", addr, s.TLS()); err == nil {
			c.Close()
			return true
		}
		select {
		case <-poll.C:
		case <-ended:
			return false
		}
	}
	return false
}

// Admin runs fn with the library's client.
func (s *Server) Admin(t testing.TB, fn func(c *kmipclient.Client) error) {
	t.Helper()
	c, err := kmipclient.Dial(s.Addr(), kmipclient.WithTlsConfig(s.TLS()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := fn(c); err != nil {
		t.Fatal(err)
	}
}

// MakeKey makes an active AES key of 256 bits that may encrypt and decrypt, and returns
// its unique identifier.
func (s *Server) MakeKey(t testing.TB) (id string) {
	t.Helper()
	s.Admin(t, func(c *kmipclient.Client) error {
		made, err := c.Create().AES(256, kmip.CryptographicUsageEncrypt|kmip.CryptographicUsageDecrypt).Exec()
		if err != nil {
			return err
		}
		id = made.UniqueIdentifier
		_, err = c.Activate(id).Exec()
		return err
	})
	return id
}

// RevokeKey revokes a key: it is not active any more.
func (s *Server) RevokeKey(t testing.TB, id string) {
	t.Helper()
	s.Admin(t, func(c *kmipclient.Client) error {
		_, err := c.Revoke(id).WithRevocationReasonCode(kmip.RevocationReasonCodeCessationOfOperation).Exec()
		return err
	})
}

// DestroyKey destroys a revoked key for good.
func (s *Server) DestroyKey(t testing.TB, id string) {
	t.Helper()
	s.Admin(t, func(c *kmipclient.Client) error {
		_, err := c.Destroy(id).Exec()
		return err
	})
}

// write writes a certificate and its key.
func (s *Server) write(t testing.TB, name string, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: c.Certificate[0]},
		name + ".key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(s.dir, path), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
