package vaultapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

// A Login returns the path of a login (auth/approle/login) and what to send there. It
// is called when a token is needed, by one goroutine at a time.
type Login func(ctx context.Context) (path string, body map[string]string, err error)

// AppRole logs in with a role ID and a secret ID. mount is where the method is
// mounted; "" is approle.
func AppRole(mount, roleID, secretID string) Login {
	return func(context.Context) (string, map[string]string, error) {
		return "auth/" + cmp.Or(mount, "approle") + "/login", map[string]string{"role_id": roleID, "secret_id": secretID}, nil
	}
}

// Kubernetes logs in with the token of a service account, which is read anew for
// every login. mount is where the method is mounted; "" is kubernetes. file holds the
// token; "" is where Kubernetes puts it.
func Kubernetes(mount, role, file string) Login {
	return func(context.Context) (string, map[string]string, error) {
		jwt, err := os.ReadFile(cmp.Or(file, "/var/run/secrets/kubernetes.io/serviceaccount/token"))
		return "auth/" + cmp.Or(mount, "kubernetes") + "/login", map[string]string{"role": role, "jwt": strings.TrimSpace(string(jwt))}, err
	}
}

// TokenFile returns a function for Options.Token that reads path for every call: an
// agent keeps the token in it fresh.
func TokenFile(path string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		token, err := os.ReadFile(path)
		return strings.TrimSpace(string(token)), err
	}
}

const (
	// A token that was refused when it was younger than this isn't the reason.
	tokenPatience = 30 * time.Second
	// A token that could not be renewed within renewalPatience, or replaced, is tried
	// again after renewalPause, and used meanwhile.
	renewalPatience = 3 * time.Second
	renewalPause    = 15 * time.Second
)

// auth is a token and its time.
type auth struct {
	Token     string `json:"client_token"`
	Seconds   int64  `json:"lease_duration"`
	Renewable bool   `json:"renewable"`
}

// A session keeps a token fresh. It has no goroutine: what isn't used expires.
type session struct {
	turn      chan struct{} // whose turn it is; a mutex can't be waited for with a context
	login     func(ctx context.Context) (auth, error)
	renew     func(ctx context.Context, token string) (auth, error)
	token     func() string // where printers that walk fields can't look
	renewable bool
	due, ends time.Time // zero: never, or not known
	got       time.Time
}

func newSession(c *Client, login func(context.Context) (auth, error)) *session {
	return &session{
		turn: make(chan struct{}, 1), login: login, token: func() string { return "" },
		renew: func(ctx context.Context, token string) (auth, error) {
			return c.auth(ctx, token, "auth/token/renew-self", struct{}{})
		},
	}
}

// fixed is the login of a token that was given. Renewing it at once tells its time.
func fixed(token string) func(context.Context) (auth, error) {
	first := true
	return func(context.Context) (auth, error) {
		a := auth{Token: token, Renewable: first}
		first = false
		return a, nil
	}
}

func (c *Client) login(login Login) func(context.Context) (auth, error) {
	return func(ctx context.Context) (auth, error) {
		path, body, err := login(ctx)
		if err != nil {
			return auth{}, err
		}
		return c.auth(ctx, "", path, body)
	}
}

// auth makes a call that is answered with a token.
func (c *Client) auth(ctx context.Context, token, path string, body any) (auth, error) {
	var out struct{ Auth auth }
	err := c.post(ctx, token, path, body, &out)
	var answer *ResponseError
	switch {
	case errors.Is(err, kmsprovider.ErrUnavailable) || !errors.As(err, &answer):
	case answer.StatusCode == http.StatusBadRequest:
		err = fmt.Errorf("%w: %w", kmsprovider.ErrDenied, answer)
	case answer.StatusCode == http.StatusNotFound: // the method isn't mounted: nothing of the KEK's
		err = fmt.Errorf("%w: %w", kmsprovider.ErrUnavailable, answer)
	}
	if err == nil && out.Auth.Token == "" {
		return auth{}, fmt.Errorf("%w: the answer to %s holds no token", kmsprovider.ErrUnavailable, path)
	}
	return out.Auth, err
}

// token returns the token for a call. One that equals refused is got anew, unless it
// has just been.
func (c *Client) token(ctx context.Context, refused string) (token string, err error) {
	if c.session != nil {
		token, err = c.session.get(ctx, refused)
	} else {
		token, err = c.source(ctx)
	}
	switch {
	case err == nil && token != "":
		return token, nil
	case err == nil:
		err = errors.New("it is empty")
	case ctx.Err() != nil, kmsprovider.Retryable(err), errors.Is(err, kmsprovider.ErrDenied):
		return "", fmt.Errorf("no token: %w", err)
	}
	// An agent that isn't ready: nothing of the KEK's.
	return "", fmt.Errorf("no token: %w: %w", kmsprovider.ErrUnavailable, err)
}

func (s *session) get(ctx context.Context, refused string) (string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	token, now := s.token(), time.Now()
	valid := token != "" && (token != refused || now.Sub(s.got) < tokenPatience) && (s.ends.IsZero() || now.Before(s.ends))
	if valid && (s.due.IsZero() || now.Before(s.due)) {
		return token, nil
	}
	a, err := s.fresh(ctx, token, valid)
	if err != nil && valid {
		s.due = time.Now().Add(renewalPause) // what there is may still be good
		return token, nil
	}
	if err != nil {
		return "", err
	}
	s.token, s.renewable, s.got, s.due, s.ends = func() string { return a.Token }, a.Renewable, now, time.Time{}, time.Time{}
	if life := time.Duration(a.Seconds) * time.Second; life > 0 {
		s.due, s.ends = now.Add(life*2/3), now.Add(life)
	} else if a.Renewable {
		s.due = now // its time isn't known yet
	}
	return a.Token, nil
}

// fresh renews token, or logs in. A server that doesn't answer must not keep a call from
// going on with a token that is valid.
func (s *session) fresh(ctx context.Context, token string, valid bool) (a auth, err error) {
	if valid {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, renewalPatience)
		defer cancel()
	}
	if valid && s.renewable {
		a, err = s.renew(ctx, token)
		if err == nil || kmsprovider.Retryable(err) || ctx.Err() != nil {
			return a, err
		}
	}
	return s.login(ctx)
}
