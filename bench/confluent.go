package bench

import (
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/rules/encryption"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/rules/encryption/localkms"
	"github.com/confluentinc/confluent-kafka-go/v2/schemaregistry/serde"
)

var confluent = Peer{
	Name:   "confluent-csfle",
	Title:  "Confluent, field-level encryption",
	Module: "github.com/confluentinc/confluent-kafka-go/v2",
	Setup:  "The field rule's executor alone, without Avro around it: local KMS driver, its mock of the registry in memory, AES256_GCM. In this version, with that mock, each value unwraps the data key again.",
	Claims: Claims{
		Binary: 12 + 16, Text: 52 - 11,
		Bound: "nothing", Commits: noCommit, Messages: "2^32, not counted; an age in days can be set",
	},
	Text:   func() (Rows[string], error) { return newConfluent[string]("local-kms") },
	Binary: func() (Rows[[]byte], error) { return newConfluent[[]byte]("local-kms") },
	Bytes: func() (Bytes, error) {
		c, err := newConfluent[[]byte]("local-kms")
		return confluentBytes{c}, err
	},
}

type confluentRows[T Value] struct {
	executor    *encryption.FieldEncryptionExecutor
	write, read serde.RuleContext
	field       serde.FieldContext
}

func newConfluent[T Value](kms string) (*confluentRows[T], error) {
	localkms.Register()
	c := &confluentRows[T]{executor: encryption.NewFieldExecutor().(*encryption.FieldEncryptionExecutor)}
	// A secret of the local driver, which derives its key from it.
	config := map[string]string{"secret": "bench"}
	if err := c.executor.Configure(schemaregistry.NewConfig("mock://bench"), config); err != nil {
		return nil, err
	}
	rule := schemaregistry.Rule{
		Name: "seal", Kind: "TRANSFORM", Mode: "WRITEREAD", Type: "ENCRYPT", Tags: []string{"PII"},
		Params: map[string]string{
			encryption.EncryptKekName:  "kek",
			encryption.EncryptKmsType:  kms,
			encryption.EncryptKmsKeyID: "k1",
		},
	}
	c.write = serde.RuleContext{
		Target: &schemaregistry.SchemaInfo{}, Subject: "customer-value", Topic: "customer",
		RuleMode: schemaregistry.Write, Rule: &rule, Rules: []schemaregistry.Rule{rule},
	}
	c.read = c.write
	c.read.RuleMode = schemaregistry.Read
	c.field = serde.FieldContext{FullName: "customer.field", Name: "field", Type: serde.TypeBytes, Tags: map[string]bool{"PII": true}}
	if _, ok := any(*new(T)).(string); ok {
		c.field.Type = serde.TypeString
	}
	return c, nil
}

// A Kafka message makes one transform and sends its fields through it.
func (c *confluentRows[T]) do(ctx serde.RuleContext, values ...*T) error {
	transform, err := c.executor.NewTransform(ctx)
	if err != nil {
		return err
	}
	for _, v := range values {
		out, err := transform.Transform(ctx, c.field, *v)
		if err != nil {
			return err
		}
		*v = out.(T)
	}
	return nil
}

func (c *confluentRows[T]) record(ctx serde.RuleContext, r Row[T]) (Row[T], error) {
	fields := r.fields()
	if err := c.do(ctx, fields[:]...); err != nil {
		return Row[T]{}, err
	}
	return r, nil
}

func (c *confluentRows[T]) Seal(r Row[T]) (Row[T], error) { return c.record(c.write, r) }
func (c *confluentRows[T]) Open(r Row[T]) (Row[T], error) { return c.record(c.read, r) }

func (c *confluentRows[T]) Close() error { return c.executor.Close() }

type confluentBytes struct{ c *confluentRows[[]byte] }

func (b confluentBytes) Seal(_, plaintext, _ []byte) ([]byte, error) {
	err := b.c.do(b.c.write, &plaintext)
	return plaintext, err
}

func (b confluentBytes) Open(_, ciphertext, _ []byte) ([]byte, error) {
	err := b.c.do(b.c.read, &ciphertext)
	return ciphertext, err
}

func (b confluentBytes) Close() error { return b.c.Close() }
