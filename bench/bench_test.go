package bench

import (
	"crypto/rand"
	"fmt"
	"io"
	"testing"
)

// BenchmarkRecord encrypts and decrypts a record of five string fields.
func BenchmarkRecord(b *testing.B) {
	for _, p := range Peers() {
		records(b, p, p.Text)
	}
}

// BenchmarkBinaryRecord is BenchmarkRecord with fields of bytes.
func BenchmarkBinaryRecord(b *testing.B) {
	for _, p := range Peers() {
		records(b, p, p.Binary)
	}
}

func records[T Value](b *testing.B, p Peer, open func() (Rows[T], error)) {
	if open == nil {
		return
	}
	rows, err := open()
	if err != nil {
		b.Fatalf("%s: %v", p.Name, err)
	}
	defer closeIt(b, rows)
	plain := Example[T]()
	sealed, err := rows.Seal(plain)
	if err != nil {
		b.Fatalf("%s: %v", p.Name, err)
	}
	b.Run("op=encrypt/impl="+p.Name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := rows.Seal(plain); err != nil {
				b.Fatal(err)
			}
		}
	})
	// The results of the floor live until its next call.
	if sealed, err = rows.Seal(plain); err != nil {
		b.Fatal(err)
	}
	b.Run("op=decrypt/impl="+p.Name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := rows.Open(sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBytes encrypts and decrypts bytes, into memory that is already there where the
// peer can.
func BenchmarkBytes(b *testing.B) {
	for _, p := range Peers() {
		if p.Bytes == nil {
			continue
		}
		impl, err := p.Bytes()
		if err != nil {
			b.Fatalf("%s: %v", p.Name, err)
		}
		for _, size := range Sizes {
			bytes(b, p, impl, size)
		}
		closeIt(b, impl)
	}
}

func bytes(b *testing.B, p Peer, impl Bytes, size int) {
	var where place
	plain := make([]byte, size)
	rand.Read(plain)
	place := where.of(Example[string]().ID, labels[0])
	dst := make([]byte, 0, size+128)
	ct, err := impl.Seal(nil, plain, place)
	if err != nil {
		b.Fatalf("%s: %v", p.Name, err)
	}
	b.Run(fmt.Sprintf("size=%d/op=encrypt/impl=%s", size, p.Name), func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(size))
		for b.Loop() {
			if _, err := impl.Seal(dst, plain, place); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(fmt.Sprintf("size=%d/op=decrypt/impl=%s", size, p.Name), func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(size))
		for b.Loop() {
			if _, err := impl.Open(dst, ct, place); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func closeIt(tb testing.TB, v any) {
	if c, ok := v.(io.Closer); ok {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	}
}
