package localkms

import (
	"bytes"
	"context"
	"crypto/fips140"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

var testContext = kmsprovider.Context{"structseal-ring": "app", "structseal-key": "00000001"}

// sameKEK fails unless b opens what a wraps.
func sameKEK(t *testing.T, a, b *Provider) {
	t.Helper()
	secret := []byte("0123456789abcdef0123456789abcdef")
	wrapped, err := a.Wrap(t.Context(), secret, testContext)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Unwrap(t.Context(), wrapped, testContext)
	if err != nil || !bytes.Equal(got, secret) || a.ID() != b.ID() {
		t.Errorf("%s wraps, %s opens %q, %v", a.ID(), b.ID(), got, err)
	}
}

func TestProvider(t *testing.T) {
	p := NewRandom()
	if !regexp.MustCompile(`^local:[0-9a-f]{16}$`).MatchString(p.ID()) {
		t.Errorf("ID %q", p.ID())
	}
	secret := []byte("secret of any length")
	wrapped, err := p.Wrap(t.Context(), secret, testContext)
	if err != nil || bytes.Contains(wrapped, secret) {
		t.Fatal(err)
	}
	again, _ := p.Wrap(t.Context(), secret, testContext)
	if bytes.Equal(wrapped, again) {
		t.Error("two wraps are equal")
	}
	rejected := func(what string, p *Provider, wrapped []byte, kc kmsprovider.Context) {
		t.Helper()
		if got, err := p.Unwrap(t.Context(), wrapped, kc); !errors.Is(err, kmsprovider.ErrRejected) || got != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for i := range wrapped {
		for bit := range 8 {
			changed := bytes.Clone(wrapped)
			changed[i] ^= 1 << bit
			rejected(fmt.Sprintf("bit %d of byte %d", bit, i), p, changed, testContext)
		}
		rejected(fmt.Sprintf("cut at %d", i), p, wrapped[:i], testContext)
	}
	rejected("byte behind", p, append(bytes.Clone(wrapped), 0), testContext)
	rejected("nil context", p, wrapped, nil)
	rejected("other context", p, wrapped, kmsprovider.Context{"structseal-ring": "app", "structseal-key": "00000002"})
	rejected("other KEK", NewRandom(), wrapped, testContext)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wrap(ctx, secret, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := p.Unwrap(ctx, wrapped, testContext); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var zero Provider
	if _, err := zero.Wrap(t.Context(), secret, nil); !errors.Is(err, kmsprovider.ErrNotFound) {
		t.Error(err)
	}
	raw := bytes.Repeat([]byte{7}, 32)
	a, errA := New(raw)
	clear(raw) // New has its own copy
	b, errB := New(bytes.Repeat([]byte{7}, 32))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	sameKEK(t, a, b)
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := New(bytes.Repeat([]byte{7}, n)); !errors.Is(err, crypto.ErrInvalidKey) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := New(make([]byte, 32)); !errors.Is(err, crypto.ErrInvalidKey) {
		t.Errorf("zeros: %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.kek")
	if _, err := OpenKeyFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open before create: %v", err)
	}
	p, err := CreateKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	fi, _ := os.Stat(path)
	if runtime.GOOS != "windows" && fi.Mode() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	if _, err := CreateKeyFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create over a file: %v", err)
	}
	if _, err := CreatePassphraseFile(path, []byte("p"), weak); !errors.Is(err, fs.ErrExist) && !fips140.Enforced() {
		t.Errorf("create a passphrase file over a file: %v", err)
	}
	dangling := path + ".link"
	os.Symlink(path+".nothing", dangling)
	if _, err := CreateKeyFile(dangling); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create through a dangling link: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file changed")
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	q, err := OpenKeyFile(moved)
	if err != nil {
		t.Fatal(err)
	}
	sameKEK(t, p, q)
	if _, err := CreateKeyFile(filepath.Join(t.TempDir(), "no", "dir")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := OpenPassphraseFile(moved, []byte("x")); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "OpenKeyFile") {
		t.Errorf("key file opened with a passphrase: %v", err)
	}
}

// weak is the cheapest that the bounds allow.
var weak = &PassphraseOptions{Time: 1, MemoryKiB: minMemoryKiB, Threads: 1}

func TestPassphraseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.kek")
	phrase := []byte("correct horse")
	p, err := CreatePassphraseFile(path, phrase, nil)
	if fips140.Enforced() {
		if !errors.Is(err, crypto.ErrNotApproved) {
			t.Errorf("FIPS-only mode: %v", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Error("a file was left")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if string(phrase) != "correct horse" {
		t.Error("the passphrase was changed")
	}
	var doc passphraseFile
	data, _ := os.ReadFile(path)
	if err := json.Unmarshal(data, &doc); err != nil || doc.Time != 3 || doc.MemoryKiB != 65536 || doc.Threads != 4 || doc.KDF != "argon2id" {
		t.Errorf("parameters %+v, %v", doc, err)
	}
	q, err := OpenPassphraseFile(path, phrase)
	if err != nil {
		t.Fatal(err)
	}
	sameKEK(t, p, q)
	for _, wrong := range []string{"correct hors", "correct horse ", "Correct horse", ""} {
		if _, err := OpenPassphraseFile(path, []byte(wrong)); !errors.Is(err, kmsprovider.ErrDenied) {
			t.Errorf("passphrase %q: %v", wrong, err)
		}
	}
	if _, err := OpenKeyFile(path); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "OpenPassphraseFile") {
		t.Errorf("passphrase file opened as key file: %v", err)
	}
	if _, err := CreatePassphraseFile(path+"2", nil, weak); !errors.Is(err, kmsprovider.ErrDenied) {
		t.Errorf("empty passphrase: %v", err)
	}
	for _, o := range []PassphraseOptions{{Time: 17}, {MemoryKiB: 1024}, {MemoryKiB: 100 << 20}, {Threads: 17}} {
		if _, err := CreatePassphraseFile(path+"2", phrase, &o); !errors.Is(err, ErrFormat) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := os.Stat(path + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was left")
	}
}

// Every member of a passphrase file is bound: an edit is a denial or refused
// before any memory is asked for.
func TestPassphraseFileEdits(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("argon2id")
	}
	path := filepath.Join(t.TempDir(), "app.kek")
	phrase := []byte("correct horse")
	if _, err := CreatePassphraseFile(path, phrase, weak); err != nil {
		t.Fatal(err)
	}
	other := path + ".other"
	if _, err := CreatePassphraseFile(other, phrase, weak); err != nil {
		t.Fatal(err)
	}
	load := func(path string) *passphraseFile {
		data, _ := os.ReadFile(path)
		d, err := parse[passphraseFile](path, kindPassphrase, data)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	theirs := load(other)
	for what, c := range map[string]struct {
		change func(*passphraseFile)
		want   error
	}{
		"id":          {func(d *passphraseFile) { d.ID = theirs.ID }, kmsprovider.ErrDenied},
		"time":        {func(d *passphraseFile) { d.Time = 2 }, kmsprovider.ErrDenied},
		"memory":      {func(d *passphraseFile) { d.MemoryKiB++ }, kmsprovider.ErrDenied},
		"threads":     {func(d *passphraseFile) { d.Threads++ }, kmsprovider.ErrDenied},
		"salt":        {func(d *passphraseFile) { d.Salt = theirs.Salt }, kmsprovider.ErrDenied},
		"wrapped":     {func(d *passphraseFile) { d.Wrapped = theirs.Wrapped }, kmsprovider.ErrDenied},
		"kdf":         {func(d *passphraseFile) { d.KDF = "argon2i" }, ErrFormat},
		"short salt":  {func(d *passphraseFile) { d.Salt = d.Salt[:10] }, ErrFormat},
		"short wrap":  {func(d *passphraseFile) { d.Wrapped = d.Wrapped[:40] }, ErrFormat},
		"bad base64":  {func(d *passphraseFile) { d.Salt = "!" + d.Salt[1:] }, ErrFormat},
		"time 0":      {func(d *passphraseFile) { d.Time = 0 }, ErrFormat},
		"time max":    {func(d *passphraseFile) { d.Time = 1<<32 - 1 }, ErrFormat},
		"memory 100G": {func(d *passphraseFile) { d.MemoryKiB = 100 << 20 }, ErrFormat},
		"memory max":  {func(d *passphraseFile) { d.MemoryKiB = 1<<32 - 1 }, ErrFormat},
		"memory 0":    {func(d *passphraseFile) { d.MemoryKiB = 0 }, ErrFormat},
		"threads 0":   {func(d *passphraseFile) { d.Threads = 0 }, ErrFormat},
		"threads max": {func(d *passphraseFile) { d.Threads = 255 }, ErrFormat},
	} {
		d := load(path)
		c.change(d)
		edited := path + ".edited"
		os.Remove(edited)
		if err := create(edited, d); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenPassphraseFile(edited, phrase); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestFilesAreReadStrictly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.kek")
	if _, err := CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	good, _ := os.ReadFile(path)
	var doc keyFile
	if err := json.Unmarshal(good, &doc); err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string { return strings.Replace(string(good), old, new, 1) }
	other, _ := New(bytes.Repeat([]byte{9}, 32))
	compact, _ := json.Marshal(doc)
	for what, text := range map[string]string{
		"empty":          "",
		"text":           "hello",
		"null":           "null",
		"huge":           string(good) + strings.Repeat(" ", maxFile),
		"later version":  with("localkms/1", "localkms/2"),
		"other format":   with("structseal-localkms/1", "something"),
		"other kind":     with(`"kind": "key"`, `"kind": "hsm"`),
		"unknown member": with(`"kind"`, `"extra": 1, "kind"`),
		"double member":  with(`"id"`, `"id": "x", "id"`),
		"other case":     with(`"id"`, `"ID"`),
		"trailing":       string(good) + "{}",
		"newline":        string(good) + "\n",
		"no newline":     strings.TrimSuffix(string(good), "\n"),
		"compact":        string(compact),
		"crlf":           strings.ReplaceAll(string(good), "\n", "\r\n"),
		"escape":         with(`"local:`, `"\u006cocal:`),
		"other id":       with(doc.ID, other.ID()),
		"other key":      with(doc.Key, encoding.EncodeToString(bytes.Repeat([]byte{9}, 32))),
		"zero key":       with(doc.Key, encoding.EncodeToString(make([]byte, 32))),
		"short key":      with(doc.Key, doc.Key[:42]),
		"padded key":     with(doc.Key, doc.Key+"="),
		"key with break": with(doc.Key, doc.Key[:20]+`\n`+doc.Key[20:]),
		"number as key":  with(`"`+doc.Key+`"`, "7"),
		"no key":         with(doc.Key, ""),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKeyFile(path)
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if s := err.Error(); strings.Contains(s, doc.Key[:10]) || !strings.Contains(s, path) || !strings.HasPrefix(s, "localkms: ") || strings.Count(s, "localkms:") > 1 {
			t.Errorf("%s: error %q", what, s)
		}
	}
	// The last character of the key has two bits that mean nothing.
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		text := with(doc.Key, doc.Key[:42]+string(c))
		if text == string(good) {
			continue
		}
		os.WriteFile(path, []byte(text), 0o600)
		if _, err := OpenKeyFile(path); !errors.Is(err, ErrFormat) {
			t.Errorf("key ending in %q: %v", c, err)
		}
	}
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 1
		os.WriteFile(path, changed, 0o600)
		if _, err := OpenKeyFile(path); !errors.Is(err, ErrFormat) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		os.WriteFile(path, good[:i], 0o600)
		if _, err := OpenKeyFile(path); !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

func TestFilesMustBePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "app.kek")
	p, err := CreateKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o440} {
		os.Chmod(path, mode)
		if _, err := OpenKeyFile(path); !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("mode %v: %v", mode, err)
		}
		if _, err := OpenPassphraseFile(path, []byte("x")); !errors.Is(err, ErrPermissions) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	os.Chmod(path, 0o400)
	// Mounted secrets are links; what counts is the file behind.
	link := filepath.Join(dir, "link")
	os.Symlink(path, link)
	q, err := OpenKeyFile(link)
	if err != nil {
		t.Fatal(err)
	}
	sameKEK(t, p, q)
	os.Chmod(path, 0o644)
	if _, err := OpenKeyFile(link); !errors.Is(err, ErrPermissions) {
		t.Errorf("wide file behind a link: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := exec.Command("mkfifo", "-m", "600", fifo).Run(); err != nil {
		t.Fatal(err)
	}
	for _, odd := range []string{dir, fifo, "/dev/null"} {
		if _, err := OpenKeyFile(odd); !errors.Is(err, ErrPermissions) {
			t.Errorf("%s: %v", odd, err)
		}
	}
}

func TestProviderNeverPrints(t *testing.T) {
	secret := []byte("0123456789ABCDEFGHIJKLMNOPQRSTUV")
	p, err := New(secret)
	if err != nil {
		t.Fatal(err)
	}
	type holder struct{ p *Provider }
	for _, v := range []any{p, *p, holder{p}, &holder{p}, []*Provider{p}, map[string]any{"x": p}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U", "%b", "%p"} {
			s := fmt.Sprintf(verb, v)
			for _, form := range []string{string(secret[:8]), hex.EncodeToString(secret[:8]), strings.ToUpper(hex.EncodeToString(secret[:8])),
				base64.StdEncoding.EncodeToString(secret[:9]), "48 49 50 51"} {
				if strings.Contains(s, form) {
					t.Errorf("%T under %s: %s", v, verb, s)
				}
			}
		}
		if data, _ := json.Marshal(v); strings.Contains(string(data), "MDEyMzQ1") {
			t.Errorf("%T as JSON: %s", v, data)
		}
	}
	if got := fmt.Sprint(p); got != "localkms.Provider("+p.ID()+")" {
		t.Errorf("prints as %s", got)
	}
}
