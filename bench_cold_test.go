package structseal_test

import (
	"fmt"
	mrand "math/rand/v2"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/ratio"
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
// the processor. It runs in turns with the floor of BenchmarkRecord, which opens one row
// again and again.
func BenchmarkColdRecord(b *testing.B) {
	const n = 20_000
	ctx := b.Context()
	_, open := handFloor(b, true, bench.Name, bench.Email, bench.Phone, bench.SSN, bench.Address)
	order := mrand.New(mrand.NewPCG(1, 2)).Perm(n)
	ring, rows := coldRows(b, n)
	i := 0
	ratio.Bench(b, open, func() {
		if _, err := structseal.Decrypt(ctx, ring, rows[order[i%n]]); err != nil {
			b.Fatal(err)
		}
		i++
	})
}
