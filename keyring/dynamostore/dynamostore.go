// Package dynamostore keeps rings in an Amazon DynamoDB table.
//
//	client := dynamodb.NewFromConfig(cfg)
//	err := dynamostore.CreateTable(ctx, client, "structseal-rings")     // or by hand, see there
//	store, err := dynamostore.New(client, "structseal-rings")
//	ring, err := keyring.Open(ctx, "app", store, kms, pin, nil)
//
// Load is a consistent read, CompareAndSwap a conditional PutItem. The program
// needs the rights dynamodb:GetItem and dynamodb:PutItem on the table, and for
// subjects dynamodb:BatchGetItem and, where they are listed, dynamodb:Scan. The key
// of a subject is the ring's name, a slash and the hash in hexadecimal.
//
// The SDK repeats a call whose answer got lost; the second attempt finds what the
// first one wrote, an ErrConflict with oneself. Package keyring recognises that,
// by looking whether the stored record is its own.
//
// In a global table each region decides conditions by itself, and what two
// regions write at once is decided by the clock: one of two rotations is lost,
// and with it what its key has encrypted. Write rings in one region only, or make
// the table a global table with strong consistency.
package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/structseal/structseal/keyring"
)

// The attributes of an item. The first one is the table's partition key.
const (
	attrName     = "name"     // string
	attrRevision = "revision" // number
	attrData     = "data"     // binary
)

// ErrOptions: no client or no table given.
var ErrOptions = errors.New("invalid option")

// A Store keeps rings in a table. It is safe for concurrent use by any number of
// processes.
type Store struct {
	table string
	// client is a closure, so that printers that walk unexported fields by
	// reflection don't get at the credentials.
	client func() *dynamodb.Client
}

var _ keyring.SubjectStore = (*Store)(nil)

// New returns the store in a table, which may be given by its ARN too. It makes
// no call. The client's retries and endpoint are the caller's.
//
// Errors: ErrOptions.
func New(client *dynamodb.Client, table string) (*Store, error) {
	if client == nil || table == "" {
		return nil, fmt.Errorf("dynamostore: %w: give a client and the name of a table", ErrOptions)
	}
	return &Store{table: table, client: func() *dynamodb.Client { return client }}, nil
}

// String returns the table's name.
func (s *Store) String() string { return "dynamostore.Store(" + s.table + ")" }

// GoString is String.
func (s *Store) GoString() string { return s.String() }

// Load implements [keyring.Store] with a consistent read.
//
// Errors: keyring.ErrNotFound; keyring.ErrName; keyring.ErrCorrupt for an item
// that isn't a ring's; keyring.ErrUnavailable; ctx's own; the service's, for
// example when the table is missing or access is denied.
func (s *Store) Load(ctx context.Context, name string) (keyring.Record, error) {
	if err := checkCall(ctx, name); err != nil {
		return keyring.Record{}, wrap(ctx, err)
	}
	out, err := s.client().GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      &s.table,
		Key:            map[string]types.AttributeValue{attrName: &types.AttributeValueMemberS{Value: name}},
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return keyring.Record{}, wrap(ctx, err)
	}
	if len(out.Item) == 0 {
		return keyring.Record{}, wrap(ctx, keyring.ErrNotFound)
	}
	r, err := record(out.Item)
	return r, wrap(ctx, err)
}

// record reads an item.
func record(item map[string]types.AttributeValue) (keyring.Record, error) {
	number, ok := item[attrRevision].(*types.AttributeValueMemberN)
	if !ok {
		return keyring.Record{}, fmt.Errorf("%w: the item has no number %q", keyring.ErrCorrupt, attrRevision)
	}
	revision, err := strconv.ParseUint(number.Value, 10, 63)
	if err != nil || revision == 0 {
		return keyring.Record{}, fmt.Errorf("%w: the item's %q is out of range", keyring.ErrCorrupt, attrRevision)
	}
	data, ok := item[attrData].(*types.AttributeValueMemberB)
	if !ok {
		return keyring.Record{}, fmt.Errorf("%w: the item has no binary %q", keyring.ErrCorrupt, attrData)
	}
	return keyring.Record{Revision: revision, Data: data.Value}, nil
}

// CompareAndSwap implements [keyring.Store] with one conditional PutItem.
//
// Errors: keyring.ErrConflict; keyring.ErrName; keyring.ErrTooLarge for more
// than keyring.MaxRecordSize bytes; keyring.ErrUnavailable; ctx's own; the
// service's. Except after ErrConflict, ErrName and ErrTooLarge the record may
// have been stored nevertheless.
func (s *Store) CompareAndSwap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	return wrap(ctx, s.swap(ctx, name, old, next))
}

func (s *Store) swap(ctx context.Context, name string, old uint64, next keyring.Record) error {
	if err := checkCall(ctx, name); err != nil {
		return err
	}
	return s.put(ctx, name, old, next, keyring.MaxRecordSize)
}

// put stores the item of a key if its revision is old.
func (s *Store) put(ctx context.Context, key string, old uint64, next keyring.Record, most int) error {
	switch {
	case next.Revision == 0 || next.Revision > math.MaxInt64:
		return fmt.Errorf("%w: revision %d", keyring.ErrCorrupt, next.Revision)
	case len(next.Data) > most:
		return fmt.Errorf("%w: %d bytes", keyring.ErrTooLarge, len(next.Data))
	}
	data := next.Data
	if data == nil {
		data = []byte{}
	}
	in := &dynamodb.PutItemInput{
		TableName: &s.table,
		Item: map[string]types.AttributeValue{
			attrName:     &types.AttributeValueMemberS{Value: key},
			attrRevision: number(next.Revision),
			attrData:     &types.AttributeValueMemberB{Value: data},
		},
	}
	if old == 0 {
		in.ConditionExpression = aws.String("attribute_not_exists(#a)")
		in.ExpressionAttributeNames = map[string]string{"#a": attrName} // a reserved word
	} else {
		in.ConditionExpression = aws.String("#a = :old")
		in.ExpressionAttributeNames = map[string]string{"#a": attrRevision}
		in.ExpressionAttributeValues = map[string]types.AttributeValue{":old": number(old)}
	}
	_, err := s.client().PutItem(ctx, in)
	if failed := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &failed) {
		return fmt.Errorf("%w: not at revision %d", keyring.ErrConflict, old)
	}
	return err
}

func number(n uint64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
}

func checkCall(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return keyring.CheckName(name)
}
