package azurekms

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/structseal/structseal/kmsprovider"
)

// failed says what an error of the SDK means. It doesn't repeat the text of an answer,
// which is its whole body, but what Key Vault says in it.
func (p *Provider) failed(ctx context.Context, call, version string, err error) error {
	var said struct {
		Error struct {
			Code, Message string
			InnerError    struct{ Code string }
		}
	}
	class, text := kmsprovider.ErrUnavailable, fmt.Sprintf("%.300q", err)
	if answer := (*azcore.ResponseError)(nil); errors.As(err, &answer) && p.by(answer.RawResponse) {
		body, _ := runtime.Payload(answer.RawResponse)
		if json.Unmarshal(body, &said) == nil && said.Error.Code != "" {
			class = classOf(answer.StatusCode, said.Error.InnerError.Code)
			text = fmt.Sprintf("%d %s %s: %.300q", answer.StatusCode, said.Error.Code, said.Error.InnerError.Code, said.Error.Message)
		} else {
			text = fmt.Sprintf("%d, which isn't Key Vault's", answer.StatusCode) // but something's in between
		}
	}
	switch {
	case ctx.Err() != nil:
		class = ctx.Err() // says nothing about the service
	case version == "":
	case class == ErrOptions:
		class = kmsprovider.ErrRejected
	case class == kmsprovider.ErrNotFound:
		// Azure deletes no single versions: if the key is there, then the version in the
		// wrap is another key's, or was changed.
		if _, err := p.client.GetKey(ctx, p.name, "", nil); err == nil {
			class = kmsprovider.ErrRejected
		}
	}
	return &callError{fmt.Sprintf("azurekms: %s with %s: %v: %s", call, p.ID(), class, text), class, err}
}

// by reports whether resp is the vault's: credentials have errors of the same type.
func (p *Provider) by(resp *http.Response) bool {
	return resp != nil && resp.Request != nil && resp.Request.URL.Host == p.host
}

// recovered is deferred around the SDK, which panics at some answers.
func (p *Provider) recovered(call string, err *error) {
	if recover() != nil {
		*err = fmt.Errorf("azurekms: %s with %s: %w: the SDK panics at the answer", call, p.ID(), kmsprovider.ErrUnavailable)
	}
}

// classOf says what an answer of Key Vault means.
func classOf(status int, inner string) error {
	switch status {
	case http.StatusBadRequest:
		return ErrOptions // the key can't do this algorithm
	case http.StatusUnauthorized, http.StatusForbidden:
		if inner == "KeyDisabled" {
			return kmsprovider.ErrDisabled
		}
		return kmsprovider.ErrDenied
	case http.StatusNotFound:
		return kmsprovider.ErrNotFound
	case http.StatusConflict: // ObjectIsBeingDeleted, ObjectIsDeletedButRecoverable
		return kmsprovider.ErrDisabled
	case http.StatusTooManyRequests:
		return kmsprovider.ErrThrottled
	}
	return kmsprovider.ErrUnavailable
}

// callError has a short text and wraps an error with a long one.
type callError struct {
	text       string
	class, err error
}

func (e *callError) Error() string   { return e.text }
func (e *callError) Unwrap() []error { return []error{e.class, e.err} }

// What is read of an answer, in bytes. Refusals have less than 1 KB; the SDK indents
// them, which makes a hundred megabytes of 10 KB of brackets.
const maxAnswer, maxRefusal = 1 << 20, 4 << 10

// transport bounds answers: the SDK reads them whole.
type transport struct{ policy.Transporter }

func bounded(t policy.Transporter) policy.Transporter {
	if t == nil {
		tr := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
		// Key Vault never redirects.
		t = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return transport{t}
}

func (t transport) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.Transporter.Do(req)
	if err == nil {
		resp.Request = cmp.Or(resp.Request, req)
		limit := int64(maxAnswer)
		if resp.StatusCode >= 300 {
			limit = maxRefusal
		}
		resp.Body = http.MaxBytesReader(nil, resp.Body, limit)
	}
	return resp, err
}
