package kmipkms_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// A proxy stands before a server: TLS on both sides, whole messages between them.
type proxy struct {
	addr    string
	ca      *kmstest.Authority
	mode    atomic.Pointer[kmstest.Mode]
	backend atomic.Pointer[string]
	client  tls.Certificate // whom the server sees
	certs   map[kmstest.Mode]*tls.Certificate
	good    tls.Certificate
	sent    atomic.Int64 // bytes of a HugeAnswer
	mangle  atomic.Pointer[func(answer []byte)]

	accepted atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func newProxy(t testing.TB, ca *kmstest.Authority, backend string, client tls.Certificate) *proxy {
	t.Helper()
	p := &proxy{ca: ca, client: client, conns: make(map[net.Conn]bool)}
	p.backend.Store(&backend)
	p.good = ca.Issue(t, "127.0.0.1", x509.ExtKeyUsageServerAuth)
	unknown := kmstest.NewAuthority(t).Issue(t, "127.0.0.1", x509.ExtKeyUsageServerAuth)
	other := ca.Issue(t, "kms.example.org", x509.ExtKeyUsageServerAuth)
	p.certs = map[kmstest.Mode]*tls.Certificate{kmstest.BadCertificate: &unknown, kmstest.WrongHost: &other}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := p.certs[p.now()]; c != nil {
				return c, nil
			}
			return &p.good, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.addr = listener.Addr().String()
	p.wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			p.track(c, true)
			p.wg.Go(func() {
				defer p.track(c, false)
				p.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.disconnect()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) now() kmstest.Mode {
	if m := p.mode.Load(); m != nil {
		return *m
	}
	return ""
}

func (p *proxy) track(c net.Conn, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open {
		p.conns[c] = true
		return
	}
	delete(p.conns, c)
	c.Close()
}

// disconnect makes all clients connect again.
func (p *proxy) disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// faults are the modes that don't need to know the server.
func (p *proxy) faults() []kmstest.Option {
	var out []kmstest.Option
	for _, m := range []kmstest.Mode{
		kmstest.HungUp, kmstest.BadGateway, kmstest.HTMLAnswer, kmstest.TruncatedAnswer, kmstest.HugeAnswer,
		kmstest.BadCertificate, kmstest.WrongHost, kmstest.Silent, kmstest.SlowAnswer,
	} {
		out = append(out, kmstest.Fault(m, func(t *testing.T) func() {
			p.sent.Store(0)
			p.mode.Store(&m)
			p.disconnect()
			return func() {
				if n := p.sent.Load(); n > 16<<20 {
					t.Errorf("the provider has read at least %d MiB of an answer that doesn't end", n>>20)
				}
				p.mode.Store(nil)
				p.disconnect()
			}
		}))
	}
	return out
}

// message reads one message of TTLV.
func message(r io.Reader) ([]byte, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[4:])&0xffffff)
	_, err := io.ReadFull(r, body)
	return append(head, body...), err
}

const page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n"

func (p *proxy) serve(c net.Conn) {
	request, err := message(c) // before the backend is asked: clients that don't trust us send none
	if err != nil {
		return
	}
	server, err := tls.Dial("tcp", *p.backend.Load(), &tls.Config{RootCAs: p.ca.Pool(), Certificates: []tls.Certificate{p.client}})
	if err != nil {
		return
	}
	p.track(server, true)
	defer p.track(server, false)
	for err == nil {
		if _, err = server.Write(request); err != nil {
			return
		}
		var answer []byte
		if answer, err = message(server); err != nil {
			return
		}
		if mangle := p.mangle.Load(); mangle != nil {
			(*mangle)(answer)
		}
		switch p.now() {
		case kmstest.HungUp:
			return
		case kmstest.BadGateway, kmstest.HTMLAnswer:
			io.WriteString(c, page)
			return
		case kmstest.TruncatedAnswer:
			c.Write(answer[:len(answer)/2])
			return
		case kmstest.Silent:
			io.Copy(io.Discard, c)
			return
		case kmstest.HugeAnswer:
			binary.BigEndian.PutUint32(answer[4:], 1<<30)
			c.Write(answer)
			for chunk := bytes.Repeat([]byte("A"), 64<<10); err == nil && p.sent.Load() < 64<<20; p.sent.Add(int64(len(chunk))) {
				_, err = c.Write(chunk)
			}
			return
		case kmstest.SlowAnswer:
			binary.BigEndian.PutUint32(answer[4:], 1<<19)
			for _, err = c.Write(answer); err == nil; _, err = io.WriteString(c, "A") {
				time.Sleep(10 * time.Millisecond)
			}
			return
		}
		if _, err = c.Write(answer); err == nil {
			request, err = message(c)
		}
	}
}
