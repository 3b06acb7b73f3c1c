package printtest

import (
	"context"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

var (
	kek        = []byte("canary/KEK:32-bytes?of^the_KMS~!")
	secretText = "canary: Zoë's diagnosis <F32.2> & \"more\""
	secretTime = time.Date(1987, 6, 5, 4, 3, 2, 198_765_432, time.FixedZone("", 5*3600))
	secretCard = card{Holder: "canary holder Quibble-Zanzibar", Number: 4_929_817_364_550_217}
)

type card struct {
	Holder string
	Number int64
}

// listeningKMS keeps what it is asked to wrap: the keys of a ring.
type listeningKMS struct {
	*localkms.Provider
	heard *[]canary
}

func (k listeningKMS) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	*k.heard = append(*k.heard, bytesCanary("key "+strconv.Itoa(len(*k.heard))+" of the ring", secret))
	return k.Provider.Wrap(ctx, secret, kc)
}

// newRing returns a ring, its pin, and its keys as canaries.
func newRing(t *testing.T) (*keyring.Keyring, *localkms.Provider, keyring.Pin, []canary) {
	heard := []canary{bytesCanary("the KEK", kek)}
	kms := must(localkms.New(kek))(t)
	ring, pin, err := keyring.Create(t.Context(), "printtest", keyring.NewMemoryStore(), listeningKMS{kms, &heard}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	if len(heard) < 5 {
		t.Fatalf("heard %d keys", len(heard))
	}
	return ring, kms, pin, heard
}

// One record label for several Go types, so that what one seals another fails to
// decode: decoders like to quote what they can't read.
type (
	record[T any] struct {
		_    structseal.Record    `seal:"record"`
		ID   string               `seal:"id,bind"`
		Text string               `seal:"text"`
		Any  structseal.Sealed[T] `seal:"any"`
	}
	misspelt struct {
		_    structseal.Record `seal:"record"`
		ID   string            `seal:"id,bind"`
		Text string            `seal:"text,bnid"`
	}
)

// recordValues returns the ring, what it opens, and the errors of both.
func recordValues(t *testing.T) []value {
	ring, kms, pin, keys := newRing(t)
	ctx := t.Context()
	text := textCanary("the text", secretText)
	instant := []canary{
		// Not the time of day: once a day every log shows it.
		textCanary("the date", secretTime.Format(time.DateOnly)),
		textCanary("the date in UTC", secretTime.UTC().Format(time.DateOnly)),
		textCanary("the fraction and the offset", secretTime.Format(".999999999Z07:00")),
		textCanary("the unix time", strconv.FormatInt(secretTime.Unix(), 10)),
		textCanary("the nanoseconds", strconv.Itoa(secretTime.Nanosecond())),
		textCanary("the seconds since year 1", strconv.FormatInt(secretTime.Unix()+62135596800, 10)),
	}
	cards := []canary{textCanary("the holder", secretCard.Holder), textCanary("the number", strconv.FormatInt(secretCard.Number, 10))}
	all := append(append(append([]canary{text}, instant...), cards...), keys...)

	plain := record[string]{ID: "r-1", Text: secretText, Any: structseal.Of(secretText)}
	row := must(structseal.Encrypt(ctx, ring, plain))(t)
	back := must(structseal.Decrypt(ctx, ring, row))(t)
	if got := must(back.Any.Get())(t); got != secretText || back.Text != secretText {
		t.Fatal("round trip failed")
	}
	moved := row
	moved.ID = "r-2"
	var scanned structseal.Sealed[string]
	if err := scanned.Scan(secretText); err != nil {
		t.Fatal(err)
	}

	return []value{
		hold("*keyring.Keyring", ring, all...),
		hold("*localkms.Provider", kms, keys...),
		hold("localkms.Provider", *kms, keys...),
		hold("keyring.Pin", pin, keys...),
		hold("[]keyring.KeyInfo", ring.Keys(), keys...),
		hold("Sealed[string]", structseal.Of(secretText), text),
		hold("Sealed[string], decrypted", back.Any, all...),
		hold("Sealed[string], sealed", row.Any, all...),
		hold("Sealed[string], scanned plaintext", scanned, text),
		hold("*Sealed[string]", &back.Any, all...),
		hold("Sealed[[]byte]", structseal.Of([]byte(secretText)), text),
		hold("Sealed[time.Time]", structseal.Of(secretTime), instant...),
		hold("Sealed[int64]", structseal.Of(secretCard.Number), cards...),
		hold("Sealed[struct]", structseal.Of(secretCard), cards...),
		hold("Sealed[*struct]", structseal.Of(&secretCard), cards...),
		hold("a row", row, all...),
		hold("error: the scanned plaintext", failing(scanned.Get())(t), text),
		hold("error: an unsealed value", failing(structseal.Of(secretText).Value())(t), text),
		hold("error: a scan", failing(0, new(structseal.Sealed[string]).Scan("s1."+secretText))(t), text),
		hold("error: already encrypted", failing(structseal.Encrypt(ctx, ring, row))(t), all...),
		hold("error: not encrypted", failing(structseal.Decrypt(ctx, ring, plain))(t), all...),
		hold("error: moved", failing(structseal.Decrypt(ctx, ring, moved))(t), all...),
		hold("error: unbound", failing(structseal.Encrypt(ctx, ring, record[string]{Text: secretText, Any: structseal.Of(secretText)}))(t), all...),
		hold("error: a bad tag", failing(structseal.Encrypt(ctx, ring, misspelt{ID: "r-1", Text: secretText}))(t), all...),
		hold("error: a bad record of a page", failing(structseal.DecryptAll(ctx, ring, []record[string]{row, plain}))(t), all...),
		hold("error: not an int", decodedAs[int](t, ring, row), all...),
		hold("error: not a time", decodedAs[time.Time](t, ring, row), all...),
		hold("error: not a bool", decodedAs[bool](t, ring, row), all...),
		hold("error: not a float", decodedAs[float64](t, ring, row), all...),
		hold("error: not an address", decodedAs[netip.Addr](t, ring, row), all...),
		hold("error: not JSON", decodedAs[card](t, ring, row), all...),
	}
}

// decodedAs decrypts a row as a record of another Go type.
func decodedAs[T any](t *testing.T, ring *keyring.Keyring, row record[string]) error {
	t.Helper()
	other := record[T]{ID: row.ID, Text: row.Text}
	if err := other.Any.Scan(must(row.Any.MarshalBinary())(t)); err != nil {
		t.Fatal(err)
	}
	return failing(structseal.Decrypt(t.Context(), ring, other))(t)
}

// failing returns the error of a call that has to fail.
func failing[T any](_ T, err error) func(*testing.T) error {
	return func(t *testing.T) error {
		t.Helper()
		if err == nil {
			t.Fatal("no error")
		}
		return err
	}
}
