package kmstest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

// A Proxy is an HTTPS server on the loopback interface in front of a service. It
// hands every call to the service, until a mode makes it misbehave as load
// balancers, captive portals and attackers do. It speaks HTTP/1.1 and HTTP/2, so
// that gRPC works, too.
type Proxy struct {
	// URL is https://127.0.0.1: and a port.
	URL string
	// Authority is whom its clients trust.
	Authority *Authority

	backend     http.Handler
	server      *httptest.Server
	good        tls.Certificate
	otherHost   tls.Certificate
	unknown     tls.Certificate
	mode        atomic.Pointer[Mode]
	certificate atomic.Pointer[tls.Certificate]
	transports  []*http.Transport
	sent        atomic.Int64 // bytes of the longest HugeAnswer
	requests    atomic.Int64
	connections atomic.Int64                                            // that are open
	look        atomic.Pointer[func(*http.Request)]                     // at every request
	mangle      atomic.Pointer[func(answer *httptest.ResponseRecorder)] // changes every answer of the service
}

// NewProxy starts a proxy in front of backend. It is closed when the test ends.
func NewProxy(t testing.TB, backend http.Handler) *Proxy {
	t.Helper()
	p := &Proxy{backend: backend, Authority: NewAuthority(t)}
	p.good = p.Authority.Issue(t, "127.0.0.1", x509.ExtKeyUsageServerAuth)
	p.otherHost = p.Authority.Issue(t, "kms.example.org", x509.ExtKeyUsageServerAuth)
	p.unknown = NewAuthority(t).Issue(t, "127.0.0.1", x509.ExtKeyUsageServerAuth)
	p.certificate.Store(&p.good)

	p.server = httptest.NewUnstartedServer(p)
	p.server.EnableHTTP2 = true
	p.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			p.connections.Add(1)
		case http.StateClosed, http.StateHijacked:
			p.connections.Add(-1)
		}
	}
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail on purpose
	protocols := []string{"h2", "http/1.1"}
	p.server.TLS = &tls.Config{
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{NextProtos: protocols, Certificates: []tls.Certificate{*p.certificate.Load()}}, nil
		},
	}
	p.server.StartTLS()
	p.URL = p.server.URL
	t.Cleanup(func() {
		p.disconnect()
		p.server.Close()
	})
	return p
}

// TLS returns the configuration of a client that trusts the proxy.
func (p *Proxy) TLS() *tls.Config { return &tls.Config{RootCAs: p.Authority.Pool()} }

// Client returns an HTTP client that trusts the proxy, with connections of its own.
// It is not safe for concurrent use with Fault's functions.
func (p *Proxy) Client() *http.Client {
	tr := &http.Transport{TLSClientConfig: p.TLS(), MaxIdleConnsPerHost: 16}
	p.transports = append(p.transports, tr)
	return &http.Client{Transport: tr}
}

// Addr returns host and port.
func (p *Proxy) Addr() string {
	u, err := url.Parse(p.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Faults puts the proxy into every mode that doesn't need to know the service:
// HungUp, BadGateway, Blocked, HTMLAnswer, TruncatedAnswer, HugeAnswer, BadCertificate,
// WrongHost, Silent and SlowAnswer. With it, Run counts requests and connections, too.
func (p *Proxy) Faults() Option {
	return func(c *config) {
		c.proxy = p
		for _, m := range []Mode{HungUp, BadGateway, Blocked, HTMLAnswer, TruncatedAnswer, HugeAnswer, BadCertificate, WrongHost, Silent, SlowAnswer} {
			c.faults[m] = func(t *testing.T) func() {
				p.sent.Store(0)
				p.Set(m)
				return func() {
					if n := p.sent.Load(); n > maxSent {
						t.Errorf("the provider has read at least %d MiB of an answer that doesn't end", n>>20)
					}
					p.Set("")
				}
			}
		}
	}
}

// Set puts the proxy into one of the modes of Faults and ends all connections; any
// other mode, and none, makes it hand on every call. It is safe for concurrent use.
func (p *Proxy) Set(m Mode) {
	p.mode.Store(&m)
	switch m {
	case BadCertificate:
		p.certificate.Store(&p.unknown)
	case WrongHost:
		p.certificate.Store(&p.otherHost)
	default:
		p.certificate.Store(&p.good)
	}
	p.disconnect()
}

// disconnect makes all clients connect again.
func (p *Proxy) disconnect() {
	for _, tr := range p.transports {
		tr.CloseIdleConnections()
	}
	p.server.CloseClientConnections()
}

const page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n"

// A HugeAnswer ends after maxHuge bytes. maxSent of them may be on their way in buffers
// when a client leaves that has read as much as it needs.
const (
	maxHuge = 64 << 20
	maxSent = 16 << 20
)

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	if look := p.look.Load(); look != nil {
		(*look)(r)
	}
	var mode Mode
	if m := p.mode.Load(); m != nil {
		mode = *m
	}
	switch mode {
	case HungUp:
		panic(http.ErrAbortHandler)
	case BadGateway, Blocked, HTMLAnswer:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(map[Mode]int{BadGateway: http.StatusBadGateway, Blocked: http.StatusForbidden, HTMLAnswer: http.StatusOK}[mode])
		io.WriteString(w, page)
	case Silent:
		// The server notices that a client leaves when the request was read.
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	case TruncatedAnswer, HugeAnswer, SlowAnswer:
		answer := httptest.NewRecorder()
		p.backend.ServeHTTP(answer, r)
		copyHeader(w, answer)
		w.WriteHeader(answer.Code)
		half := answer.Body.Bytes()[:answer.Body.Len()/2]
		w.Write(half)
		switch mode {
		case HugeAnswer:
			p.pour(w)
		case SlowAnswer:
			drip(w, r)
		}
	default:
		mangle := p.mangle.Load()
		if mangle == nil {
			p.backend.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		p.backend.ServeHTTP(answer, r)
		(*mangle)(answer)
		copyHeader(w, answer)
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	}
}

// copyHeader copies the header of an answer whose length has become another one.
func copyHeader(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for k, v := range answer.Header() {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
}

// pour writes until the client leaves. The letter goes on with a base64 string.
func (p *Proxy) pour(w io.Writer) {
	chunk := bytes.Repeat([]byte("A"), 64<<10)
	for sent := int64(0); sent < maxHuge; {
		n, err := w.Write(chunk)
		sent += int64(n)
		if err != nil {
			return
		}
		if sent > p.sent.Load() {
			p.sent.Store(sent)
		}
	}
}

// drip writes now and then until the client leaves.
func drip(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(w, "A"); err != nil || flush.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
