package bench

import (
	"context"
	"crypto/rand"

	"github.com/structseal/structseal"
	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider/localkms"
)

var structsealDefault = structsealPeer("structseal", "structseal", crypto.Default, Claims{
	Row: true, Field: true, Binary: 77, Text: 3 + 118 - 11,
	Bound:    "ring, record, row and field, from the tags",
	Commits:  "yes",
	Messages: "2^55, no counting",
})

var structsealCompact = structsealPeer("structseal-compact", "structseal, compact suite", crypto.Compact, Claims{
	Row: true, Field: true, Binary: 33, Text: 3 + 59 - 11,
	Bound:    "ring, record, row and field, from the tags",
	Commits:  noCommit,
	Messages: "2^32, counted by the ring",
})

var structsealSealer = Peer{
	Name:  "structseal-sealer",
	Title: "structseal, crypto.Sealer",
	Setup: "Default suite; randomness read once for 16 values.",
	Claims: Claims{
		Row: true, Field: true, Binary: 77,
		Bound: byHand, Commits: "yes", Messages: "2^55, no counting",
	},
	Bytes: func() (Bytes, error) {
		k, err := newKey(crypto.Default)
		return &sealer{key: k, left: 0}, err
	},
}

func structsealPeer(name, title string, suite crypto.Suite, claims Claims) Peer {
	return Peer{
		Name:   name,
		Title:  title,
		Setup:  "Suite " + suite.String() + "; records: Encrypt and Decrypt on a ring in memory; bytes: Seal and Open of crypto.Key, into memory that is already there.",
		Claims: claims,
		Text:   func() (Rows[string], error) { return newRing[string](suite) },
		Binary: func() (Rows[[]byte], error) { return newRing[[]byte](suite) },
		Bytes: func() (Bytes, error) {
			k, err := newKey(suite)
			return k, err
		},
	}
}

type ring[T Value] struct {
	ctx  context.Context
	ring *keyring.Keyring
}

func newRing[T Value](suite crypto.Suite) (ring[T], error) {
	ctx := context.Background()
	kr, _, err := keyring.Create(ctx, "bench", keyring.NewMemoryStore(), localkms.NewRandom(), &keyring.CreateOptions{Suite: suite})
	return ring[T]{ctx, kr}, err
}

func (r ring[T]) Seal(v Row[T]) (Row[T], error) { return structseal.Encrypt(r.ctx, r.ring, v) }
func (r ring[T]) Open(v Row[T]) (Row[T], error) { return structseal.Decrypt(r.ctx, r.ring, v) }
func (r ring[T]) Close() error                  { return r.ring.Close() }

func newKey(suite crypto.Suite) (*crypto.Key, error) {
	secret := make([]byte, suite.KeySize())
	rand.Read(secret)
	return crypto.NewKey(suite, 1, secret)
}

type sealer struct {
	key    *crypto.Key
	sealer crypto.Sealer
	left   int
}

func (s *sealer) Seal(dst, plaintext, place []byte) ([]byte, error) {
	if s.left == 0 {
		s.left = 16
		if err := s.sealer.Reset(s.key, s.left); err != nil {
			return nil, err
		}
	}
	s.left--
	return s.sealer.Seal(dst, plaintext, place)
}

func (s *sealer) Open(dst, ciphertext, place []byte) ([]byte, error) {
	return s.key.Open(dst, ciphertext, place)
}
