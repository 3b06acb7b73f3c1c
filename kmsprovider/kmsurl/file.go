package kmsurl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

func parseFile(u uri) (opener, error) {
	path, err := localPath("file:" + u.body)
	if err != nil {
		return nil, err
	}
	source, err := u.path("passphrase-source")
	if err != nil {
		return nil, err
	}
	return func(context.Context) (kmsprovider.Provider, func() error, error) {
		if source == "" {
			p, err := localkms.OpenKeyFile(path)
			if errors.Is(err, localkms.ErrFormat) {
				err = fmt.Errorf("%w (a passphrase file needs the parameter passphrase-source)", err)
			}
			return p, nil, err
		}
		passphrase, err := readSecret(source)
		if err != nil {
			return nil, nil, fmt.Errorf("passphrase-source: %w", err)
		}
		defer clear(passphrase)
		p, err := localkms.OpenPassphraseFile(path, passphrase)
		if errors.Is(err, localkms.ErrFormat) {
			err = fmt.Errorf("%w (a key file needs no passphrase-source)", err)
		}
		return p, nil, err
	}, nil
}

// path returns the path of the file that a parameter names: "" without the parameter.
func (u uri) path(param string) (string, error) {
	text, ok := u.params[param]
	if !ok {
		return "", nil
	}
	path, err := localPath(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", param, err)
	}
	return path, nil
}

var errPath = errors.New("it must name a file of this machine by an absolute path, /PATH or file:/PATH")

// localPath returns the path that text is, or that text names as a file URI (RFC 8089).
func localPath(text string) (string, error) {
	if rest, ok := strings.CutPrefix(text, "file:"); ok {
		if authority, ok := strings.CutPrefix(rest, "//"); ok {
			host, path, _ := strings.Cut(authority, "/")
			if host != "" && host != "localhost" {
				return "", errPath
			}
			rest = "/" + path
		}
		var err error
		if text, err = url.PathUnescape(rest); err != nil {
			return "", errors.New("a % in a path is not followed by two hexadecimal digits")
		}
	}
	if !filepath.IsAbs(text) || strings.ContainsRune(text, 0) || filepath.Clean(text) == "/" {
		return "", errPath
	}
	return text, nil
}

// maxSecret bounds what is read of a file with a secret, in bytes.
const maxSecret = 4096

// readSecret returns the content of a file, without the line break at its end. It may
// be a pipe. The caller wipes it.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	secret := make([]byte, maxSecret+1)
	n, err := io.ReadFull(f, secret)
	switch {
	case err == nil:
		err = fmt.Errorf("%s: it is longer than %d bytes", path, maxSecret)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = nil
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(secret[:n], []byte("\n")), []byte("\r"))
	if err == nil && len(line) == 0 {
		err = fmt.Errorf("%s: it is empty", path)
	}
	if err != nil {
		clear(secret)
		return nil, err
	}
	return line, nil
}
