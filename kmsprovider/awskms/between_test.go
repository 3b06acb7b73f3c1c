package awskms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/kmsprovider/awskms"
)

const between = "arn:aws:kms:us-east-1:111122223333:key/2345bcde-12ab-34cd-56ef-1234567890ab"

// dial returns a provider whose calls are answered by answer.
func dial(t *testing.T, answer http.HandlerFunc, change func(*kms.Options)) *awskms.Provider {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	opts := kms.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, HTTPClient: server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", ""),
	}
	if change != nil {
		change(&opts)
	}
	p, err := awskms.New(kms.New(opts), between, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// both makes a Wrap and an Unwrap, and returns their errors.
func both(t *testing.T, p *awskms.Provider) map[string]error {
	t.Helper()
	_, wrapErr := p.Wrap(t.Context(), []byte("a key"), nil)
	_, unwrapErr := p.Unwrap(t.Context(), []byte("a wrapped key"), nil)
	return map[string]error{"Wrap": wrapErr, "Unwrap": unwrapErr}
}

// checkOutage fails if err is more than an outage: a ring would drop its keys.
func checkOutage(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, kmsprovider.ErrUnavailable) || !kmsprovider.Retryable(err) || errors.Is(err, kmsprovider.ErrThrottled) {
		t.Errorf("%s: %v, want an outage", what, err)
	}
}

// A page of what stands between isn't the service's, whatever its status: the service
// has a code in each of its refusals.
func TestPages(t *testing.T) {
	for _, status := range []int{200, 204, 302, 400, 401, 403, 404, 407, 429, 451, 500, 503, 511} {
		for _, page := range []string{"", "{}", "null", `{"message":"blocked"}`, `{"__type":"","message":"blocked"}`, "<html>blocked</html>", `"x"`, `{"__typ`} {
			p := dial(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(status)
				if status != 204 {
					io.WriteString(w, page)
				}
			}, nil)
			for call, err := range both(t, p) {
				checkOutage(t, fmt.Sprintf("%d %s, %s", status, page, call), err)
			}
		}
	}
}

// A clock that is wrong is no refusal. The SDK corrects it with the next call.
func TestClockSkew(t *testing.T) {
	for what, skew := range map[string]time.Duration{"fast": -time.Hour, "slow": time.Hour} {
		p := dial(t, func(w http.ResponseWriter, r *http.Request) {
			now := time.Now().Add(skew)
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			if off := signed.Sub(now).Abs(); err != nil || off > 5*time.Minute {
				w.WriteHeader(403)
				io.WriteString(w, `{"__type":"InvalidSignatureException","message":"Signature expired"}`)
				return
			}
			fmt.Fprintf(w, `{"KeyId":%q,"CiphertextBlob":"AAAA"}`, between)
		}, nil)
		_, err := p.Wrap(t.Context(), []byte("a key"), nil)
		checkOutage(t, "a clock that is "+what, err)
		if _, err := p.Wrap(t.Context(), []byte("a key"), nil); err != nil {
			t.Errorf("a clock that is %s, the second call: %v", what, err)
		}
	}
	// With a clock that is right it is the signature: the secret key is another one.
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		io.WriteString(w, `{"__type":"InvalidSignatureException","message":"The request signature we calculated does not match"}`)
	}, nil)
	for call, err := range both(t, p) {
		if !errors.Is(err, kmsprovider.ErrDenied) || kmsprovider.Retryable(err) {
			t.Errorf("a wrong signature, %s: %v", call, err)
		}
	}
}

// Credentials that can't be had say nothing about the KEK, unless STS refuses the role.
func TestCredentialsThatCannotBeHad(t *testing.T) {
	bySTS := func(status int, code string) error {
		return &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRoleWithWebIdentity", Err: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
			Err:      &smithy.GenericAPIError{Code: code, Message: "about the role"},
		}}
	}
	for _, c := range []struct {
		err  error
		want error
	}{
		{errors.New("dial tcp: lookup sts.example.org: no such host"), kmsprovider.ErrUnavailable},
		{bySTS(400, "IDPCommunicationError"), kmsprovider.ErrUnavailable},
		{bySTS(400, "UnknownError"), kmsprovider.ErrUnavailable},
		{bySTS(404, "NotFoundException"), kmsprovider.ErrUnavailable},
		{bySTS(400, "ValidationException"), kmsprovider.ErrUnavailable},
		{bySTS(409, "DisabledException"), kmsprovider.ErrUnavailable},
		{bySTS(400, "Throttling"), kmsprovider.ErrThrottled},
		{bySTS(403, "AccessDenied"), kmsprovider.ErrDenied},
	} {
		p := dial(t, func(http.ResponseWriter, *http.Request) { t.Error("a call without credentials") }, func(o *kms.Options) {
			o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, c.err })
		})
		for call, err := range both(t, p) {
			if !errors.Is(err, c.want) || kmsprovider.Retryable(err) != kmsprovider.Retryable(c.want) {
				t.Errorf("%s, %v: %v, want %q", call, c.err, err, c.want)
			}
		}
	}
}

// A client that logs bodies doesn't log keys.
func TestClientThatLogs(t *testing.T) {
	var log bytes.Buffer
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"KeyId":%q,"CiphertextBlob":"AAAA","Plaintext":"c2VjcmV0IGFuc3dlcg=="}`, between)
	}, func(o *kms.Options) {
		o.ClientLogMode = aws.LogRequestWithBody | aws.LogResponseWithBody | aws.LogRetries
		o.Logger = logging.NewStandardLogger(&log)
	})
	for call, err := range both(t, p) {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	for _, secret := range []string{"a key", "a wrapped key", "secret answer"} {
		if strings.Contains(log.String(), base64.StdEncoding.EncodeToString([]byte(secret))) {
			t.Errorf("the log shows %q", secret)
		}
	}
}

// What the service says may be anything: an error is one line, and no long one.
func TestErrorsAreShort(t *testing.T) {
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"__type":"AccessDeniedException","message":%q}`, "first\nlevel=ERROR "+strings.Repeat("x", 1<<18))
	}, nil)
	for call, err := range both(t, p) {
		if text := err.Error(); len(text) > 2000 || strings.Contains(text, "\n") || !strings.Contains(text, "first") || !errors.Is(err, kmsprovider.ErrDenied) {
			t.Errorf("%s: %d bytes: %.300s", call, len(text), text)
		}
	}
}
