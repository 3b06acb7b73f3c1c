package bench

import (
	"sync/atomic"
	"testing"

	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/rules/encryption"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/rules/encryption/localkms"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// countingKMS counts what is asked of the local KMS.
type countingKMS struct {
	registry.KMSClient
	wraps, unwraps atomic.Int64
}

func (c *countingKMS) GetKeyURLPrefix() string      { return "counting-kms://" }
func (c *countingKMS) Supported(keyURI string) bool { return keyURI == "counting-kms://k1" }
func (c *countingKMS) GetAEAD(string) (tink.AEAD, error) {
	a, err := c.KMSClient.GetAEAD("local-kms://k1")
	return countingAEAD{a, c}, err
}

func (c *countingKMS) NewKMSClient(map[string]string, *string) (registry.KMSClient, error) {
	local, err := localkms.NewLocalClient("local-kms://k1", "bench")
	c.KMSClient = local
	return c, err
}

type countingAEAD struct {
	tink.AEAD
	c *countingKMS
}

func (a countingAEAD) Encrypt(plaintext, ad []byte) ([]byte, error) {
	a.c.wraps.Add(1)
	return a.AEAD.Encrypt(plaintext, ad)
}

func (a countingAEAD) Decrypt(ciphertext, ad []byte) ([]byte, error) {
	a.c.unwraps.Add(1)
	return a.AEAD.Decrypt(ciphertext, ad)
}

// TestConfluentUnwrapsForEachValue is what the page says of it. When it fails, the page
// has to say something else.
func TestConfluentUnwrapsForEachValue(t *testing.T) {
	kms := new(countingKMS)
	encryption.RegisterKMSDriver(kms)
	rows, err := newConfluent[string]("counting-kms")
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, rows)
	for range 3 {
		sealed, err := rows.Seal(Example[string]())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rows.Open(sealed); err != nil {
			t.Fatal(err)
		}
	}
	if wraps, unwraps := kms.wraps.Load(), kms.unwraps.Load(); wraps != 1 || unwraps != 3*2*5 {
		t.Errorf("%d wraps, %d unwraps in 3 records of 5 values, each encrypted and decrypted", wraps, unwraps)
	}
}
