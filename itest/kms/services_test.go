//go:build cgo

package kms

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/structseal/structseal/kmsprovider/awskms/fakeaws"
	"github.com/structseal/structseal/kmsprovider/azurekms/fakeazure"
	"github.com/structseal/structseal/kmsprovider/gcpkms/fakegcp"
	"github.com/structseal/structseal/kmsprovider/kmipkms/pykmip"
	"github.com/structseal/structseal/kmsprovider/kmstest"
	"github.com/structseal/structseal/kmsprovider/localkms"
	"github.com/structseal/structseal/kmsprovider/pkcs11kms/softhsm"
)

// A service is what has key-encryption keys: a server of this process (the fakes of
// AWS, Google and Azure, OpenBao's engine), a server or a library of others (PyKMIP,
// SoftHSM), or files. It lives until the test ends, whatever children die.
type service struct {
	driver  string
	make    func(t *testing.T) place
	destroy func(t *testing.T, p place) // for good
	arrived func() int                  // requests so far; nil where they can't be counted
}

// services starts all eight.
func services(t *testing.T) []service {
	return []service{amazon(t).service, google(t), azure(t), vault(t), token11(t).service, kmip(t), keyFiles(t), keysets(t)}
}

// unique returns a name that nothing has had.
func unique() string {
	b := make([]byte, 6)
	rand.Read(b)
	return "k" + hex.EncodeToString(b)
}

// An aws is a fake of AWS KMS behind a proxy.
type aws struct {
	service
	fake  *fakeaws.KMS
	proxy *kmstest.Proxy
}

func amazon(t *testing.T) aws {
	t.Helper()
	fake := fakeaws.New()
	proxy := kmstest.NewProxy(t, fake)
	return aws{service{"awskms", func(*testing.T) place {
		arn := "arn:aws:kms:" + region + ":111122223333:key/" + unique()
		fake.AddKey(arn)
		return place{Driver: "awskms", Addr: proxy.URL, Key: arn, Roots: proxy.Authority.PEM()}
	}, func(_ *testing.T, p place) { fake.DeleteKey(p.Key) }, func() int { return len(fake.Calls()) }}, fake, proxy}
}

func google(t *testing.T) service {
	t.Helper()
	fake := fakegcp.New()
	proxy := kmstest.NewProxy(t, fake.Server())
	return service{"gcpkms", func(*testing.T) place {
		name := "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/" + unique()
		fake.AddKey(name)
		return place{Driver: "gcpkms", Addr: proxy.Addr(), Key: name, Roots: proxy.Authority.PEM()}
	}, func(_ *testing.T, p place) { fake.DeleteKey(p.Key) }, fake.Calls}
}

func azure(t *testing.T) service {
	t.Helper()
	fake := fakeazure.New()
	proxy := kmstest.NewProxy(t, fake)
	return service{"azurekms", func(*testing.T) place {
		name := unique()
		fake.AddKey(name)
		return place{Driver: "azurekms", Addr: proxy.URL, Key: name, Roots: proxy.Authority.PEM()}
	}, func(_ *testing.T, p place) { fake.DeleteKey(p.Key) }, fake.Calls}
}

func vault(t *testing.T) service {
	t.Helper()
	e := newEngine(t)
	proxy := kmstest.NewProxy(t, e)
	return service{"vaultkms", func(t *testing.T) place {
		name := unique()
		e.write(t, "keys/"+name, map[string]any{"type": "aes256-gcm96"})
		return place{Driver: "vaultkms", Addr: proxy.URL, Key: name, Roots: proxy.Authority.PEM()}
	}, func(t *testing.T, p place) { e.remove(t, p.Key) }, func() int { return int(e.calls.Load()) }}
}

// A hsm is SoftHSM behind a library that can misbehave.
type hsm struct {
	service
	token *softhsm.HSM
	shim  *softhsm.Shim
}

// theHSM is the only one that a process can have.
var theHSM struct {
	sync.Once
	hsm
	dir string
	err error
}

func token11(t *testing.T) hsm {
	t.Helper()
	library := softhsm.Library(t)
	theHSM.Do(func() { theHSM.err = startHSM(library) })
	if theHSM.err != nil {
		t.Fatal(theHSM.err)
	}
	return theHSM.hsm
}

func startHSM(library string) (err error) {
	if theHSM.dir, err = os.MkdirTemp("", "kms"); err != nil {
		return err
	}
	if theHSM.shim, err = softhsm.BuildShim(theHSM.dir, library); err != nil {
		return err
	}
	token, err := softhsm.New(theHSM.dir, theHSM.shim.Module)
	theHSM.token = token
	theHSM.service = service{"pkcs11kms", func(t *testing.T) place {
		label := unique()
		token.MakeKey(t, label)
		return place{Driver: "pkcs11kms", Addr: token.Module, Key: label}
	}, func(t *testing.T, p place) { token.DestroyKey(t, p.Key) }, nil}
	return err
}

func kmip(t *testing.T) service {
	t.Helper()
	server := pykmip.Start(t)
	_, certificate, key := server.Files()
	return service{"kmipkms", func(t *testing.T) place {
		return place{Driver: "kmipkms", Addr: server.Addr(), Key: server.MakeKey(t), Roots: server.Authority.PEM(), Certificate: certificate, PrivateKey: key}
	}, func(t *testing.T, p place) {
		server.RevokeKey(t, p.Key)
		server.DestroyKey(t, p.Key)
	}, nil}
}

func removeFile(t *testing.T, p place) {
	t.Helper()
	if err := os.Remove(p.Key); err != nil {
		t.Error(err)
	}
}

func keyFiles(t *testing.T) service {
	t.Helper()
	dir := t.TempDir()
	return service{"localkms", func(t *testing.T) place {
		path := filepath.Join(dir, unique()+".kek")
		if _, err := localkms.CreateKeyFile(path); err != nil {
			t.Fatal(err)
		}
		return place{Driver: "localkms", Key: path}
	}, removeFile, nil}
}

func keysets(t *testing.T) service {
	t.Helper()
	dir := t.TempDir()
	return service{"tinkkms", func(t *testing.T) place {
		handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, unique()+".json")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return place{Driver: "tinkkms", Key: path}
	}, removeFile, nil}
}
