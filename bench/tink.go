package bench

import (
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const tinkModule = "github.com/tink-crypto/tink-go/v2"

var tinkAES256GCM = made(Peer{
	Name:   "tink-aes256gcm",
	Title:  "Tink, AES256-GCM",
	Module: tinkModule,
	Setup:  "A keyset of one key.",
	Claims: Claims{
		Row: true, Field: true, Binary: 5 + 12 + 16, Text: 59 - 11,
		Bound: byHand, Commits: noCommit, Messages: uncounted,
	},
}, func() (Bytes, error) { return newTink(aead.AES256GCMKeyTemplate()) })

var tinkXAES256GCM = made(Peer{
	Name:   "tink-xaes256gcm",
	Title:  "Tink, XAES-256-GCM",
	Module: tinkModule,
	Setup:  "A keyset of one key, 192-bit nonces.",
	Claims: Claims{
		Row: true, Field: true, Binary: 5 + 24 + 16, Text: 75 - 11,
		Bound: byHand, Commits: noCommit, Messages: "2^80, no counting",
	},
}, func() (Bytes, error) { return newTink(aead.XAES256GCM192BitNonceKeyTemplate()) })

var tinkEnvelope = made(Peer{
	Name:   "tink-envelope",
	Title:  "Tink, KMSEnvelopeAEAD",
	Module: tinkModule,
	Setup:  "The KMS is a keyset in memory: no call to a KMS is in the figures, though each value needs one. Keys of values: AES256-GCM.",
	Claims: Claims{
		Row: true, Field: true, Binary: 4 + 67 + 28, Text: 147 - 11,
		Bound: byHand, Commits: noCommit, Messages: "1, a key for each value; the KMS has its own limit",
	},
}, func() (Bytes, error) {
	kek, err := newTink(aead.AES256GCMKeyTemplate())
	return tinkBytes{aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), kek.AEAD)}, err
})

type tinkBytes struct{ tink.AEAD }

func newTink(template *tinkpb.KeyTemplate) (tinkBytes, error) {
	handle, err := keyset.NewHandle(template)
	if err != nil {
		return tinkBytes{}, err
	}
	a, err := aead.New(handle)
	return tinkBytes{a}, err
}

func (t tinkBytes) Seal(_, plaintext, place []byte) ([]byte, error) {
	return t.Encrypt(plaintext, place)
}

func (t tinkBytes) Open(_, ciphertext, place []byte) ([]byte, error) {
	return t.Decrypt(ciphertext, place)
}
