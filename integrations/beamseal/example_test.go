package beamseal_test

import (
	"context"
	"fmt"
	"log"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/integrations/beamseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// Invoice is what the export holds.
type Invoice struct {
	_      structseal.Record        `seal:"invoice"`
	Number string                   `seal:"number,bind"`
	Payer  string                   `seal:"payer"`
	Cents  structseal.Sealed[int64] `seal:"cents"`
}

// Amount is what a report needs of it.
type Amount struct {
	Number string
	Cents  int64
}

func sealable(a Amount) (Invoice, error) {
	return Invoice{Number: a.Number, Payer: "Ada Lovelace", Cents: structseal.Of(a.Cents)}, nil
}

func amountOf(i Invoice) (Amount, error) {
	cents, err := i.Cents.Get()
	return Amount{i.Number, cents}, err
}

func printAmount(a Amount) { fmt.Println(a.Number, a.Cents) }

// openInvoices opens a ring as a worker does: with what its machine's configuration says.
// This one makes a new ring in memory, which only works within one process.
func openInvoices(ctx context.Context) (*keyring.Keyring, error) {
	ring, _, err := keyring.Create(ctx, "invoices", keyring.NewMemoryStore(), localkms.NewRandom(), nil)
	return ring, err
}

func init() {
	beamseal.RegisterRing("invoices", openInvoices)
	beamseal.RegisterEncryptFrom(sealable)
	beamseal.RegisterDecryptTo(amountOf)
	beamseal.Register[Invoice]()
	register.Function1x0(printAmount)
}

func Example() {
	p, s := beam.NewPipelineWithRoot() // after beam.Init()
	amounts := beam.Create(s, Amount{"2026-1", 1200}, Amount{"2026-2", 99})

	invoices, bad1, err := beamseal.EncryptFrom(s, "invoices", amounts, sealable, nil)
	if err != nil {
		log.Fatal(err)
	}
	invoices, bad2, err := beamseal.Reencrypt[Invoice](s, "invoices", invoices, nil)
	if err != nil {
		log.Fatal(err)
	}
	amounts, bad3, err := beamseal.DecryptTo(s, "invoices", invoices, amountOf, nil)
	if err != nil {
		log.Fatal(err)
	}
	beam.ParDo0(s, printAmount, amounts)
	_, _, _ = bad1, bad2, bad3 // write them somewhere

	if _, err := prism.Execute(context.Background(), p); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// 2026-1 1200
	// 2026-2 99
}
