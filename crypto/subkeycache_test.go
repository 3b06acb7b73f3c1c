package crypto

import (
	"encoding/binary"
	mrand "math/rand/v2"
	"sync"
	"testing"
)

// saltedMessages are salts, many of them of the same slot, and a message under each.
func saltedMessages(n int) (salts [][saltSize]byte, messages [][]byte) {
	rng := mrand.New(mrand.NewPCG(1, 2))
	for i := range n {
		var salt [saltSize]byte
		binary.LittleEndian.PutUint64(salt[:], rng.Uint64())
		if i%3 == 0 {
			salt[0], salt[1] = 7, 7 // the same slot
		}
		salts = append(salts, salt)
		nonce := make([]byte, nonceSize)
		messages = append(messages, append(nonce, refGCM(refXAESKey(testSecret(Default), salt[:]), nonce, []byte("value"), salt[:])...))
	}
	return salts, messages
}

func newXAES(t *testing.T) *xaes {
	t.Helper()
	x := new(xaes)
	if err := x.init(testSecret(Default)); err != nil {
		t.Fatal(err)
	}
	return x
}

// mustRead opens the message of a salt with what the cache has for it.
func mustRead(t *testing.T, x *xaes, salt [saltSize]byte, message []byte) gcm {
	t.Helper()
	g, err := x.reading(&salt)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := g.openElsewhere(nil, message, 0, salt[:], 0); err != nil || string(text) != "value" {
		t.Fatalf("salt %x gave another subkey: %q, %v", salt, text, err)
	}
	return g
}

// The cache finds a subkey by its whole salt and grows no further than stated.
func TestSubkeyCache(t *testing.T) {
	x := newXAES(t)
	salts, messages := saltedMessages(2000)
	for range 2 {
		for i, salt := range salts {
			g := mustRead(t, x, salt, messages[i])
			for range 5 {
				if again := mustRead(t, x, salt, messages[i]); again != g {
					t.Fatal("a subkey just read was derived again")
				}
			}
		}
	}
	if n := len(*x.reads.slots.Load()); n != subkeyCacheMax {
		t.Errorf("%d slots", n)
	}
	fresh := newXAES(t)
	mustRead(t, fresh, salts[0], messages[0])
	if fresh.reads.slots.Load() != nil {
		t.Error("a key that reads with one salt has slots")
	}
	mustRead(t, fresh, salts[1], messages[1])
	if n := len(*fresh.reads.slots.Load()); n != subkeyCacheMin {
		t.Errorf("%d slots at first", n)
	}
}

// What is read often stays, without a lock and whatever else is read.
func TestSubkeyCacheKeeps(t *testing.T) {
	x := newXAES(t)
	salts, messages := saltedMessages(600)
	const first, hot, warm = 0, 3, 6 // hot and warm are of the same slot
	mustRead(t, x, salts[first], messages[first])
	read := func(i, times int) (g gcm) {
		for range times {
			g = mustRead(t, x, salts[i], messages[i])
		}
		return g
	}
	g := read(hot, subkeyKeepAfter+1)
	keptAs := func(i int) gcm {
		t.Helper()
		if kept := slotOf(*x.reads.slots.Load(), &salts[i]).kept.Load(); kept != nil && kept.salt == salts[i] {
			return kept.gcm
		}
		return gcm{}
	}
	if keptAs(hot) != g {
		t.Fatal("a subkey that is read often isn't kept")
	}
	for i := range salts { // the cache grows meanwhile
		read(i, 6)
		if read(hot, 1) != g {
			t.Fatal("a subkey that is read often was derived again")
		}
	}
	if keptAs(hot) != g || keptAs(first) != (gcm{}) {
		t.Error("not what is read often is kept")
	}
	w := read(warm, subkeyKeepAfter+1)
	if keptAs(warm) != w || read(hot, 1) != g {
		t.Error("what was kept before is gone at once")
	}
}

// However many read at once, and whatever the slot, each salt gets its own subkey.
func TestSubkeyCacheRaces(t *testing.T) {
	x := newXAES(t)
	salts, messages := saltedMessages(300)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rng := mrand.New(mrand.NewPCG(3, uint64(i)))
			for range 3000 {
				n := int(rng.ExpFloat64() * 20)
				if n >= len(salts) {
					continue
				}
				g, err := x.reading(&salts[n])
				if err != nil {
					t.Error(err)
					return
				}
				if text, err := g.openElsewhere(nil, messages[n], 0, salts[n][:], 0); err != nil || string(text) != "value" {
					t.Errorf("salt %x gave another subkey: %v", salts[n], err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Old rows in random order cost what the standard library allocates for an AES-GCM.
func TestColdReadAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	k := newKey(t, Default, 1, testSecret(Default))
	var rows [][]byte
	for range 4 * subkeyCacheMax {
		rows = append(rows, mustSeal(t, newKey(t, Default, 1, testSecret(Default)), []byte("value"), nil))
	}
	buf := make([]byte, 0, 100)
	read := func(row []byte) {
		for range 5 { // values of a record
			if _, err := k.Open(buf, row, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := len(rows) / 2
	for _, row := range rows[:n] { // the cache is full, of others
		read(row)
	}
	const want = 2 // cipher.Block and cipher.AEAD
	if got := testing.AllocsPerRun(n-1, func() { read(rows[n]); n++ }); got > want {
		t.Errorf("%v allocations per record of a salt that isn't at hand, want %v", got, want)
	}
}

// A wiped key holds no subkey, however many it has read with, and finds none.
func TestSubkeyCacheWipe(t *testing.T) {
	x := newXAES(t)
	salts, messages := saltedMessages(10)
	for i := range salts {
		for range subkeyKeepAfter + 1 {
			mustRead(t, x, salts[i], messages[i])
		}
	}
	x.wipe()
	if x.reads.first.Load() != nil || x.reads.slots.Load() != nil {
		t.Error("subkeys are still held")
	}
	for _, salt := range salts {
		if g, err := x.reading(&salt); err == nil || g.aead != nil {
			t.Fatal("a wiped key found a subkey")
		}
	}
}

// The memory that subkeys are derived in holds none of them afterwards.
func TestSubkeyBytesAreCleared(t *testing.T) {
	x := newXAES(t)
	for i := range 10 {
		if _, err := x.gcmOf(&[saltSize]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if key := keyRoom.Get().(*[32]byte); *key != [32]byte{} {
			t.Fatalf("%x is left", *key)
		}
	}
}
