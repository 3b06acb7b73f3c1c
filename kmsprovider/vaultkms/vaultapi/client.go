package vaultapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/structseal/structseal/kmsprovider"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// A ResponseError is an answer of the server that isn't success.
type ResponseError struct {
	StatusCode int
	Errors     []string // as the server words them
}

// Error returns the status and what the server says, shortened.
func (e *ResponseError) Error() string {
	return fmt.Sprintf("the server answers %d %s: %.300q", e.StatusCode, http.StatusText(e.StatusCode), strings.Join(e.Errors, "; "))
}

// class says what a status means for every call, or returns nil.
func (e *ResponseError) class() error {
	switch e.StatusCode {
	case http.StatusBadRequest:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return kmsprovider.ErrDenied
	case http.StatusNotFound:
		return kmsprovider.ErrNotFound
	case http.StatusTooManyRequests:
		return kmsprovider.ErrThrottled
	}
	return kmsprovider.ErrUnavailable // 3xx: a standby; 412: not yet replicated; 5xx: sealed
}

// A Client calls a server. It is safe for concurrent use.
type Client struct {
	base, namespace string
	http            *http.Client
	source          func(ctx context.Context) (string, error)
	session         *session // when source is nil
}

// Namespace returns the namespace, without slashes at its ends.
func (c *Client) Namespace() string { return c.namespace }

// Post sends in to path (transit/encrypt/app) and decodes the answer into out, once:
// nothing is retried, but when a token was refused that the client has got itself. It
// may have been revoked; if another can be got, it is tried.
//
// Errors: kmsprovider.ErrDenied, ErrNotFound, ErrThrottled, ErrUnavailable; ctx's
// own; [*ResponseError] where the server has answered. Status 400 is just that.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	token, err := c.token(ctx, "")
	if err != nil {
		return err
	}
	err = c.post(ctx, token, path, in, out)
	if c.session != nil && errors.Is(err, kmsprovider.ErrDenied) {
		if other, otherErr := c.token(ctx, token); otherErr == nil && other != token {
			err = c.post(ctx, other, path, in, out)
		}
	}
	return err
}

func (c *Client) post(ctx context.Context, token, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Vault-Request", "true") // agents ask for it, against forged requests
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if c.namespace != "" {
		req.Header.Set("X-Vault-Namespace", c.namespace)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unavailable(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	defer clear(data)
	switch {
	case err != nil:
		return unavailable(ctx, err)
	case len(data) > maxAnswer:
		return unavailable(ctx, errors.New("the answer is longer than a megabyte"))
	case resp.StatusCode == http.StatusOK:
		if json.Unmarshal(data, out) != nil { // whose text could quote it
			return unavailable(ctx, errors.New("the answer is not the JSON of this call"))
		}
		return nil
	}
	answer := &ResponseError{StatusCode: resp.StatusCode}
	if json.Unmarshal(data, answer) != nil || answer.Errors == nil {
		answer.Errors = []string{"not in JSON"}
		return fmt.Errorf("%w: %w", kmsprovider.ErrUnavailable, answer)
	}
	if class := answer.class(); class != nil {
		return fmt.Errorf("%w: %w", class, answer)
	}
	return answer
}

// unavailable classes an error of the way to the server. The end of the caller's own
// context says nothing about the server.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return fmt.Errorf("%w: %w", kmsprovider.ErrUnavailable, err)
}
