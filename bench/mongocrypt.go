//go:build cse

package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
	"go.mongodb.org/mongo-driver/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/x/mongo/driver"
	"go.mongodb.org/mongo-driver/x/mongo/driver/mongocrypt"
	"go.mongodb.org/mongo-driver/x/mongo/driver/mongocrypt/options"
)

// WithMongocrypt says whether libmongocrypt was built in.
const WithMongocrypt = true

var mongocryptPeer = Peer{
	Name:   "libmongocrypt",
	Title:  mongocryptTitle,
	Module: "go.mongodb.org/mongo-driver",
	Setup:  "libmongocrypt " + mongocrypt.Version() + ", explicit encryption, AEAD_AES_256_CBC_HMAC_SHA_512-Random, local KMS, key vault in memory. Plaintexts are BSON. Version 2 of the driver wants a newer libmongocrypt than Debian 12 has.",
	Claims: Claims{
		Binary: 87, Text: 131 - 11,
		Bound:   "key id, algorithm and BSON type",
		Commits: "no: to the half of the key that authenticates", Messages: "2^48 blocks, not counted",
	},
	Text: func() (Rows[string], error) {
		m, err := newMongocrypt()
		return &each[string]{
			seal: func(v string, _ []byte) (string, error) {
				ct, err := m.seal(bsoncore.Value{Type: bson.TypeString, Data: bsoncore.AppendString(nil, v)})
				return base64.RawURLEncoding.EncodeToString(ct), err
			},
			open: func(v string, _ []byte) (string, error) {
				ct, err := base64.RawURLEncoding.DecodeString(v)
				if err != nil {
					return "", err
				}
				value, err := m.open(ct)
				if err != nil {
					return "", err
				}
				text, ok := value.StringValueOK()
				if !ok {
					return "", fmt.Errorf("bench: %s instead of a string", value.Type)
				}
				return text, nil
			},
		}, err
	},
	Binary: func() (Rows[[]byte], error) {
		m, err := newMongocrypt()
		return binaryRows(m), err
	},
	Bytes: func() (Bytes, error) { return newMongocrypt() },
}

type mongocryptBytes struct {
	ctx   context.Context
	crypt driver.Crypt
	opts  *options.ExplicitEncryptionOptions
}

func newMongocrypt() (*mongocryptBytes, error) {
	kek := make([]byte, 96)
	rand.Read(kek)
	providers := bsoncore.NewDocumentBuilder().
		AppendDocument("local", bsoncore.NewDocumentBuilder().AppendBinary("key", 0, kek).Build()).Build()
	lib, err := mongocrypt.NewMongoCrypt(options.MongoCrypt().SetKmsProviders(providers).SetCryptSharedLibDisabled(true))
	if err != nil {
		return nil, err
	}
	// The library asks for the key document when its cache of a minute has none.
	var vault bsoncore.Document
	m := &mongocryptBytes{ctx: context.Background()}
	m.crypt = driver.NewCrypt(&driver.CryptOptions{
		MongoCrypt: lib,
		KeyFn: func(context.Context, bsoncore.Document) ([]bsoncore.Document, error) {
			return []bsoncore.Document{vault}, nil
		},
	})
	if vault, err = m.crypt.CreateDataKey(m.ctx, "local", options.DataKey()); err != nil {
		return nil, err
	}
	subtype, id, ok := vault.Lookup("_id").BinaryOK()
	if !ok {
		return nil, fmt.Errorf("bench: a key document without an id")
	}
	m.opts = options.ExplicitEncryption().
		SetKeyID(primitive.Binary{Subtype: subtype, Data: id}).
		SetAlgorithm("AEAD_AES_256_CBC_HMAC_SHA_512-Random")
	return m, nil
}

func (m *mongocryptBytes) seal(v bsoncore.Value) ([]byte, error) {
	_, ct, err := m.crypt.EncryptExplicit(m.ctx, v, m.opts)
	return ct, err
}

func (m *mongocryptBytes) open(ciphertext []byte) (bsoncore.Value, error) {
	return m.crypt.DecryptExplicit(m.ctx, 6, ciphertext)
}

func (m *mongocryptBytes) Seal(_, plaintext, _ []byte) ([]byte, error) {
	return m.seal(bsoncore.Value{Type: bson.TypeBinary, Data: bsoncore.AppendBinary(nil, 0, plaintext)})
}

func (m *mongocryptBytes) Open(_, ciphertext, _ []byte) ([]byte, error) {
	v, err := m.open(ciphertext)
	if err != nil {
		return nil, err
	}
	_, b, ok := v.BinaryOK()
	if !ok {
		return nil, fmt.Errorf("bench: %s instead of bytes", v.Type)
	}
	return b, nil
}

func (m *mongocryptBytes) Close() error {
	m.crypt.Close()
	return nil
}
