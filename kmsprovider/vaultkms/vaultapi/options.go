package vaultapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// ErrOptions: an address or an option that can't be used.
var ErrOptions = errors.New("invalid option")

// Options are optional: nil and the zero value are the defaults.
type Options struct {
	// Address of the server or of an agent, https://host:port. Default: BAO_ADDR or
	// VAULT_ADDR.
	Address string
	// Namespace of everything that is called. Default: BAO_NAMESPACE or
	// VAULT_NAMESPACE.
	Namespace string
	// Token returns the token for a call. It is called for every one, concurrently.
	// Errors that wrap neither kmsprovider.ErrDenied nor a retryable one are
	// kmsprovider.ErrUnavailable. See [TokenFile].
	Token func(ctx context.Context) (string, error)
	// Login gets tokens from the server; see [AppRole] and [Kubernetes]. They are
	// renewed, or got anew, when a call comes after two thirds of their time.
	// Default of both: the token in BAO_TOKEN or VAULT_TOKEN, renewed likewise.
	Login Login
	// HTTP makes the calls. It follows no redirects in any case. Default: one that
	// trusts the certificates of the file in BAO_CACERT or VAULT_CACERT, or else the
	// system's, and gives up after 30 seconds.
	HTTP *http.Client
	// PlainHTTP allows http:// to other machines: tokens and keys can be read on the
	// way. To this machine it is always allowed.
	PlainHTTP bool
}

// New returns a client. It calls nobody.
//
// Errors: ErrOptions.
func New(opts *Options) (*Client, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	c := &Client{namespace: strings.Trim(cmp.Or(o.Namespace, env("NAMESPACE")), "/")}
	var err error
	if c.base, err = o.address(); err != nil {
		return nil, err
	}
	if c.http, err = o.http(); err != nil {
		return nil, err
	}
	switch token := env("TOKEN"); {
	case o.Token != nil && o.Login != nil:
		return nil, fmt.Errorf("vaultapi: %w: Token and Login are given; give one", ErrOptions)
	case o.Token != nil:
		c.source = o.Token
	case o.Login != nil:
		c.session = newSession(c, c.login(o.Login))
	case token != "":
		c.session = newSession(c, fixed(token))
	default:
		return nil, fmt.Errorf("vaultapi: %w: no token; give Token or Login, or set BAO_TOKEN or VAULT_TOKEN", ErrOptions)
	}
	return c, nil
}

// env returns what OpenBao calls BAO_name and Vault VAULT_name.
func env(name string) string { return cmp.Or(os.Getenv("BAO_"+name), os.Getenv("VAULT_"+name)) }

// address checks the address. Its text isn't repeated: it may hold a password.
func (o *Options) address() (string, error) {
	address := cmp.Or(o.Address, env("ADDR"))
	u, err := url.Parse(address)
	switch {
	case address == "":
		return "", fmt.Errorf("vaultapi: %w: no address; give Address, or set BAO_ADDR or VAULT_ADDR", ErrOptions)
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("vaultapi: %w: the address is not https://host:port", ErrOptions)
	case u.Scheme == "http" && !o.PlainHTTP && !loopback(u.Hostname()):
		return "", fmt.Errorf("vaultapi: %w: the address is http:// on another machine, where tokens could be read on the way; see Options.PlainHTTP", ErrOptions)
	}
	return strings.TrimRight(address, "/"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (o *Options) http() (*http.Client, error) {
	client := http.Client{Timeout: 30 * time.Second}
	if o.HTTP != nil {
		client = *o.HTTP
	} else {
		tr := &http.Transport{Proxy: http.ProxyFromEnvironment}
		if own, ok := http.DefaultTransport.(*http.Transport); ok { // or what the program has put there
			tr = own.Clone()
		}
		tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if file := env("CACERT"); file != "" {
			pem, err := os.ReadFile(file)
			roots := x509.NewCertPool()
			if err != nil || !roots.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("vaultapi: %w: %s (BAO_CACERT or VAULT_CACERT) can't be read or holds no certificate", ErrOptions, file)
			}
			tr.TLSClientConfig.RootCAs = roots
		}
		client.Transport = tr
	}
	// Go takes X-Vault-Token along to any host that an answer names.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client, nil
}
