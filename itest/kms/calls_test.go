package kms

import (
	"context"
	"crypto/fips140"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// counted counts what a process asks of its KMS.
type counted struct {
	kmsprovider.Provider
	wraps, unwraps atomic.Int64
}

func (c *counted) Wrap(ctx context.Context, secret []byte, kc kmsprovider.Context) ([]byte, error) {
	c.wraps.Add(1)
	return c.Provider.Wrap(ctx, secret, kc)
}

func (c *counted) Unwrap(ctx context.Context, wrapped []byte, kc kmsprovider.Context) ([]byte, error) {
	c.unwraps.Add(1)
	return c.Provider.Unwrap(ctx, wrapped, kc)
}

// A workload is what a process does: operation n of it.
type workload struct {
	name string
	do   func(ctx context.Context, ring *keyring.Keyring, n int, old order) error
}

var workloads = []workload{
	{"records under one key", func(ctx context.Context, ring *keyring.Keyring, n int, _ order) error {
		_, err := structseal.Encrypt(ctx, ring, newOrder(fmt.Sprint(n)))
		return err
	}},
	// Two data keys, the key that wraps subjects and the one that hashes them.
	{"records old and new, and of subjects", func(ctx context.Context, ring *keyring.Keyring, n int, old order) (err error) {
		switch n % 3 {
		case 0:
			_, err = structseal.Decrypt(ctx, ring, old)
		case 1:
			_, err = structseal.Encrypt(ctx, ring, newOrder(fmt.Sprint(n)))
		default:
			_, err = structseal.Encrypt(ctx, ring, newMember(fmt.Sprint(n%100)))
		}
		return err
	}},
}

// hour lets processes with default settings do so many operations in an hour of
// virtual time, and returns how often each has called its KMS.
func hour(t *testing.T, w workload, processes, operations int) (calls []int64) {
	t.Helper()
	store, kms := keyring.NewMemoryStore(), localkms.NewRandom()
	ring, pin, err := keyring.Create(t.Context(), "app", store, kms, nil)
	if err != nil {
		t.Fatal(err)
	}
	old, err := structseal.Encrypt(t.Context(), ring, newOrder("old"))
	if err == nil {
		_, err = ring.Rotate(t.Context(), keyring.Data, &keyring.RotateOptions{Now: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	counts := make([]counted, processes)
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range counts {
			counts[i].Provider = kms
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Millisecond) // not all in step
				ring, err := keyring.Open(t.Context(), "app", store, &counts[i], pin, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer ring.Close()
				for n := range operations {
					if err := w.do(t.Context(), ring, n, old); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Hour / time.Duration(operations))
				}
			})
		}
		wg.Wait()
	})
	for i := range counts {
		if n := counts[i].wraps.Load(); n != 0 {
			t.Errorf("%d wraps by a process that only uses keys", n)
		}
		calls = append(calls, counts[i].unwraps.Load())
	}
	return calls
}

// remoteAEAD counts what Tink's envelope asks of a KMS.
type remoteAEAD struct {
	tink.AEAD
	calls int
}

func (r *remoteAEAD) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	r.calls++
	return r.AEAD.Encrypt(plaintext, associatedData)
}

func (r *remoteAEAD) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	r.calls++
	return r.AEAD.Decrypt(ciphertext, associatedData)
}

// Tink's envelope AEAD makes a call for each operation.
func TestCallsOfTinksEnvelope(t *testing.T) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	kek, err := aead.New(handle)
	if err != nil {
		t.Fatal(err)
	}
	remote := &remoteAEAD{AEAD: kek}
	envelope := aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), remote)
	const operations = 1000
	for range operations / 2 {
		ct, err := envelope.Encrypt([]byte("text"), nil)
		if err == nil {
			_, err = envelope.Decrypt(ct, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if remote.calls != operations {
		t.Errorf("%d operations made %d calls", operations, remote.calls)
	}
}

// What 100 processes with default settings ask of their KMS for a million record
// operations in an hour. The calls don't depend on the number of operations, so the
// short run has fewer. Then each driver makes that many calls of its service, and the
// requests that arrive are counted. docs/kms.md has the table.
func TestCallsAnHour(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("no randomness in virtual time under fips140=only, and the engine chooses nonces of its own")
	}
	processes, operations, asked := 100, 1_000, 3
	if os.Getenv("STRUCTSEAL_LONG") == "1" {
		operations, asked = 10_000, processes
	}
	all := services(t)
	for _, w := range workloads {
		calls := hour(t, w, processes, operations)
		var sum, most int64
		for _, n := range calls {
			sum, most = sum+n, max(most, n)
		}
		t.Logf("%s: %d processes, %d operations: %d calls, at most %d a process", w.name, processes, processes*operations, sum, most)
		// A refresh before TTL: 14 an hour; of five keys at most, and their first use.
		if bound := int64(processes) * 5 * 17; sum == 0 || sum > bound {
			t.Errorf("%s: %d calls, want at most %d", w.name, sum, bound)
		}
		for _, m := range all {
			if m.arrived == nil {
				continue // PKCS#11, files: a call is a call; PyKMIP doesn't tell
			}
			requests, made := m.requests(t, calls[:asked])
			t.Logf("%s, %s: %d calls by %d processes are %d requests", w.name, m.driver, made, asked, requests)
			// Transit: one more a process, to see that the server binds contexts.
			if most := made + asked; requests < made || requests > most {
				t.Errorf("%s: %d calls made %d requests, want at most %d", m.driver, made, requests, most)
			}
		}
	}
}

// requests makes the calls of some processes, each with a provider of its own, and
// returns how many requests arrived and how many calls were made.
func (m service) requests(t *testing.T, calls []int64) (requests, made int) {
	t.Helper()
	p := m.make(t)
	kms, closeIt, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := kms.Wrap(t.Context(), make([]byte, 32), kmsprovider.Context{"structseal-ring": "app"})
	if err != nil {
		t.Fatal(err)
	}
	closeIt()
	before := m.arrived()
	for _, n := range calls {
		kms, closeIt, err := p.open()
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := kms.Unwrap(t.Context(), wrapped, kmsprovider.Context{"structseal-ring": "app"}); err != nil {
				t.Fatal(err)
			}
			made++
		}
		closeIt()
	}
	return m.arrived() - before, made
}
