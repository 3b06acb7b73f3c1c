package structseal_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/ratio"
	"github.com/structseal/structseal/keyring"
)

type benchVerb = func(context.Context, *keyring.Keyring, benchCustomer, ...structseal.Option) (benchCustomer, error)

// BenchmarkBatch encrypts and decrypts 10,000 records on all cores, in turns with the same
// on one: x-one-core is 0.5 where two cores do it in half the time. ns/op is of all records.
// floor is as many calls for one record, in one goroutine a core that share nothing, a ring
// each: what perfect scaling is on this machine, with the garbage that records make. seal is
// AES-GCM alone, without any.
func BenchmarkBatch(b *testing.B) {
	ctx, ring := b.Context(), benchRing(b, crypto.Default)
	const n = 10_000
	records := make([]benchCustomer, n)
	for i := range records {
		records[i] = bench
		records[i].ID = fmt.Sprintf("01890a5d-ac96-774b-bcce-%012d", i)
	}
	rows, err := structseal.EncryptAll(ctx, ring, records)
	if err != nil {
		b.Fatal(err)
	}
	gcm := floorGCM(b)
	scales(b, "op=seal/form=floor", func() {
		everyCore(func(int, int) {
			nonce, text, out := make([]byte, 12), make([]byte, 64), make([]byte, 0, 80)
			for range 50_000 / runtime.GOMAXPROCS(0) {
				gcm.Seal(out, nonce, text, nil)
			}
		})
	})
	for _, op := range []struct {
		name string
		in   []benchCustomer
		one  benchVerb
		all  func(context.Context, *keyring.Keyring, []benchCustomer, ...structseal.Option) ([]benchCustomer, error)
		seq  func(context.Context, *keyring.Keyring, iter.Seq2[benchCustomer, error], ...structseal.Option) iter.Seq2[benchCustomer, error]
	}{
		{"encrypt", records, structseal.Encrypt[benchCustomer], structseal.EncryptAll[benchCustomer], structseal.EncryptSeq[benchCustomer]},
		{"decrypt", rows, structseal.Decrypt[benchCustomer], structseal.DecryptAll[benchCustomer], structseal.DecryptSeq[benchCustomer]},
	} {
		// Each ring can read all rows of its own.
		rings, ins := make([]*keyring.Keyring, runtime.NumCPU()), make([][]benchCustomer, runtime.NumCPU())
		for c := range rings {
			rings[c], ins[c] = benchRing(b, crypto.Default), records
			if op.name == "decrypt" {
				if ins[c], err = structseal.EncryptAll(ctx, rings[c], records); err != nil {
					b.Fatal(err)
				}
			}
		}
		scales(b, "op="+op.name+"/form=floor", func() {
			everyCore(func(c, cores int) {
				in := ins[c][c*n/cores : (c+1)*n/cores]
				out := make([]benchCustomer, len(in))
				for i := range in {
					var err error
					if out[i], err = op.one(ctx, rings[c], in[i]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
		scales(b, "op="+op.name+"/form=slice", func() {
			if _, err := op.all(ctx, ring, op.in); err != nil {
				b.Fatal(err)
			}
		})
		scales(b, "op="+op.name+"/form=seq", func() {
			for _, err := range op.seq(ctx, ring, source(op.in)) {
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// scales runs work on one core and on all, by turns.
func scales(b *testing.B, name string, work func()) {
	on := func(cores int) func() {
		return func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			work()
		}
	}
	b.Run(name, func(b *testing.B) { ratio.Of(b, "one-core", on(1), on(runtime.NumCPU())) })
}

// everyCore runs a goroutine a core, and waits for them.
func everyCore(f func(core, cores int)) {
	var wg sync.WaitGroup
	cores := runtime.GOMAXPROCS(0)
	for c := range cores {
		wg.Go(func() { f(c, cores) })
	}
	wg.Wait()
}
