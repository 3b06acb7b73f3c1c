package structseal_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

type benchCustomer struct {
	_       structseal.Record `seal:"customer"`
	ID      string            `seal:"id,bind"`
	Name    string            `seal:"name"`
	Email   string            `seal:"email"`
	Phone   string            `seal:"phone"`
	SSN     string            `seal:"ssn"`
	Address string            `seal:"address"`
}

var bench = benchCustomer{
	ID:      "01890a5d-ac96-774b-bcce-b302099a8057",
	Name:    "Ada Lovelace-Byron",                               // 18 bytes
	Email:   "ada.lovelace@example.net",                         // 24
	Phone:   "+4420794600100",                                   // 14
	SSN:     "123-45-6789",                                      // 11
	Address: "12 St James's Square, London SW1Y 4LB, U Kingdom", // 48
}

// benchRing makes a ring whose data keys have the suite.
func benchRing(b testing.TB, suite crypto.Suite) *keyring.Keyring {
	b.Helper()
	kms := localkms.NewRandom()
	ring, _, err := keyring.Create(b.Context(), "bench", keyring.NewMemoryStore(), kms, &keyring.CreateOptions{Suite: suite})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ring.Close() })
	return ring
}

// floorGCM is what the floors seal with.
func floorGCM(b *testing.B) cipher.AEAD {
	b.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		b.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		b.Skip("the floor needs AES-GCM with nonces of its own: ", err)
	}
	return gcm
}

// BenchmarkRecord encrypts and decrypts a record of five string fields. floor is
// the bare standard library doing by hand what a careful engineer would: a
// random nonce and a 64-byte context each, into memory that is already there.
func BenchmarkRecord(b *testing.B) {
	fields := [...]string{bench.Name, bench.Email, bench.Phone, bench.SSN, bench.Address}
	gcm := floorGCM(b)
	aad := make([]byte, 64)

	b.Run("op=encrypt/impl=floor", func(b *testing.B) {
		var plain, sealed, text [5][]byte
		for i, f := range fields {
			plain[i] = []byte(f)
			sealed[i] = make([]byte, 12, 12+len(f)+16)
			text[i] = make([]byte, base64.RawURLEncoding.EncodedLen(12+len(f)+16))
		}
		b.ReportAllocs()
		for b.Loop() {
			for i := range fields {
				nonce := sealed[i][:12]
				rand.Read(nonce)
				ct := gcm.Seal(nonce, nonce, plain[i], aad)
				base64.RawURLEncoding.Encode(text[i], ct)
			}
		}
	})
	b.Run("op=decrypt/impl=floor", func(b *testing.B) {
		var plain, sealed, text [5][]byte
		for i, f := range fields {
			nonce := make([]byte, 12, 12+len(f)+16)
			rand.Read(nonce)
			ct := gcm.Seal(nonce, nonce, []byte(f), aad)
			text[i] = base64.RawURLEncoding.AppendEncode(nil, ct)
			sealed[i] = make([]byte, len(ct))
			plain[i] = make([]byte, 0, len(f))
		}
		b.ReportAllocs()
		for b.Loop() {
			for i := range fields {
				if _, err := base64.RawURLEncoding.Decode(sealed[i], text[i]); err != nil {
					b.Fatal(err)
				}
				if _, err := gcm.Open(plain[i], sealed[i][:12], sealed[i][12:], aad); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	for _, impl := range []struct {
		name  string
		suite crypto.Suite
	}{{"structseal", crypto.Default}, {"structseal-compact", crypto.Compact}} {
		ring := benchRing(b, impl.suite)
		row, err := structseal.Encrypt(b.Context(), ring, bench)
		if err != nil {
			b.Fatal(err)
		}
		ctx := b.Context()
		b.Run("op=encrypt/impl="+impl.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := structseal.Encrypt(ctx, ring, bench); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("op=decrypt/impl="+impl.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := structseal.Decrypt(ctx, ring, row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchScan has the values of benchCustomer as bytes.
type benchScan struct {
	_       structseal.Record `seal:"scan"`
	ID      string            `seal:"id,bind"`
	Name    []byte            `seal:"name"`
	Email   []byte            `seal:"email"`
	Phone   []byte            `seal:"phone"`
	SSN     []byte            `seal:"ssn"`
	Address []byte            `seal:"address"`
}

// BenchmarkBytesRecord is BenchmarkRecord for five []byte fields in a buffer that is used
// again and again: no base64, no allocation.
func BenchmarkBytesRecord(b *testing.B) {
	v := benchScan{ID: bench.ID, Name: []byte(bench.Name), Email: []byte(bench.Email), Phone: []byte(bench.Phone), SSN: []byte(bench.SSN), Address: []byte(bench.Address)}
	fields := [...][]byte{v.Name, v.Email, v.Phone, v.SSN, v.Address}
	gcm := floorGCM(b)
	aad := make([]byte, 64)
	var plain, sealed [5][]byte
	for i, f := range fields {
		plain[i] = make([]byte, 0, len(f))
		sealed[i] = make([]byte, 12, 12+len(f)+16)
	}
	b.Run("op=encrypt/impl=floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for i, f := range fields {
				rand.Read(sealed[i][:12])
				gcm.Seal(sealed[i][:12], sealed[i][:12], f, aad)
			}
		}
	})
	b.Run("op=decrypt/impl=floor", func(b *testing.B) {
		for i, f := range fields {
			sealed[i] = gcm.Seal(sealed[i][:12], sealed[i][:12], f, aad)
		}
		b.ReportAllocs()
		for b.Loop() {
			for i := range fields {
				if _, err := gcm.Open(plain[i], sealed[i][:12], sealed[i][12:], aad); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	for _, impl := range []struct {
		name  string
		suite crypto.Suite
	}{{"structseal", crypto.Default}, {"structseal-compact", crypto.Compact}} {
		ctx, ring := b.Context(), benchRing(b, impl.suite)
		row, err := structseal.Encrypt(ctx, ring, v)
		if err != nil {
			b.Fatal(err)
		}
		var buf []byte
		reuse := structseal.AppendTo(&buf)
		b.Run("op=encrypt/impl="+impl.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buf = buf[:0]
				if _, err := structseal.Encrypt(ctx, ring, v, reuse); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("op=decrypt/impl="+impl.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buf = buf[:0]
				if _, err := structseal.Decrypt(ctx, ring, row, reuse); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLarge seals one field of 64 MiB. floor is the bare seal into new memory.
func BenchmarkLarge(b *testing.B) {
	type file struct {
		_       structseal.Record `seal:"file"`
		ID      string            `seal:"id,bind"`
		Content []byte            `seal:"content"`
	}
	v := file{ID: bench.ID, Content: make([]byte, 64<<20)}
	gcm := floorGCM(b)
	b.Run("impl=floor", func(b *testing.B) {
		b.SetBytes(int64(len(v.Content)))
		b.ReportAllocs()
		for b.Loop() {
			nonce := make([]byte, 12, 12+len(v.Content)+16)
			rand.Read(nonce)
			gcm.Seal(nonce, nonce, v.Content, nil)
		}
	})
	for _, suite := range []crypto.Suite{crypto.Default, crypto.Compact} {
		ring := benchRing(b, suite)
		b.Run("impl=structseal/suite="+suite.String(), func(b *testing.B) {
			b.SetBytes(int64(len(v.Content)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := structseal.Encrypt(b.Context(), ring, v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
