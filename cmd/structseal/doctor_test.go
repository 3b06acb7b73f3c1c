package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/structseal/structseal/keyring"
)

// fakeAWS is a fake of AWS KMS, with one key that doesn't encrypt. failing is the type of
// the error that it answers with, if not empty.
type fakeAWS struct {
	arn     string
	failing atomic.Pointer[string]
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if kind := f.failing.Load(); kind != nil && *kind != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"message":"%s"}`, *kind, f.arn)
		return
	}
	var in struct{ Plaintext, CiphertextBlob []byte }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{
		"KeyId": f.arn, "CiphertextBlob": append([]byte("wrapped"), in.Plaintext...),
		"Plaintext": bytes.TrimPrefix(in.CiphertextBlob, []byte("wrapped")), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
	})
}

// Doctor tells a key-encryption key that is out of use from one that is out of reach,
// and what to do.
func TestDoctorOfKEKs(t *testing.T) {
	f := &fakeAWS{arn: "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"}
	server := httptest.NewServer(f)
	defer server.Close()
	dir := t.TempDir()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_KMS": server.URL, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": strings.Repeat("secret", 6),
		"AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"), "AWS_MAX_ATTEMPTS": "1",
		"STRUCTSEAL_STORE": "file://" + dir + "/ring", "STRUCTSEAL_RING": "app", "STRUCTSEAL_KMS": "aws-kms://" + f.arn, "STRUCTSEAL_CONFIG": "",
	} {
		t.Setenv(name, value)
	}
	var made bytes.Buffer
	if code := run(t.Context(), []string{"keys", "create"}, &made, &made); code != 0 {
		t.Fatalf("keys create: exit code %d: %s", code, &made)
	}
	_, pin, _ := strings.Cut(strings.TrimSpace(made.String()), "pin ")
	t.Setenv("STRUCTSEAL_PIN", pin)
	for _, test := range []struct {
		failing string
		code    int
		want    string
	}{
		{"", 0, "opens every key of the ring"},
		{"KMSInvalidStateException", 1, "pending deletion: enable it, or cancel the deletion"},
		{"DisabledException", 1, "pending deletion: enable it, or cancel the deletion"},
		{"NotFoundException", 1, "It is gone at the KMS"},
		{"AccessDeniedException", 1, "Look at the credentials"},
		{"ThrottlingException", 1, "Look at the network, and try again"},
	} {
		f.failing.Store(&test.failing)
		var out bytes.Buffer
		if code := run(t.Context(), []string{"doctor"}, &out, &out); code != test.code || !strings.Contains(out.String(), test.want) {
			t.Errorf("%q: exit code %d, want %d and %q:\n%s", test.failing, code, test.code, test.want, &out)
		}
	}
}

func newExamination() *examination {
	return &examination{work: &work{settings: new(settings)}, report: doctorReport{OK: true}}
}

// worst is the worst status of an examination, and all that was found.
func (x *examination) worst() (worst status, all string) {
	worst = isFine
	for _, f := range x.report.Checks {
		all += fmt.Sprintf("%s %s\n", f.Status, f.What)
		if f.Status == isFailed || f.Status == isWarning && worst != isFailed {
			worst = f.Status
		}
	}
	return worst, all
}

func TestDoctorOfKeys(t *testing.T) {
	now := time.Now()
	key := func(change func(*keyring.KeyInfo)) []keyring.KeyInfo {
		k := keyring.KeyInfo{ID: 1, Purpose: keyring.Data, Suite: "aes-256-gcm", State: keyring.Primary, Created: now, Changed: now, KEKs: []string{"local:a"}}
		change(&k)
		return []keyring.KeyInfo{k}
	}
	for name, test := range map[string]struct {
		keys []keyring.KeyInfo
		want status
	}{
		"fresh":               {key(func(*keyring.KeyInfo) {}), isFine},
		"used":                {key(func(k *keyring.KeyInfo) { k.Messages = 1 << 30 }), isFine},
		"near its budget":     {key(func(k *keyring.KeyInfo) { k.Messages = 1<<31 - 1<<24 }), isWarning},
		"over its budget":     {key(func(k *keyring.KeyInfo) { k.Messages = 3 << 30 }), isFailed},
		"out of use":          {key(func(k *keyring.KeyInfo) { k.Messages, k.State = 3<<30, keyring.Disabled }), isFine},
		"published":           {key(func(k *keyring.KeyInfo) { k.State = keyring.Pending }), isFine},
		"published long ago":  {key(func(k *keyring.KeyInfo) { k.State, k.Changed = keyring.Pending, now.Add(-24*time.Hour) }), isWarning},
		"lacking a wrap":      {key(func(k *keyring.KeyInfo) { k.KEKs = nil }), isWarning},
		"too many":            {make([]keyring.KeyInfo, 240), isWarning},
		"destroyed long ago":  {key(func(k *keyring.KeyInfo) { k.State, k.KEKs = keyring.Destroyed, nil }), isFine},
		"as many as there be": {make([]keyring.KeyInfo, 200), isFine},
	} {
		x := newExamination()
		x.lookAtKeys(test.keys, []string{"local:a"})
		if got, all := x.worst(); got != test.want || x.report.OK != (got != isFailed) {
			t.Errorf("%s: %s, want %s:\n%s", name, got, test.want, all)
		}
	}
}

func TestDoctorOfClocks(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		c    clockReading
		want status
	}{
		"the same":                  {clockReading{then: now, ours: now}, isFine},
		"seconds apart":             {clockReading{then: now.Add(20 * time.Second), ours: now}, isFine},
		"behind":                    {clockReading{then: now.Add(2 * time.Minute), ours: now}, isFailed},
		"ahead":                     {clockReading{then: now.Add(-2 * time.Minute), ours: now}, isFailed},
		"a change in the past":      {clockReading{then: now.Add(-time.Hour), ours: now, past: true}, isFine},
		"a change in the future":    {clockReading{then: now.Add(time.Hour), ours: now, past: true}, isFailed},
		"a database that is silent": {clockReading{then: now, ours: now, err: keyring.ErrUnavailable}, isFailed},
	} {
		x := newExamination()
		x.compareClock(test.c)
		if got, all := x.worst(); got != test.want {
			t.Errorf("%s: %s, want %s:\n%s", name, got, test.want, all)
		}
	}
}
