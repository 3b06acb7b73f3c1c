package awskms_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/kmstest"
)

// policy is as much of an IAM policy as docs/kms.md uses.
type policy struct {
	Statement []statement
}

type statement struct {
	Effect, Action, Resource string
	Condition                map[string]map[string]any
}

// documentedPolicy reads the policy that docs/kms.md has, for keyOne.
func documentedPolicy(t *testing.T) policy {
	t.Helper()
	text, err := os.ReadFile("../../docs/kms.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- policy: aws -->\n```json\n")
	document, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/kms.md has no policy for AWS")
	}
	document = strings.ReplaceAll(document, "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", keyOne)
	var p policy
	if err := json.Unmarshal([]byte(document), &p); err != nil || len(p.Statement) != 2 {
		t.Fatalf("the policy of docs/kms.md: %d statements, %v", len(p.Statement), err)
	}
	return p
}

func (p policy) allows(op, key string, context map[string]string) bool {
	return slices.ContainsFunc(p.Statement, func(s statement) bool { return s.allows(op, key, context) })
}

// allows does what IAM documents for these elements. What it doesn't know it denies.
func (s statement) allows(op, key string, context map[string]string) bool {
	if s.Effect != "Allow" || s.Action != op || s.Resource != key {
		return false
	}
	for operator, conditions := range s.Condition {
		for name, want := range conditions {
			entry, ofContext := strings.CutPrefix(name, "kms:EncryptionContext:")
			switch {
			case operator == "StringEquals" && ofContext:
				if got, ok := context[entry]; !ok || got != want {
					return false
				}
			case operator == "ForAllValues:StringEquals" && name == "kms:EncryptionContextKeys":
				for k := range context {
					if !slices.Contains(want.([]any), any(k)) {
						return false
					}
				}
			default:
				return false
			}
		}
	}
	return true
}

// The policy of docs/kms.md is enough for a program of its ring, and for no other.
func TestDocumentedPolicy(t *testing.T) {
	fake := newFake()
	p := open(t, kmstest.NewProxy(t, fake), "us-east-1", keyOne, nil)
	whole := documentedPolicy(t)
	fake.Permit(whole.allows)
	store := keyring.NewMemoryStore()
	ring, pin, err := keyring.Create(t.Context(), "customers", store, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if _, err := ring.Rotate(t.Context(), keyring.Data, nil); err != nil {
		t.Error(err)
	}
	if _, _, err := keyring.Create(t.Context(), "orders", store, p, nil); !errors.Is(err, kmsprovider.ErrDenied) {
		t.Errorf("Create of another ring: %v, want ErrDenied", err)
	}
	more := kmsprovider.Context{"structseal-ring": "customers", "more": "x"}
	if _, err := p.Wrap(t.Context(), []byte("a key"), more); !errors.Is(err, kmsprovider.ErrDenied) {
		t.Errorf("Wrap with another context: %v, want ErrDenied", err)
	}
	// A reader has the second statement alone.
	fake.Permit(policy{whole.Statement[1:]}.allows)
	reader, err := keyring.Open(t.Context(), "customers", store, p, pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if _, err := reader.Primary(t.Context(), keyring.Data); err != nil {
		t.Error(err)
	}
	if _, err := reader.Rotate(t.Context(), keyring.SubjectWrap, nil); !errors.Is(err, kmsprovider.ErrDenied) {
		t.Errorf("Rotate by a reader: %v, want ErrDenied", err)
	}
}
