package kmsurl_test

import (
	"crypto/fips140"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b@c%.kek")
	driver, err := localkms.CreateKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	escaped := strings.NewReplacer("%", "%25", " ", "%20").Replace(path)
	for _, uri := range []string{"file://" + escaped, "file:" + escaped, "file://localhost" + escaped} {
		opensRingOf(t, driver, uri)
	}
	for uri, want := range map[string]error{
		"file://" + escaped + ".gone":                                                                fs.ErrNotExist,
		"file://" + write(t, filepath.Join(t.TempDir(), "other"), "x"):                               localkms.ErrFormat,
		"file://" + escaped + "?passphrase-source=/nonexistent":                                      fs.ErrNotExist,
		"file://" + escaped + "?passphrase-source=" + write(t, filepath.Join(t.TempDir(), "p"), "x"): localkms.ErrFormat,
	} {
		if kms, done, err := kmsurl.Open(t.Context(), uri); kms != nil || !errors.Is(err, want) || errors.Is(err, kmsurl.ErrURI) || done() != nil {
			t.Errorf("%s: %v, %v, want %v", uri, kms, err, want)
		}
	}
}

func TestPassphraseFile(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("Argon2id is not approved")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "customers.kek")
	weak := &localkms.PassphraseOptions{Time: 1, MemoryKiB: 19 * 1024, Threads: 1}
	driver, err := localkms.CreatePassphraseFile(path, []byte("of several\nlines "), weak)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"whole": "of several\nlines ", "unix": "of several\nlines \n", "windows+": "of several\nlines \r\n"} {
		source := write(t, filepath.Join(dir, name), text)
		opensRingOf(t, driver, "file://"+path+"?passphrase-source="+source)
		opensRingOf(t, driver, "file://"+path+"?passphrase-source=file://"+source)
	}
	fails := func(query, says string, want error) {
		t.Helper()
		kms, _, err := kmsurl.Open(t.Context(), "file://"+path+query)
		if kms != nil || !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v, want %v and %q", query, kms, err, want, says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the passphrase is told: %v", err)
		}
	}
	fails("", "needs the parameter passphrase-source", localkms.ErrFormat)
	fails("?passphrase-source="+write(t, filepath.Join(dir, "wrong"), "hunter2"), "wrong passphrase", kmsprovider.ErrDenied)
	for name, text := range map[string]string{"empty": "", "a line break": "\n", "too long": strings.Repeat("hunter2", 1000)} {
		source := write(t, filepath.Join(dir, "bad"), text)
		if kms, _, err := kmsurl.Open(t.Context(), "file://"+path+"?passphrase-source="+source); kms != nil || err == nil ||
			!strings.Contains(err.Error(), source) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", name, kms, err)
		}
	}
}

// What CreateFile makes, Open opens; it overwrites nothing.
func TestCreateFile(t *testing.T) {
	dir := t.TempDir()
	uris := []string{"file://" + dir + "/a%20b.kek"}
	if !fips140.Enforced() { // Argon2id is not approved
		uris = append(uris, "file://"+dir+"/p.kek?passphrase-source="+write(t, filepath.Join(dir, "words"), "of several\n"))
	}
	for _, uri := range uris {
		if err := kmsurl.CreateFile(uri); err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		open(t, uri)
		if err := kmsurl.CreateFile(uri); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s again: %v", uri, err)
		}
	}
	if _, err := localkms.OpenKeyFile(filepath.Join(dir, "a b.kek")); err != nil {
		t.Error(err)
	}
	for _, uri := range []string{"hcvault:///transit/keys/customers", "file:relative", "file:///a.kek?unknown=1", ""} {
		if err := kmsurl.CreateFile(uri); !errors.Is(err, kmsurl.ErrURI) {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if err := kmsurl.CreateFile("file://" + dir + "/q.kek?passphrase-source=/nonexistent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without passphrase: %v", err)
	}
	if _, err := os.Stat(dir + "/q.kek"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
}
