package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// ringForTest makes a ring in files, tells the tool of it by the environment, and
// returns its pin.
func ringForTest(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	kms, err := localkms.CreateKeyFile(filepath.Join(dir, "a.kek"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := keyring.NewFileStore(filepath.Join(dir, "ring"))
	if err != nil {
		t.Fatal(err)
	}
	ring, pin, err := keyring.Create(t.Context(), "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	for name, value := range map[string]string{
		"STRUCTSEAL_STORE": "file://" + dir + "/ring", "STRUCTSEAL_KMS": "file://" + dir + "/a.kek",
		"STRUCTSEAL_RING": "app", "STRUCTSEAL_PIN": pin.String(), "STRUCTSEAL_CONFIG": "",
	} {
		t.Setenv(name, value)
	}
}

// Programs that call the tool go by its exit codes.
func TestExitCodes(t *testing.T) {
	ringForTest(t)
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"keys", "list"}, 0},
		{[]string{"doctor"}, 0},
		{[]string{"keys", "show", "00000001"}, 1},
		{[]string{"keys", "show", "00000001", "--json"}, 1},
		{[]string{"doctor", "--store", "file:///nowhere"}, 1},
		{[]string{"doctor", "--store", "file:///nowhere", "--json"}, 1},
		{[]string{"keys"}, 2},
		{[]string{"keys", "lst"}, 2},
		{[]string{"keys", "list", "--rnig", "app"}, 2},
		{[]string{"keys", "list", "--pin", "x"}, 2},
		{[]string{"keys", "list", "--pin", "x", "--json"}, 2},
		{[]string{"keys", "rotate", "--now"}, 3},
		{[]string{"keys", "rotate", "--now", "--json"}, 3},
		{[]string{"forget", "c-1", "--confirm", "0000-0000"}, 3},
		{[]string{"keys", "list", "--store", "postgres://app@127.0.0.1:1/crm"}, 4},
		{[]string{"keys", "list", "--store", "mysql://app@127.0.0.1:1/crm", "--json"}, 4},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), test.args, &stdout, &stderr); code != test.code {
			t.Errorf("%q: exit code %d, want %d: %s%s", test.args, code, test.code, &stdout, &stderr)
		}
		if asJSON := test.args[len(test.args)-1] == "--json"; asJSON && test.code != exitUsage && (stdout.Len() == 0 || stderr.Len() > 0) {
			t.Errorf("%q: standard output %q, standard error %q", test.args, &stdout, &stderr)
		}
	}
}
