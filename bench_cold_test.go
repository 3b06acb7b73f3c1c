package structseal_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	mrand "math/rand/v2"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// coldRows are records of five string fields under one key of the ring that is returned,
// each with a salt of its own, as if many processes had written a few rows each: a process
// gives the first record that a key seals a salt that nothing else uses.
func coldRows(b testing.TB, n int) (*keyring.Keyring, []benchCustomer) {
	b.Helper()
	ctx, kms, store := b.Context(), localkms.NewRandom(), keyring.NewMemoryStore()
	ring, pin, err := keyring.Create(ctx, "bench", store, kms, &keyring.CreateOptions{Suite: crypto.Default})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ring.Close() })
	rows := make([]benchCustomer, n)
	for i := range rows {
		writer, err := keyring.Open(ctx, "bench", store, kms, pin, nil)
		if err != nil {
			b.Fatal(err)
		}
		row := bench
		row.ID = fmt.Sprintf("01890a5d-ac96-774b-bcce-%012d", i)
		if rows[i], err = structseal.Encrypt(ctx, writer, row); err != nil {
			b.Fatal(err)
		}
		writer.Close()
	}
	return ring, rows
}

// BenchmarkColdRecord decrypts 20,000 records in random order, each of which was sealed
// under a salt of its own: no subkey is at hand, and neither is the row in the cache of
// the processor. floor is that of BenchmarkRecord, floor-cold the same over as many rows.
func BenchmarkColdRecord(b *testing.B) {
	const n = 20_000
	ctx := b.Context()
	fields := [...]string{bench.Name, bench.Email, bench.Phone, bench.SSN, bench.Address}
	gcm := floorGCM(b)
	aad := make([]byte, 64)
	order := mrand.New(mrand.NewPCG(1, 2)).Perm(n)
	texts := make([][5][]byte, n)
	for i := range texts {
		for f, v := range fields {
			nonce := make([]byte, 12, 12+len(v)+16)
			rand.Read(nonce)
			texts[i][f] = base64.RawURLEncoding.AppendEncode(nil, gcm.Seal(nonce, nonce, []byte(v), aad))
		}
	}
	for _, floor := range []struct {
		name string
		rows int
	}{{"floor", 1}, {"floor-cold", n}} {
		b.Run("impl="+floor.name, func(b *testing.B) {
			var plain, sealed [5][]byte
			for f, v := range fields {
				sealed[f], plain[f] = make([]byte, 12+len(v)+16), make([]byte, 0, len(v))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				row := &texts[order[i%floor.rows]]
				i++
				for f := range fields {
					if _, err := base64.RawURLEncoding.Decode(sealed[f], row[f]); err != nil {
						b.Fatal(err)
					}
					if _, err := gcm.Open(plain[f], sealed[f][:12], sealed[f][12:], aad); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	ring, rows := coldRows(b, n)
	for _, cold := range []struct {
		name string
		rows int
	}{{"structseal-warm", 1}, {"structseal", n}} {
		b.Run("impl="+cold.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := structseal.Decrypt(ctx, ring, rows[order[i%cold.rows]]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
