package kmsurl

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmipkms"
)

func parseKMIP(u uri) (opener, error) {
	addr, key, _ := strings.Cut(u.body, "/")
	key, err := url.PathUnescape(key)
	if err != nil || strings.Count(u.body, "/") > 1 {
		return nil, errors.New("the key's identifier has a / or a % that isn't written as %2F or %25")
	}
	opts := kmipkms.Options{Addr: addr, KeyID: key, TLS: new(tls.Config)}
	if _, err := kmipkms.New(opts); err != nil {
		return nil, err
	}
	switch u.params["server-iv"] {
	case "true":
		opts.ServerIV = true
	case "", "false":
	default:
		return nil, errors.New("server-iv is neither true nor false")
	}
	var files [3]string
	for i, param := range []string{"cert", "key", "ca"} {
		if files[i], err = u.path(param); err != nil {
			return nil, err
		}
	}
	if files[0] == "" {
		return nil, errors.New("cert is missing: the certificate tells the server who asks")
	}
	return func(context.Context) (kmsprovider.Provider, func() error, error) {
		config, err := clientTLS(files[0], cmp.Or(files[1], files[0]), files[2])
		if err != nil {
			return nil, nil, err
		}
		opts := opts
		opts.TLS = config
		p, err := kmipkms.New(opts)
		if err != nil {
			return nil, nil, err
		}
		return p, p.Close, nil
	}, nil
}

// clientTLS reads files in PEM. Without ca the system's authorities count.
func clientTLS(cert, key, ca string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", cert, key, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if ca == "" {
		return config, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM", ca)
	}
	return config, nil
}
