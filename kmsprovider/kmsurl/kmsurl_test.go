package kmsurl_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmsurl"
)

const (
	awsKey   = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	gcpKey   = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"
	azureKey = "myvault.vault.azure.net/keys/customers"
)

// The first URI of each of Tink's schemes is as Tink's documentation has it.
var good = []string{
	"aws-kms://arn:aws:kms:us-east-1:235739564943:key/3ee50705-5a82-4f5b-9753-05c4f473922f",
	"aws-kms://" + awsKey,
	"aws-kms://arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
	"gcp-kms://projects/tink-test-infrastructure/locations/global/keyRings/unit-and-integration-testing/cryptoKeys/aead-key",
	"gcp-kms://" + gcpKey,
	"hcvault://hcvault.corp.com:8200/transit/keys/key-1",
	"hcvault:///transit/keys/customers",
	"hcvault://vault.example.org/team/a/transit/keys/customers",
	"azure-kv://" + azureKey,
	"azure-kv://myhsm.managedhsm.azure.net/keys/customers?algorithm=A256KW",
	"pkcs11:token=app;object=kek",
	"pkcs11:object=kek;type=secret-key;token=an%20HSM?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/token%2520pin",
	"pkcs11:token=a@b;object=k?pin-source=/run/secrets/pin",
	"kmip://kms.example.org:5696/2e1fd0f0-5a5e-44fd-a07c-3ae4d4d2f9a6?cert=/etc/kmip/app.pem",
	"kmip://[::1]:5696/a%2Fb?cert=/c.pem&key=/k.pem&ca=/ca.pem&server-iv=true",
	"file:///etc/structseal/customers.kek",
	"file:/etc/structseal/customers.kek",
	"file://localhost/etc/a%20b@c.kek?passphrase-source=file:///run/secrets/pass",
	"AWS-KMS://" + awsKey, // schemes have no case (RFC 3986, section 3.1)
	"FILE:///etc/customers.kek",
}

func TestCheck(t *testing.T) {
	for _, uri := range good {
		if err := kmsurl.Check(uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	const list = "aws-kms://, gcp-kms://, hcvault://, azure-kv://, pkcs11:, kmip://, file:"
	for uri, says := range map[string]string{
		"":                                     list,
		"customers.kek":                        list,
		"https://" + azureKey:                  list,
		"aws-kms:" + awsKey:                    list,
		"aws-kms://":                           list,
		"file:///a b":                          "%XX",
		"file:///a\nb":                         "%XX",
		"file:///ś":                            "%XX",
		"file:///a#b":                          "%23",
		"file:///" + strings.Repeat("a", 4096): "4096 bytes",

		"aws-kms://arn:aws:kms:us-east-1:111122223333:alias/customers": "alias",
		"aws-kms://1234abcd-12ab-34cd-56ef-1234567890ab":               "arn:aws:kms:REGION",
		"aws-kms://" + awsKey + "?region=us-east-1":                    "parameter 1",
		"aws-kms://" + awsKey + "?":                                    "parameter 1",
		"gcp-kms://" + gcpKey + "/cryptoKeyVersions/1":                 "without a version",
		"gcp-kms:///" + gcpKey:                                         "projects/*",
		"hcvault://vault.example.org/transit/customers":                "MOUNT/keys/NAME",
		"hcvault://vault.example.org/transit/keys/a%2Fb":               "MOUNT/keys/NAME",
		"hcvault:///transit/keys/customers?namespace=a":                "parameter 1",
		"azure-kv://" + azureKey + "/0123456789abcdef0123456789abcdef": "without a version",
		"azure-kv://" + azureKey + "?algorithm=RSA1_5":                 "A256KW",

		"pkcs11:token=app":                              "token and object",
		"pkcs11:object=kek":                             "token and object",
		"pkcs11:token=app;object=":                      "attribute 2 (object) has no value",
		"pkcs11:token=app;object=a;object=b":            "twice",
		"pkcs11:token=app;object=kek;id=%01":            "attribute 3 is none of those that there are (token, object, type)",
		"pkcs11:token=app;object=kek;type=private":      "secret-key",
		"pkcs11:token=app;object=kek%2":                 "hexadecimal",
		"pkcs11:token=app;object=kek%00":                "zero byte",
		"pkcs11:token=app;object=kek?module-name=hsm":   "module-path, pin-source",
		"pkcs11:token=app;object=kek?module-path=a.so":  "module-path: it must name a file",
		"pkcs11:token=app;object=kek?pin-source=|print": "pin-source: it must name a file",

		"kmip://kms.example.org/id?cert=/c":                  "host:port",
		"kmip://kms.example.org:5696?cert=/c":                "KeyID",
		"kmip://kms.example.org:5696/?cert=/c":               "KeyID",
		"kmip://kms.example.org:5696/a/b?cert=/c":            "%2F",
		"kmip://kms.example.org:5696/a%2?cert=/c":            "%25",
		"kmip://kms.example.org:5696/id":                     "cert is missing",
		"kmip://kms.example.org:5696/id?cert=c.pem":          "cert: it must name a file",
		"kmip://kms.example.org:5696/id?cert=/c&cert=/d":     "parameter 2 (cert) is given twice",
		"kmip://kms.example.org:5696/id?cert=/c&server-iv=1": "server-iv is neither",

		"file:customers.kek":                  "absolute path",
		"file:///":                            "absolute path",
		"file://customers.kek":                "absolute path",
		"file://server/share/customers.kek":   "absolute path",
		"file:///a%0":                         "hexadecimal",
		"file:///a%00b":                       "absolute path",
		"file:///a?passphrase-source=":        "no value",
		"file:///a?passphrase-source":         "no value",
		"file:///a?passphrase-source=http://": "passphrase-source: it must name a file",
	} {
		err := kmsurl.Check(uri)
		if !errors.Is(err, kmsurl.ErrURI) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want %q", uri, err, says)
		}
		kms, done, openErr := kmsurl.Open(t.Context(), uri)
		if kms != nil || fmt.Sprint(openErr) != fmt.Sprint(err) || done() != nil {
			t.Errorf("%s: Open returns %v, %v", uri, kms, openErr)
		}
	}
}

// P6: a credential in a URI is refused, with an error that says so and doesn't tell it.
func TestCredentialsInURIs(t *testing.T) {
	const secret = "hunter2"
	for _, uri := range []string{
		"aws-kms://AKIAEXAMPLE:hunter2@" + awsKey,
		"aws-kms://" + awsKey + "?aws_secret_access_key=hunter2",
		"gcp-kms://hunter2@" + gcpKey,
		"gcp-kms://" + gcpKey + "?credentials=hunter2",
		"hcvault://hunter2@vault.example.org/transit/keys/k",
		"hcvault://app:hunter/hunter2@vault.example.org/transit/keys/k",
		"hcvault:///transit/keys/k?token=hunter2",
		"azure-kv://app:hunter2@" + azureKey,
		"azure-kv://" + azureKey + "?client_secret=hunter2",
		"azure-kv://" + azureKey + "?sig=hunter2",
		"pkcs11:token=app;object=kek?pin-value=hunter2",
		"pkcs11:token=app;object=kek?PIN-VALUE=hunter2",
		"pkcs11:token=app;object=kek;pin-value=hunter2",
		"pkcs11:token=app;object=kek;pinfile=hunter2",
		"kmip://app:hunter2@kms.example.org:5696/id?cert=/c",
		"kmip://kms.example.org:5696/id?cert=/c&password=hunter2",
		"file:///a?passphrase=hunter2",
	} {
		err := kmsurl.Check(uri)
		if !errors.Is(err, kmsurl.ErrURI) || !strings.Contains(err.Error(), "looks like a credential") || !strings.Contains(err.Error(), "credentials come from") {
			t.Errorf("%s: error %v", uri, err)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("it is told: %v", err)
		}
	}
	// What isn't seen to be one isn't told either.
	for _, uri := range []string{
		"hunter2://host/key",
		"file://app:hunter2@host/a",
		"file:///a?hunter2",
		"file:///a?hunter2=x",
		"file:///a?passphrase-source=hunter2",
		"pkcs11:token=app;object=kek?pin-source=hunter2",
		"pkcs11:token=app;object=kek;hunter2",
		"pkcs11:token=app;object=kek?pin-source=file://hunter2/x",
		"kmip://kms.example.org:5696/id?key=hunter2&cert=/c",
		"kmip://kms.example.org:5696/id?server-iv=hunter2&cert=/c",
		"azure-kv://" + azureKey + "?algorithm=hunter2",
		"file:///a#hunter2",
	} {
		if err := kmsurl.Check(uri); !errors.Is(err, kmsurl.ErrURI) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error %v", uri, err)
		}
	}
}

// open opens a URI and closes it when the test ends.
func open(t testing.TB, uri string) kmsprovider.Provider {
	t.Helper()
	kms, done, err := kmsurl.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 { // it may be called again
			if err := done(); err != nil {
				t.Error(err)
			}
		}
	})
	return kms
}

// opensRingOf checks that a ring made by a program, with the driver, opens with the
// URI, and the other way round.
func opensRingOf(t *testing.T, driver kmsprovider.Provider, uri string) {
	t.Helper()
	byURI := open(t, uri)
	if byURI.ID() != driver.ID() {
		t.Errorf("the ID by URI is %s, the driver's %s", byURI.ID(), driver.ID())
	}
	for _, pair := range [][2]kmsprovider.Provider{{driver, byURI}, {byURI, driver}} {
		store := keyring.NewMemoryStore()
		_, pin, err := keyring.Create(t.Context(), "customers", store, pair[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Open(t.Context(), "customers", store, pair[1], pin, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenOfEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if kms, done, err := kmsurl.Open(ctx, "file:///nonexistent"); kms != nil || !errors.Is(err, context.Canceled) || done() != nil {
		t.Errorf("%v, %v", kms, err)
	}
}
