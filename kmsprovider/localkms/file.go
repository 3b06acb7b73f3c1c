package localkms

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/structseal/structseal/internal/durable"
)

const (
	formatPrefix = "structseal-localkms/"
	format       = formatPrefix + "1"

	kindKey        = "key"
	kindPassphrase = "passphrase"

	// maxFile bounds what is read: a file that is larger isn't ours.
	maxFile = 4096
)

// What callers branch on. Errors name the file and what to do.
var (
	// ErrPermissions: the file may be read by its group or by others, or isn't
	// a regular file.
	ErrPermissions = errors.New("not a private regular file")
	// ErrFormat: not a file of this package, damaged, or of another version.
	ErrFormat = errors.New("not a key-encryption key file that can be read")
)

// header is what every file of this package starts with.
type header struct {
	Format string `json:"format"`
	Kind   string `json:"kind"`
}

var encoding = base64.RawURLEncoding

// create writes doc to a new file and makes it durable.
func create(path string, doc any) (err error) {
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("localkms: %w", err)
	}
	data = append(data, '\n')
	defer clear(data)
	// O_EXCL: never overwrite a KEK, nor follow a link to one.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("localkms: %w: a key file is never overwritten; open it, or remove it if nothing was wrapped with it", err)
	}
	if err != nil {
		return fmt.Errorf("localkms: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(path) // ours: O_EXCL made it
			err = fmt.Errorf("localkms: %w", err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// read returns the bytes of a private regular file.
func read(path string) ([]byte, error) {
	// A named pipe would block open for ever; look before, and check again what
	// was really opened.
	if fi, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("localkms: %w", err)
	} else if err := private(path, fi); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("localkms: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("localkms: %w", err)
	}
	if err := private(path, fi); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("localkms: %w", err)
	}
	if len(data) == 0 || len(data) > maxFile {
		clear(data)
		return nil, fmt.Errorf("localkms: %s: %w: its size is not that of a key file", path, ErrFormat)
	}
	return data, nil
}

func private(path string, fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("localkms: %s: %w: it is %s", path, ErrPermissions, fi.Mode().Type())
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("localkms: %s: %w: its mode is %#o; run chmod 600 and consider who may have read it", path, ErrPermissions, fi.Mode().Perm())
	}
	return nil
}

// parse decodes data, which must be exactly what create writes for its value.
func parse[T any](path, kind string, data []byte) (*T, error) {
	var h header
	if err := json.Unmarshal(data, &h); err != nil {
		// The decoder's own text could quote the file.
		return nil, fmt.Errorf("localkms: %s: %w: not valid JSON", path, ErrFormat)
	}
	if h.Format != format {
		if strings.HasPrefix(h.Format, formatPrefix) {
			return nil, fmt.Errorf("localkms: %s: %w: it is of another version than %s", path, ErrFormat, format)
		}
		return nil, fmt.Errorf("localkms: %s: %w: it does not say format %s", path, ErrFormat, format)
	}
	if h.Kind != kind {
		switch h.Kind {
		case kindKey:
			return nil, fmt.Errorf("localkms: %s: %w: it is a key file; use OpenKeyFile", path, ErrFormat)
		case kindPassphrase:
			return nil, fmt.Errorf("localkms: %s: %w: it is a passphrase file; use OpenPassphraseFile", path, ErrFormat)
		}
		return nil, fmt.Errorf("localkms: %s: %w: unknown kind", path, ErrFormat)
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("localkms: %s: %w: a member has the wrong type", path, ErrFormat)
	}
	// One text per value: this refuses unknown and duplicate members, other
	// spellings of names and numbers, and anything behind the end.
	again, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("localkms: %s: %w", path, ErrFormat)
	}
	defer clear(again)
	if !bytes.Equal(append(again, '\n'), data) {
		return nil, fmt.Errorf("localkms: %s: %w: it was changed since it was made (members, order or spacing)", path, ErrFormat)
	}
	return v, nil
}
