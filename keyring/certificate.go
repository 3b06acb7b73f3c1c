package keyring

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	certificateFormat = "structseal-certificate/1"
	certificateMagic  = "structseal/certificate/v1"
)

// A Certificate says what Forget did and what it didn't. Its JSON form is a
// contract, see docs/keys.md; String is for people. Times are those of the
// machine that forgot, in UTC with whole seconds; they decide nothing.
type Certificate struct {
	Format  string   `json:"format"`  // "structseal-certificate/1"
	Ring    string   `json:"ring"`    // name
	Subject string   `json:"subject"` // SubjectHash in hexadecimal
	Keys    []string `json:"keys"`    // ids of all destroyed keys, 8 hexadecimal digits each
	Actor   string   `json:"actor"`   // who, as given in the options; may be empty

	Forgotten time.Time `json:"forgotten_at"`
	// ClosedAt is when no process that holds the current store and the KMS opens
	// the subject's fields any more: every cache has expired.
	ClosedAt time.Time `json:"closed_at"`
	// IrrecoverableAt is when the last backup of the key store that holds the
	// keys has expired; nil if OpenOptions.BackupRetention doesn't say.
	IrrecoverableAt *time.Time `json:"irrecoverable_at"`

	NotCovered []NotCovered `json:"not_covered"`

	MAC string `json:"mac"` // unpadded base64url; see docs/format.md
}

// NotCovered is something that Forget doesn't reach.
type NotCovered struct {
	What  string     `json:"what"`
	Until *time.Time `json:"until"` // nil: unknown, or for ever
}

// tag is HMAC-SHA-256 under the subject-hash key, over the JSON with an empty mac.
func (c *Certificate) tag(root []byte) (string, error) {
	unsigned := *c
	unsigned.MAC = ""
	text, err := json.Marshal(&unsigned)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, root)
	mac.Write([]byte(certificateMagic))
	mac.Write(text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

func (c *Certificate) sign(root []byte) (err error) {
	c.MAC, err = c.tag(root)
	return err
}

func (c *Certificate) verify(root []byte, ring string) error {
	if c == nil || c.Format != certificateFormat {
		return fmt.Errorf("%w: not of format %s", ErrCertificate, certificateFormat)
	}
	want, err := c.tag(root)
	if err != nil {
		return err
	}
	if c.Ring != ring || !hmac.Equal([]byte(want), []byte(c.MAC)) {
		return ErrCertificate
	}
	return nil
}

// String is the certificate for people.
func (c *Certificate) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Certificate of erasure\n\nRing:             %s\nSubject:          %s\n", c.Ring, c.Subject)
	fmt.Fprintf(&b, "Keys destroyed:   %d %s\n", len(c.Keys), strings.Join(c.Keys, " "))
	actor := c.Actor
	if actor == "" {
		actor = "(not said)"
	}
	fmt.Fprintf(&b, "By:               %s\nForgotten at:     %s\nClosed at:        %s\n", actor, c.Forgotten.Format(time.RFC3339), c.ClosedAt.Format(time.RFC3339))
	gone := "not known: the retention of key-store backups was not given"
	if c.IrrecoverableAt != nil {
		gone = c.IrrecoverableAt.Format(time.RFC3339)
	}
	fmt.Fprintf(&b, "Irrecoverable at: %s\n\nNot covered:\n", gone)
	for _, n := range c.NotCovered {
		fmt.Fprintf(&b, "- %s", n.What)
		if n.Until != nil {
			fmt.Fprintf(&b, " (until %s)", n.Until.Format(time.RFC3339))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
