package stores

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	mrand "math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

// person is the record of the root package's benchmarks, with keys of its own.
type person struct {
	_       structseal.Record `seal:"customer"`
	ID      string            `seal:"id,bind,subject"`
	Name    string            `seal:"name"`
	Email   string            `seal:"email"`
	Phone   string            `seal:"phone"`
	SSN     string            `seal:"ssn"`
	Address string            `seal:"address"`
}

func personOf(i int) person {
	return person{
		ID:      fmt.Sprintf("01890a5d-ac96-774b-bcce-b302%08d", i),
		Name:    "Ada Lovelace-Byron",
		Email:   "ada.lovelace@example.net",
		Phone:   "+4420794600100",
		SSN:     "123-45-6789",
		Address: "12 St James's Square, London SW1Y 4LB, U Kingdom",
	}
}

// timedStore adds up the time that its calls take.
type timedStore struct {
	*sqlstore.Store
	spent atomic.Int64 // ns
}

func (s *timedStore) LoadSubjects(ctx context.Context, name string, subjects []keyring.SubjectHash) (map[keyring.SubjectHash]keyring.Record, error) {
	start := time.Now()
	defer func() { s.spent.Add(int64(time.Since(start))) }()
	return s.Store.LoadSubjects(ctx, name, subjects)
}

// populated is a ring in SQLite with so many subjects.
func populated(tb testing.TB, subjects int) (store *timedStore, open func(*keyring.OpenOptions) *keyring.Keyring) {
	tb.Helper()
	ctx := tb.Context()
	s := sqlite(tb).with("_pragma=cache_size(-200000)").migrated(tb)
	db := s.open(tb)
	db.SetMaxOpenConns(4)
	store = &timedStore{Store: on(tb, db, s.dialect)}
	kms := localkms.NewRandom()
	ring, pin, err := keyring.Create(ctx, "app", store, kms, nil)
	if err != nil {
		tb.Fatal(err)
	}
	ring.Close()
	for at := 0; at < subjects; {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			tb.Fatal(err)
		}
		ring, err := keyring.Open(ctx, "app", store.WithTx(tx), kms, pin, nil)
		if err != nil {
			tb.Fatal(err)
		}
		for end := min(at+20_000, subjects); at < end; {
			var list []keyring.Subject
			for ; len(list) < keyring.MaxSubjectBatch && at < end; at++ {
				list = append(list, keyring.Subject{ID: personOf(at).ID})
			}
			if err := ring.WarmSubjects(ctx, list, true); err != nil {
				tb.Fatal(err)
			}
		}
		ring.Close()
		if err := tx.Commit(); err != nil {
			tb.Fatal(err)
		}
	}
	return store, func(o *keyring.OpenOptions) *keyring.Keyring {
		ring, err := keyring.Open(ctx, "app", store, kms, pin, o)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { ring.Close() })
		return ring
	}
}

// BenchmarkKeyring/op=subject-cold encrypts and decrypts records of five fields, a
// page of 500 at a time, each of a subject that isn't at hand, in random order out
// of 1,000,000 in SQLite (20,000 unless STRUCTSEAL_LONG=1). Per record: own-ns/op is
// what isn't the store's, store-ns/op what is.
//
// impl=floor is the bare standard library doing what a careful engineer would by
// hand for the same record, with the wrapped key at hand: a keyed hash of the
// subject, one AES-GCM open to unwrap its key, its AES-GCM, and then the floor of
// the root package's BenchmarkRecord.
func BenchmarkKeyring(b *testing.B) {
	subjects, sample := 20_000, 10_000
	if long {
		subjects, sample = 1_000_000, 50_000
	}
	const page = 500
	ctx := b.Context()
	b.Run("op=subject-cold/work=encrypt/impl=floor", func(b *testing.B) { floor(b, true) })
	b.Run("op=subject-cold/work=decrypt/impl=floor", func(b *testing.B) { floor(b, false) })
	store, open := populated(b, subjects)
	rng := mrand.New(mrand.NewPCG(1, 2))
	var people []person
	for _, i := range rng.Perm(subjects)[:sample] {
		people = append(people, personOf(i))
	}
	rows, err := structseal.EncryptAll(ctx, open(nil), people)
	if err != nil {
		b.Fatal(err)
	}
	ring := open(&keyring.OpenOptions{SubjectCache: 2 * page})
	for _, work := range []string{"encrypt", "decrypt"} {
		b.Run("op=subject-cold/work="+work+"/impl=structseal", func(b *testing.B) {
			b.ReportAllocs()
			before := store.spent.Load()
			n := 0
			for b.Loop() {
				if n%page == 0 {
					at := n % sample
					var err error
					if work == "encrypt" {
						_, err = structseal.EncryptAll(ctx, ring, people[at:at+page])
					} else {
						_, err = structseal.DecryptAll(ctx, ring, rows[at:at+page])
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				n++
			}
			// Whole pages, whatever n is.
			records := float64((n + page - 1) / page * page)
			spent := float64(store.spent.Load() - before)
			b.ReportMetric(spent/records, "store-ns/op")
			b.ReportMetric((float64(b.Elapsed())-spent)/records, "own-ns/op")
		})
	}
}

func floor(b *testing.B, encrypt bool) {
	gcmOf := func(key []byte) cipher.AEAD {
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
	random := func(n int) []byte {
		out := make([]byte, n)
		rand.Read(out)
		return out
	}
	const subjects = 1000
	p := personOf(0)
	fields := [...]string{p.Name, p.Email, p.Phone, p.SSN, p.Address}
	aad := make([]byte, 64)
	kek, mac := gcmOf(random(32)), hmac.New(sha256.New, random(32))
	hash := func(id string) (h [32]byte) {
		mac.Reset()
		mac.Write([]byte(id))
		mac.Sum(h[:0])
		return h
	}
	wrapped := make(map[[32]byte][]byte)
	text := make([][5][]byte, subjects)
	ids := make([]string, subjects)
	for i := range subjects {
		ids[i] = personOf(i).ID
		key, nonce := random(32), random(12)
		wrapped[hash(ids[i])] = kek.Seal(nonce, nonce, key, aad)
		gcm := gcmOf(key)
		for j, f := range fields {
			nonce := random(12)
			text[i][j] = base64.RawURLEncoding.AppendEncode(nil, gcm.Seal(nonce, nonce, []byte(f), aad))
		}
	}
	sealed, plain := make([]byte, 128), make([]byte, 0, 128)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 1) % subjects
		w := wrapped[hash(ids[i])]
		key, err := kek.Open(nil, w[:12], w[12:], aad)
		if err != nil {
			b.Fatal(err)
		}
		gcm := gcmOf(key)
		for j, f := range fields {
			if encrypt {
				nonce := sealed[:12]
				rand.Read(nonce)
				ct := gcm.Seal(nonce, nonce, append(plain[:0], f...), aad)
				base64.RawURLEncoding.Encode(text[i][j], ct)
				continue
			}
			n, err := base64.RawURLEncoding.Decode(sealed, text[i][j])
			if err != nil {
				b.Fatal(err)
			}
			if _, err := gcm.Open(plain, sealed[:12], sealed[12:n], aad); err != nil {
				b.Fatal(err)
			}
		}
	}
}
