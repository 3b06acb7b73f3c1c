package kmsurl_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/structseal/structseal/kmsprovider/kmsurl"
)

// FuzzCheck: any text is a URI or ErrURI, with an error of one line that tells nothing
// of what stands in the place of a credential.
func FuzzCheck(f *testing.F) {
	for _, uri := range good {
		f.Add(uri)
	}
	for _, uri := range []string{
		"", "file:", "pkcs11:;", "pkcs11:token==;object=%", "kmip://:/?", "hcvault://[/keys/", "azure-kv://a/keys/b?algorithm",
		"pkcs11:token=a;object=b?pin-value=canary7", "file:///a?canary7", "hcvault://canary7@host/t/keys/k", "file:///%00?passphrase-source=%00",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		err := kmsurl.Check(uri)
		if err == nil {
			return
		}
		if !errors.Is(err, kmsurl.ErrURI) {
			t.Errorf("%q: %v", uri, err)
		}
		text := err.Error()
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || len(text) > 1000 {
			t.Errorf("%q: an error of %d bytes: %q", uri, len(text), text)
		}
		before, query, _ := strings.Cut(uri, "?")
		before, _, at := strings.Cut(before, "@")
		if strings.Contains(text, "canary7") && (strings.Contains(query, "canary7") || at && strings.Contains(before, "canary7")) {
			t.Errorf("%q: it is told: %s", uri, text)
		}
	})
}
