package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Table describes a table for rings, paid by request and protected against
// deletion: for programs that add tags or encryption to it before they create
// it. Point-in-time recovery is a call of its own, UpdateContinuousBackups; turn
// it on.
func Table(name string) *dynamodb.CreateTableInput {
	return &dynamodb.CreateTableInput{
		TableName:                 &name,
		BillingMode:               types.BillingModePayPerRequest,
		DeletionProtectionEnabled: aws.Bool(true),
		AttributeDefinitions:      []types.AttributeDefinition{{AttributeName: aws.String(attrName), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:                 []types.KeySchemaElement{{AttributeName: aws.String(attrName), KeyType: types.KeyTypeHash}},
	}
}

// CreateTable makes a table as [Table] describes it and waits until it can be
// used. A table that exists stays as it is, so programs may start together.
//
// Errors: those of a table that exists and has another key; the service's;
// keyring.ErrUnavailable; ctx's own.
func CreateTable(ctx context.Context, client *dynamodb.Client, name string) error {
	if client == nil || name == "" {
		return fmt.Errorf("dynamostore: %w: give a client and the name of a table", ErrOptions)
	}
	_, err := client.CreateTable(ctx, Table(name))
	if exists := (*types.ResourceInUseException)(nil); err != nil && !errors.As(err, &exists) {
		return wrap(ctx, err)
	}
	wait := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, 5*time.Second
	})
	out, err := wait.WaitForOutput(ctx, &dynamodb.DescribeTableInput{TableName: &name}, 10*time.Minute)
	if err != nil {
		return wrap(ctx, err)
	}
	keys := out.Table.KeySchema
	if len(keys) != 1 || aws.ToString(keys[0].AttributeName) != attrName {
		return fmt.Errorf("dynamostore: %w: table %s exists and its key is not %q alone", ErrOptions, name, attrName)
	}
	return nil
}
