package structseal_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/internal/ratio"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// benchPerson is benchCustomer with keys of its own.
type benchPerson struct {
	_       structseal.Record `seal:"customer"`
	ID      string            `seal:"id,bind,subject"`
	Name    string            `seal:"name"`
	Email   string            `seal:"email"`
	Phone   string            `seal:"phone"`
	SSN     string            `seal:"ssn"`
	Address string            `seal:"address"`
}

func benchCall[T any](b *testing.B, verb func(context.Context, *keyring.Keyring, T, ...structseal.Option) (T, error), ring *keyring.Keyring, v T) func() {
	return func() {
		if _, err := verb(b.Context(), ring, v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSubjectRecord is BenchmarkRecord for records of a subject: keys=warm
// looks one subject up again and again, in turns with the same record under the ring's
// own keys as the floor; keys=cold reads a page of 500 records of as many subjects that
// aren't at hand, from memory, per record.
func BenchmarkSubjectRecord(b *testing.B) {
	ctx := b.Context()
	store, kms := keyring.NewMemoryStore(), localkms.NewRandom()
	ring, pin, err := keyring.Create(ctx, "bench", store, kms, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ring.Close() })
	row := encrypted(b, ring, bench)
	person := benchPerson{ID: bench.ID, Name: bench.Name, Email: bench.Email, Phone: bench.Phone, SSN: bench.SSN, Address: bench.Address}
	personRow := encrypted(b, ring, person)
	b.Run("op=encrypt/keys=warm", func(b *testing.B) {
		ratio.Bench(b, benchCall(b, structseal.Encrypt[benchCustomer], ring, bench), benchCall(b, structseal.Encrypt[benchPerson], ring, person))
	})
	b.Run("op=decrypt/keys=warm", func(b *testing.B) {
		ratio.Bench(b, benchCall(b, structseal.Decrypt[benchCustomer], ring, row), benchCall(b, structseal.Decrypt[benchPerson], ring, personRow))
	})
	const page, pages = 500, 40
	var people []benchPerson
	for i := range page * pages {
		p := person
		p.ID = fmt.Sprintf("01890a5d-ac96-774b-bcce-b302%08d", i)
		people = append(people, p)
	}
	rows, err := structseal.EncryptAll(ctx, ring, people)
	if err != nil {
		b.Fatal(err)
	}
	// A cache of two pages: every page is cold.
	cold, err := keyring.Open(ctx, "bench", store, kms, pin, &keyring.OpenOptions{SubjectCache: 2 * page})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cold.Close() })
	for _, op := range []string{"encrypt", "decrypt"} {
		b.Run("op="+op+"/keys=cold", func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n%page == 0 {
					at := n / page % pages * page
					var err error
					if op == "encrypt" {
						_, err = structseal.EncryptAll(ctx, cold, people[at:at+page])
					} else {
						_, err = structseal.DecryptAll(ctx, cold, rows[at:at+page])
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				n++
			}
		})
	}
}
