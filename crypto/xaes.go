package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A writer keeps a salt and its subkey for this many messages and this
	// long. With q messages a salt and N in all, two messages share subkey and
	// nonce with a chance of about N(q-1)/2^97 + N^2/2^193: 2^55 messages at
	// 2^-32. docs/format.md has the derivation.
	saltMessages = 1024
	saltAge      = time.Second
	// The timer that ends a salt has this long to run late.
	saltSlack = saltAge / 10
)

// xaes derives subkeys as XAES-256-GCM does (C2SP XAES-256-GCM; NIST SP
// 800-108r1 KDF in counter mode with CMAC).
type xaes struct {
	// mu keeps wipe from clearing k1 under a derivation: what is sealed with the
	// subkey of a half-cleared key is lost.
	mu    sync.RWMutex
	block cipher.Block // nil after wipe
	k1    [aes.BlockSize]byte

	writing atomic.Pointer[writer]
	wrote   atomic.Bool // some record
	reads   subkeyCache
}

// A subkey is the AES-GCM of one salt.
type subkey struct {
	salt [saltSize]byte
	gcm
}

// A writer is a subkey that seals new messages.
type writer struct {
	*subkey
	used atomic.Uint32 // messages reserved so far
	// old is set by a timer: asking the clock for every value would cost as much
	// as a tenth of sealing it. Timers run on the monotonic clock: steps of the
	// wall clock don't prolong a salt.
	old *atomic.Bool
	// made is when, if there is no timer.
	made time.Time
}

// fresh reports whether w may go on sealing.
func (w *writer) fresh() bool {
	if w.old == nil {
		return time.Since(w.made) < saltAge-saltSlack
	}
	return !w.old.Load()
}

// retire ends w for those who hold a reservation, too.
func (w *writer) retire() {
	if w != nil {
		w.old.Store(true)
	}
}

func (x *xaes) init(key []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("crypto: %w", err)
	}
	x.block = block
	block.Encrypt(x.k1[:], x.k1[:])
	// Double in GF(2^128), in constant time.
	msb := byte(0)
	for i := len(x.k1) - 1; i >= 0; i-- {
		b := x.k1[i]
		x.k1[i] = b<<1 | msb
		msb = b >> 7
	}
	x.k1[len(x.k1)-1] ^= msb * 0x87
	return nil
}

// derive computes the AES-GCM key of a salt into key.
func (x *xaes) derive(key *[32]byte, salt *[saltSize]byte) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.block == nil {
		return fmt.Errorf("crypto: %w", ErrWiped)
	}
	copy(key[:], []byte{0, 1, 'X', 0})
	copy(key[4:], salt[:])
	copy(key[16:], []byte{0, 2, 'X', 0})
	copy(key[20:], salt[:])
	subtle.XORBytes(key[:16], key[:16], x.k1[:])
	subtle.XORBytes(key[16:], key[16:], x.k1[:])
	x.block.Encrypt(key[:16], key[:16])
	x.block.Encrypt(key[16:], key[16:])
	return nil
}

// keyRoom is memory for the keys of subkeys, cleared: a derivation leaves no other
// trace of them, and no garbage.
var keyRoom = sync.Pool{New: func() any { return new([32]byte) }}

// gcmOf returns the AES-GCM of a salt.
func (x *xaes) gcmOf(salt *[saltSize]byte) (g gcm, err error) {
	key := keyRoom.Get().(*[32]byte)
	defer keyRoom.Put(key)
	defer clear(key[:])
	if err := x.derive(key, salt); err != nil {
		return gcm{}, err
	}
	err = g.init(key[:])
	return g, err
}

// reading returns the AES-GCM of a salt that a ciphertext names.
func (x *xaes) reading(salt *[saltSize]byte) (gcm, error) {
	if w := x.writing.Load(); w != nil && w.salt == *salt {
		return w.gcm, nil // what was just written is often read next
	}
	return x.reads.get(salt, x)
}

// reserve returns the writer for n (at most saltMessages) new messages.
func (x *xaes) reserve(n uint32) (*writer, error) {
	if w := x.writing.Load(); w != nil && w.used.Add(n) <= saltMessages && w.fresh() {
		return w, nil
	}
	// Racing callers each make a writer of their own; the last one is kept.
	var salt [saltSize]byte
	rand.Read(salt[:])
	g, err := x.gcmOf(&salt)
	if err != nil {
		return nil, err
	}
	s := &subkey{salt, g}
	if !x.wrote.Swap(true) {
		// Most keys of subjects seal one record and no more: no timer for them. The
		// salt ends with the reservation.
		x.reads.first.CompareAndSwap(nil, s) // what was just written is often read next
		return &writer{subkey: s, made: time.Now()}, nil
	}
	w := &writer{subkey: s, old: new(atomic.Bool)}
	w.used.Store(n)
	// The timer knows the flag alone: a busy key makes many writers a second, and
	// must not keep them all. It is never stopped: a timer of a synctest bubble
	// must not be touched from outside, and a key may be used on both sides.
	old := w.old
	time.AfterFunc(saltAge-saltSlack, func() { old.Store(true) })
	x.writing.Swap(w).retire()
	return w, nil
}

func (x *xaes) wipe() {
	x.mu.Lock()
	clear(x.k1[:])
	x.block = nil
	x.mu.Unlock()
	x.writing.Swap(nil).retire()
	x.reads.drop()
}
