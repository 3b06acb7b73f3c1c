package awskms

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/structseal/structseal/kmsprovider"
)

// error says what err means. answered: the service, or what stands in its place, has
// answered. invalid is for a request that the service finds invalid.
func (p *Provider) error(ctx context.Context, err error, answered bool, invalid error) error {
	class := classify(err, invalid)
	if !answered && class != kmsprovider.ErrDenied && class != kmsprovider.ErrThrottled && !errors.As(err, new(smithy.InvalidParamsError)) {
		class = kmsprovider.ErrUnavailable // whatever STS says, it isn't about the KEK
	}
	switch {
	case ctx.Err() != nil && (class == nil || class == kmsprovider.ErrUnavailable):
		class = ctx.Err()
	case class == nil:
		return fmt.Errorf("awskms: %s: %w", p.arn, said{err})
	}
	return fmt.Errorf("awskms: %s: %w: %w", p.arn, class, said{err})
}

// said is an error with text of the service's, or of what stands in its place. That may
// be anything.
type said struct{ error }

func (e said) Error() string { return fmt.Sprintf("%.500q", e.error.Error()) }
func (e said) Unwrap() error { return e.error }

func classify(err, invalid error) error {
	if errors.As(err, new(smithy.InvalidParamsError)) {
		return invalid // found by the SDK
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return kmsprovider.ErrUnavailable // no answer, or none of the service's
	}
	// The clock is wrong, and the SDK corrects it with the next call.
	if skew := interface{ RetryableError() bool }(nil); errors.As(err, &skew) && skew.RetryableError() {
		return kmsprovider.ErrUnavailable
	}
	code := api.ErrorCode()
	switch code {
	case "UnknownError": // what the SDK calls an answer without a code, which AWS has in each of its own
		return kmsprovider.ErrUnavailable
	case "InvalidCiphertextException", "IncorrectKeyException":
		return kmsprovider.ErrRejected
	case "ValidationException":
		return invalid
	case "NotFoundException":
		return kmsprovider.ErrNotFound
	case "DisabledException", "KMSInvalidStateException": // the latter: pending deletion, among others
		return kmsprovider.ErrDisabled
	case "AccessDeniedException", "NotAuthorized", "InvalidGrantTokenException", "OptInRequired",
		"UnrecognizedClientException", "IncompleteSignature", "InvalidSignatureException", "SignatureDoesNotMatch",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "ExpiredTokenException",
		"AccessDenied", "ExpiredToken", "InvalidClientTokenId": // by STS, for the role
		return kmsprovider.ErrDenied
	case "LimitExceededException":
		return kmsprovider.ErrThrottled
	}
	if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
		return kmsprovider.ErrThrottled
	}
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.HTTPStatusCode() < 500 {
		return nil
	}
	return kmsprovider.ErrUnavailable
}
