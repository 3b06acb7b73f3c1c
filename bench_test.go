package structseal_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"testing"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/internal/ratio"
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

// impls are the suites as benchmarks name them.
var impls = []struct {
	name  string
	suite crypto.Suite
}{{"structseal", crypto.Default}, {"structseal-compact", crypto.Compact}}

// handFloor does by hand what a careful engineer would, with the bare standard library:
// AES-256-GCM, a random nonce and a 64-byte context for each value, base64url if they are
// texts, into memory that is already there. Each call is for all values.
func handFloor(b *testing.B, texts bool, values ...string) (seal, open func()) {
	gcm := floorGCM(b)
	aad := make([]byte, 64)
	n := len(values)
	plain, opened, sealed, written, read, decoded := make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
	for i, v := range values {
		plain[i], opened[i] = []byte(v), make([]byte, 0, len(v))
		sealed[i] = make([]byte, 12, 12+len(v)+16)
		nonce := make([]byte, 12, 12+len(v)+16)
		rand.Read(nonce)
		decoded[i] = gcm.Seal(nonce, nonce, plain[i], aad)
		read[i] = base64.RawURLEncoding.AppendEncode(nil, decoded[i])
		written[i] = make([]byte, len(read[i]))
	}
	seal = func() {
		for i := range plain {
			nonce := sealed[i][:12]
			rand.Read(nonce)
			ct := gcm.Seal(nonce, nonce, plain[i], aad)
			if texts {
				base64.RawURLEncoding.Encode(written[i], ct)
			}
		}
	}
	open = func() {
		for i := range plain {
			if texts {
				if _, err := base64.RawURLEncoding.Decode(decoded[i], read[i]); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := gcm.Open(opened[i], decoded[i][:12], decoded[i][12:], aad); err != nil {
				b.Fatal(err)
			}
		}
	}
	return seal, open
}

// handFormat does by hand what the default suite's format asks for, and nothing else of what
// structseal does: 32 zero bytes in front of each value, a context as long as benchCustomer's,
// one read of randomness, new memory for the texts. All keys are at hand.
func handFormat(b *testing.B, values ...string) (seal, open func()) {
	const head, overhead = 29, 77 // up to the nonce's end, and with commitment and tag
	gcm := floorGCM(b)
	aad := make([]byte, 82)
	nonces, frame := make([]byte, 12*len(values)), make([]byte, 0, 512)
	total, all := 0, 0
	for _, v := range values {
		total, all = total+len(v), all+crypto.TextLen(len(v)+overhead)
	}
	text := func(arena []byte, i int) []byte {
		v := values[i]
		frame = append(append(append(append(frame[:0], make([]byte, 17)...), nonces[12*i:12*i+12]...), make([]byte, 32)...), v...)
		return crypto.AppendText(arena, gcm.Seal(frame[:head], frame[head-12:head], frame[head:], aad))
	}
	var memory []byte // escapes, as texts do
	texts := make([]string, len(values))
	for i := range values {
		texts[i] = string(text(nil, i))
	}
	seal = func() {
		rand.Read(nonces)
		memory = make([]byte, 0, all)
		for i := range values {
			memory = text(memory, i)
		}
	}
	open = func() {
		memory = make([]byte, 0, total)
		for i := range texts {
			ct, err := crypto.ParseText(frame[:0], texts[i])
			if err != nil {
				b.Fatal(err)
			}
			out, err := gcm.Open(ct[head:head], ct[head-12:head], ct[head:], aad)
			if err != nil {
				b.Fatal(err)
			}
			memory = append(memory, out[32:]...)
		}
	}
	return seal, open
}

// BenchmarkRecord encrypts and decrypts a record of five string fields, in turns with
// handFloor; format-by-hand is handFormat.
func BenchmarkRecord(b *testing.B) {
	fields := []string{bench.Name, bench.Email, bench.Phone, bench.SSN, bench.Address}
	seal, open := handFloor(b, true, fields...)
	sealFormat, openFormat := handFormat(b, fields...)
	b.Run("op=encrypt/impl=format-by-hand", func(b *testing.B) { ratio.Bench(b, seal, sealFormat) })
	b.Run("op=decrypt/impl=format-by-hand", func(b *testing.B) { ratio.Bench(b, open, openFormat) })
	for _, impl := range impls {
		ctx, ring := b.Context(), benchRing(b, impl.suite)
		row := encrypted(b, ring, bench)
		b.Run("op=encrypt/impl="+impl.name, func(b *testing.B) {
			ratio.Bench(b, seal, func() {
				if _, err := structseal.Encrypt(ctx, ring, bench); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run("op=decrypt/impl="+impl.name, func(b *testing.B) {
			ratio.Bench(b, open, func() {
				if _, err := structseal.Decrypt(ctx, ring, row); err != nil {
					b.Fatal(err)
				}
			})
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
	seal, open := handFloor(b, false, bench.Name, bench.Email, bench.Phone, bench.SSN, bench.Address)
	v := benchScan{ID: bench.ID, Name: []byte(bench.Name), Email: []byte(bench.Email), Phone: []byte(bench.Phone), SSN: []byte(bench.SSN), Address: []byte(bench.Address)}
	for _, impl := range impls {
		ctx, ring := b.Context(), benchRing(b, impl.suite)
		row := encrypted(b, ring, v)
		var buf []byte
		reuse := structseal.AppendTo(&buf)
		b.Run("op=encrypt/impl="+impl.name, func(b *testing.B) {
			ratio.Bench(b, seal, func() {
				buf = buf[:0]
				if _, err := structseal.Encrypt(ctx, ring, v, reuse); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run("op=decrypt/impl="+impl.name, func(b *testing.B) {
			ratio.Bench(b, open, func() {
				buf = buf[:0]
				if _, err := structseal.Decrypt(ctx, ring, row, reuse); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkLarge seals one field of 64 MiB, in turns with the bare seal into new memory, or
// into memory that is used again.
func BenchmarkLarge(b *testing.B) {
	type file struct {
		_       structseal.Record `seal:"file"`
		ID      string            `seal:"id,bind"`
		Content []byte            `seal:"content"`
	}
	v := file{ID: bench.ID, Content: make([]byte, 64<<20)}
	gcm := floorGCM(b)
	seal := func(nonce []byte) {
		rand.Read(nonce)
		gcm.Seal(nonce, nonce, v.Content, nil)
	}
	size := 12 + len(v.Content) + 16
	again := make([]byte, 12, size)
	for _, impl := range impls {
		ctx, ring := b.Context(), benchRing(b, impl.suite)
		encrypt := func(opts ...structseal.Option) {
			if _, err := structseal.Encrypt(ctx, ring, v, opts...); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("memory=new/impl="+impl.name, func(b *testing.B) {
			ratio.Bench(b, func() { seal(make([]byte, 12, size)) }, func() { encrypt() })
		})
		var buf []byte
		reuse := structseal.AppendTo(&buf)
		b.Run("memory=again/impl="+impl.name, func(b *testing.B) {
			ratio.Bench(b, func() { seal(again) }, func() { buf = buf[:0]; encrypt(reuse) })
		})
	}
}
