package localkms

import (
	"crypto/fips140"
	"crypto/rand"
	"fmt"
	"strconv"

	"golang.org/x/crypto/argon2"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/kmsprovider"
)

// Bounds of the Argon2id parameters, kept when a file is made and when it is
// read: a forged file must not make the process ask for 100 GiB.
const (
	minTime, maxTime           = 1, 16
	minMemoryKiB, maxMemoryKiB = 19 * 1024, 1024 * 1024
	minThreads, maxThreads     = 1, 16

	saltSize    = 16
	kdfArgon2id = "argon2id"
)

// PassphraseOptions are the costs of one guess at a passphrase. The zero value
// of a field means its default: together the second recommended option of
// RFC 9106, section 4.
type PassphraseOptions struct {
	Time      uint32 // passes: 1 to 16, default 3
	MemoryKiB uint32 // 19 MiB to 1 GiB, default 64 MiB
	Threads   uint8  // lanes: 1 to 16, default 4
}

type passphraseFile struct {
	header
	ID        string `json:"id"`
	KDF       string `json:"kdf"`
	Time      uint32 `json:"time"`
	MemoryKiB uint32 `json:"memory_kib"`
	Threads   uint8  `json:"threads"`
	Salt      string `json:"salt"`
	Wrapped   string `json:"wrapped"`
}

// CreatePassphraseFile makes a random KEK, wraps it with a key that Argon2id
// derives from passphrase, writes it to a new file with mode 0600, and returns
// it when the file is durable. nil options are the defaults. It never
// overwrites: a path that exists is an error that wraps fs.ErrExist. passphrase
// isn't kept or changed.
//
// Errors: kmsprovider.ErrDenied for an empty passphrase; crypto.ErrNotApproved
// while FIPS 140 mode is enforced; ErrFormat for options out of bounds.
func CreatePassphraseFile(path string, passphrase []byte, opts *PassphraseOptions) (*Provider, error) {
	o := PassphraseOptions{Time: 3, MemoryKiB: 64 * 1024, Threads: 4}
	if opts != nil {
		if opts.Time != 0 {
			o.Time = opts.Time
		}
		if opts.MemoryKiB != 0 {
			o.MemoryKiB = opts.MemoryKiB
		}
		if opts.Threads != 0 {
			o.Threads = opts.Threads
		}
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	secret := newSecret()
	defer clear(secret)
	p, err := New(secret)
	if err != nil {
		return nil, err
	}
	doc := passphraseFile{
		header: header{format, kindPassphrase}, ID: p.id, KDF: kdfArgon2id,
		Time: o.Time, MemoryKiB: o.MemoryKiB, Threads: o.Threads,
		Salt: encoding.EncodeToString(salt),
	}
	key, err := doc.derive(path, passphrase, salt)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	wrapped, err := key.Seal(nil, secret, doc.aad())
	if err != nil {
		return nil, fmt.Errorf("localkms: %s: %w", path, err)
	}
	doc.Wrapped = encoding.EncodeToString(wrapped)
	if err := create(path, doc); err != nil {
		return nil, err
	}
	return p, nil
}

// OpenPassphraseFile reads a KEK that [CreatePassphraseFile] wrote.
//
// Errors: those of [OpenKeyFile]; kmsprovider.ErrDenied for a wrong passphrase
// or a file whose parameters, ID or wrapped key were changed (the two can't be
// told apart); crypto.ErrNotApproved while FIPS 140 mode is enforced.
func OpenPassphraseFile(path string, passphrase []byte) (*Provider, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	doc, err := parse[passphraseFile](path, kindPassphrase, data)
	if err != nil {
		return nil, err
	}
	salt, saltErr := encoding.DecodeString(doc.Salt)
	wrapped, err := encoding.DecodeString(doc.Wrapped)
	if saltErr != nil || err != nil || len(salt) != saltSize || doc.KDF != kdfArgon2id ||
		encoding.EncodeToString(salt) != doc.Salt || encoding.EncodeToString(wrapped) != doc.Wrapped ||
		len(wrapped) != keySize+crypto.Default.Overhead() {
		return nil, fmt.Errorf("localkms: %s: %w: its salt, kdf or wrapped key is not of this version", path, ErrFormat)
	}
	key, err := doc.derive(path, passphrase, salt)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	secret, err := key.Open(nil, wrapped, doc.aad())
	if err != nil {
		return nil, fmt.Errorf("localkms: %s: %w: wrong passphrase, or the file was changed", path, kmsprovider.ErrDenied)
	}
	defer clear(secret)
	p, err := New(secret)
	if err != nil {
		return nil, fmt.Errorf("localkms: %s: %w: its key is no key", path, ErrFormat)
	}
	if p.id != doc.ID {
		return nil, fmt.Errorf("localkms: %s: %w: key and id don't belong together; restore it from a backup", path, ErrFormat)
	}
	return p, nil
}

// derive makes the key that wraps the KEK.
func (f *passphraseFile) derive(path string, passphrase, salt []byte) (*crypto.Key, error) {
	// The runtime would let Argon2id pass: it isn't part of its FIPS module.
	if fips140.Enforced() {
		return nil, fmt.Errorf("localkms: %s: argon2id: %w; use a key file", path, crypto.ErrNotApproved)
	}
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("localkms: %s: %w: the passphrase is empty", path, kmsprovider.ErrDenied)
	}
	if f.Time < minTime || f.Time > maxTime || f.MemoryKiB < minMemoryKiB || f.MemoryKiB > maxMemoryKiB ||
		f.Threads < minThreads || f.Threads > maxThreads {
		return nil, fmt.Errorf("localkms: %s: %w: argon2id parameters out of bounds (time %d to %d, memory %d to %d KiB, threads %d to %d)",
			path, ErrFormat, minTime, maxTime, minMemoryKiB, maxMemoryKiB, minThreads, maxThreads)
	}
	secret := argon2.IDKey(passphrase, salt, f.Time, f.MemoryKiB, f.Threads, keySize)
	defer clear(secret)
	key, err := crypto.NewKey(crypto.Default, 1, secret)
	if err != nil {
		return nil, fmt.Errorf("localkms: %s: %w", path, err)
	}
	return key, nil
}

// aad binds the wrapped key to everything else in the file.
func (f *passphraseFile) aad() []byte {
	return kmsprovider.Context{
		"format": f.Format, "kind": f.Kind, "id": f.ID, "kdf": f.KDF, "salt": f.Salt,
		"time":       strconv.FormatUint(uint64(f.Time), 10),
		"memory_kib": strconv.FormatUint(uint64(f.MemoryKiB), 10),
		"threads":    strconv.FormatUint(uint64(f.Threads), 10),
	}.AAD()
}
