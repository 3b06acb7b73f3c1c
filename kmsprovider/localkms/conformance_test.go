package localkms

import (
	"crypto/fips140"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// TestConformance runs the suite. Each provider reads a key file anew; a passphrase file
// is read once, because deriving its key is slow.
func TestConformance(t *testing.T) {
	t.Run("KeyFile", func(t *testing.T) {
		open := func(name string) (func(*testing.T) kmsprovider.Provider, string) {
			path := filepath.Join(t.TempDir(), name)
			if _, err := CreateKeyFile(path); err != nil {
				t.Fatal(err)
			}
			var doc keyFile
			data, _ := os.ReadFile(path)
			if err := json.Unmarshal(data, &doc); err != nil {
				t.Fatal(err)
			}
			secret, err := encoding.DecodeString(doc.Key)
			if err != nil {
				t.Fatal(err)
			}
			return func(t *testing.T) kmsprovider.Provider { return opened(t)(OpenKeyFile(path)) }, string(secret)
		}
		one, secret := open("one")
		other, _ := open("other")
		conforms(t, one, other, secret)
	})
	t.Run("PassphraseFile", func(t *testing.T) {
		if fips140.Enforced() {
			t.Skip("Argon2id is not approved")
		}
		const passphrase = "correct horse battery staple"
		open := func(name string) func(*testing.T) kmsprovider.Provider {
			path := filepath.Join(t.TempDir(), name)
			if _, err := CreatePassphraseFile(path, []byte(passphrase), weak); err != nil {
				t.Fatal(err)
			}
			return func(t *testing.T) kmsprovider.Provider {
				return opened(t)(OpenPassphraseFile(path, []byte(passphrase)))
			}
		}
		conforms(t, open("one"), open("other"), passphrase)
	})
}

func conforms(t *testing.T, open, other func(*testing.T) kmsprovider.Provider, secret string) {
	kmstest.Run(t, open, other, kmstest.Secrets(secret), kmstest.Lacks("there is no service", kmstest.Modes()...))
}

func opened(t *testing.T) func(*Provider, error) kmsprovider.Provider {
	return func(p *Provider, err error) kmsprovider.Provider {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}
