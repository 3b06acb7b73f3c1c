package dynamostore

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/structseal/structseal/keyring"
)

// wrap gives an error its prefix and its class. A table that doesn't exist is
// not a ring that doesn't exist: programs must not create a second ring because
// of a wrong table name.
func wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{keyring.ErrNotFound, keyring.ErrConflict, keyring.ErrName, keyring.ErrCorrupt, keyring.ErrTooLarge} {
		if errors.Is(err, known) {
			return fmt.Errorf("dynamostore: %w", err)
		}
	}
	switch ended := ctx.Err(); {
	case ended != nil && !errors.Is(err, ended):
		return fmt.Errorf("dynamostore: %w: %w", ended, err)
	case ended != nil:
		return fmt.Errorf("dynamostore: %w", err)
	case unavailable(err):
		return fmt.Errorf("dynamostore: %w: %w", keyring.ErrUnavailable, err)
	}
	if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
		return fmt.Errorf("dynamostore: %w (is the table there? see CreateTable)", err)
	}
	return fmt.Errorf("dynamostore: %w", err)
}

// unavailable reports errors after which the same call may succeed: no answer,
// an answer that a server fault prevented, and throttling.
func unavailable(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return true // no answer of the service's
	}
	switch api.ErrorCode() {
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "TransactionConflictException", "TransactionInProgressException":
		return true
	}
	var http *smithyhttp.ResponseError
	return api.ErrorFault() == smithy.FaultServer || errors.As(err, &http) && http.HTTPStatusCode() >= 500
}
