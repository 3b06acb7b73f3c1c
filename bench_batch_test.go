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
	"github.com/structseal/structseal/keyring"
)

type benchVerb = func(context.Context, *keyring.Keyring, benchCustomer, ...structseal.Option) (benchCustomer, error)

// BenchmarkBatch encrypts and decrypts 10,000 records; -cpu 1,2 tells how it scales.
// ns/op is of all of them. floor is as many calls for one record, in one goroutine a
// core that share nothing, a ring each: what perfect scaling is on this machine, with
// the garbage that records make.
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
		b.Run("op="+op.name+"/form=floor", func(b *testing.B) {
			cores := runtime.GOMAXPROCS(0)
			rings, ins := make([]*keyring.Keyring, cores), make([][]benchCustomer, cores)
			for c := range cores {
				rings[c], ins[c] = benchRing(b, crypto.Default), records[c*n/cores:(c+1)*n/cores]
				if op.name == "decrypt" {
					if ins[c], err = structseal.EncryptAll(ctx, rings[c], ins[c]); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				var wg sync.WaitGroup
				for c := range cores {
					wg.Go(func() {
						out := make([]benchCustomer, len(ins[c]))
						for i := range ins[c] {
							var err error
							if out[i], err = op.one(ctx, rings[c], ins[c][i]); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			}
		})
		b.Run("op="+op.name+"/form=slice", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := op.all(ctx, ring, op.in); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("op="+op.name+"/form=seq", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range op.seq(ctx, ring, source(op.in)) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
