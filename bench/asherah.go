package bench

import (
	"context"
	"encoding/json"

	"github.com/godaddy/asherah/go/appencryption"
	"github.com/godaddy/asherah/go/appencryption/pkg/crypto/aead"
	"github.com/godaddy/asherah/go/appencryption/pkg/kms"
	"github.com/godaddy/asherah/go/appencryption/pkg/persistence"
)

var asherah = Peer{
	Name:   "asherah",
	Title:  "Asherah",
	Module: "github.com/godaddy/asherah/go/appencryption",
	Setup:  "Static KMS, metastore in memory, sessions and keys cached, one partition. What is stored is the DataRowRecord as JSON.",
	Claims: Claims{
		Binary: asherahGrowth, Text: asherahGrowth,
		Bound: "the partition, by its key", Commits: noCommit,
		Messages: "1, a key for each value; 2^32 such keys under the partition's, not counted, 90 days",
	},
	Bytes: func() (Bytes, error) { return newAsherah() },
	Binary: func() (Rows[[]byte], error) {
		b, err := newAsherah()
		return binaryRows(b), err
	},
	Text: func() (Rows[string], error) {
		b, err := newAsherah()
		return &each[string]{ // JSON is text already
			seal: func(v string, place []byte) (string, error) {
				ct, err := b.Seal(nil, []byte(v), place)
				return string(ct), err
			},
			open: func(v string, place []byte) (string, error) {
				pt, err := b.Open(nil, []byte(v), place)
				return string(pt), err
			},
		}, err
	},
}

const asherahGrowth = 242 // with the names of partition, service and product below

type asherahBytes struct {
	ctx     context.Context
	kms     *kms.StaticKMS
	factory *appencryption.SessionFactory
}

func newAsherah() (*asherahBytes, error) {
	cipher := aead.NewAES256GCM()
	static, err := kms.NewStatic("a static key, which has 32 bytes", cipher)
	if err != nil {
		return nil, err
	}
	config := &appencryption.Config{
		Service: "bench",
		Product: "crm",
		Policy:  appencryption.NewCryptoPolicy(appencryption.WithSessionCache()),
	}
	factory := appencryption.NewSessionFactory(config, persistence.NewMemoryMetastore(), static, cipher, appencryption.WithMetrics(false))
	return &asherahBytes{context.Background(), static, factory}, nil
}

func (a *asherahBytes) Seal(_, plaintext, _ []byte) ([]byte, error) {
	session, err := a.factory.GetSession("customer")
	if err != nil {
		return nil, err
	}
	defer session.Close()
	record, err := session.Encrypt(a.ctx, plaintext)
	if err != nil {
		return nil, err
	}
	return json.Marshal(record)
}

func (a *asherahBytes) Open(_, ciphertext, _ []byte) ([]byte, error) {
	var record appencryption.DataRowRecord
	if err := json.Unmarshal(ciphertext, &record); err != nil {
		return nil, err
	}
	session, err := a.factory.GetSession("customer")
	if err != nil {
		return nil, err
	}
	defer session.Close()
	return session.Decrypt(a.ctx, record)
}

func (a *asherahBytes) Close() error {
	err := a.factory.Close()
	a.kms.Close()
	return err
}
