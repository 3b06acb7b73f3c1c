package bench

import (
	"crypto/rand"
	"fmt"
	"io"
	"testing"

	"github.com/structseal/structseal/internal/ratio"
)

// BenchmarkRecord encrypts and decrypts a record of five string fields. Each peer runs in
// turns with structseal: the ratio doesn't depend on what else the machine does.
func BenchmarkRecord(b *testing.B) {
	own := open(b, ownPeer(b).Text)
	for _, p := range Peers() {
		records(b, p, own, p.Text)
	}
}

// BenchmarkBinaryRecord is BenchmarkRecord with fields of bytes.
func BenchmarkBinaryRecord(b *testing.B) {
	own := open(b, ownPeer(b).Binary)
	for _, p := range Peers() {
		records(b, p, own, p.Binary)
	}
}

// ownPeer returns structseal among the peers.
func ownPeer(b *testing.B) Peer {
	for _, p := range Peers() {
		if p.Name == "structseal" {
			return p
		}
	}
	b.Fatal("structseal isn't among the peers")
	return Peer{}
}

func open[T any](b *testing.B, f func() (T, error)) T {
	v, err := f()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { closeIt(b, v) })
	return v
}

// try makes a call for turns.
func try[T any](b *testing.B, f func() (T, error)) func() {
	return func() {
		if _, err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

func records[T Value](b *testing.B, p Peer, own Rows[T], peer func() (Rows[T], error)) {
	if peer == nil {
		return
	}
	rows := open(b, peer)
	plain := Example[T]()
	sealed := func(rows Rows[T]) Row[T] {
		row, err := rows.Seal(plain)
		if err != nil {
			b.Fatalf("%s: %v", p.Name, err)
		}
		return row
	}
	b.Run("op=encrypt/impl="+p.Name, func(b *testing.B) {
		ratio.Of(b, "structseal",
			try(b, func() (Row[T], error) { return own.Seal(plain) }),
			try(b, func() (Row[T], error) { return rows.Seal(plain) }))
	})
	// The results of the floor live until its next call.
	ours, theirs := sealed(own), sealed(rows)
	b.Run("op=decrypt/impl="+p.Name, func(b *testing.B) {
		ratio.Of(b, "structseal",
			try(b, func() (Row[T], error) { return own.Open(ours) }),
			try(b, func() (Row[T], error) { return rows.Open(theirs) }))
	})
}

// BenchmarkBytes encrypts and decrypts bytes, into memory that is already there where the
// peer can.
func BenchmarkBytes(b *testing.B) {
	own := open(b, ownPeer(b).Bytes)
	for _, p := range Peers() {
		if p.Bytes == nil {
			continue
		}
		impl := open(b, p.Bytes)
		for _, size := range Sizes {
			bytes(b, p, own, impl, size)
		}
	}
}

func bytes(b *testing.B, p Peer, own, impl Bytes, size int) {
	var where place
	plain := make([]byte, size)
	rand.Read(plain)
	place := where.of(Example[string]().ID, labels[0])
	dst := make([]byte, 0, size+128)
	sealed := func(impl Bytes) []byte {
		ct, err := impl.Seal(nil, plain, place)
		if err != nil {
			b.Fatalf("%s: %v", p.Name, err)
		}
		return ct
	}
	ours, theirs := sealed(own), sealed(impl)
	b.Run(fmt.Sprintf("size=%d/op=encrypt/impl=%s", size, p.Name), func(b *testing.B) {
		ratio.Of(b, "structseal",
			try(b, func() ([]byte, error) { return own.Seal(dst, plain, place) }),
			try(b, func() ([]byte, error) { return impl.Seal(dst, plain, place) }))
	})
	b.Run(fmt.Sprintf("size=%d/op=decrypt/impl=%s", size, p.Name), func(b *testing.B) {
		ratio.Of(b, "structseal",
			try(b, func() ([]byte, error) { return own.Open(dst, ours, place) }),
			try(b, func() ([]byte, error) { return impl.Open(dst, theirs, place) }))
	})
}

func closeIt(tb testing.TB, v any) {
	if c, ok := v.(io.Closer); ok {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	}
}
