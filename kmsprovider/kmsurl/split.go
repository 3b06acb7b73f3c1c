package kmsurl

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxURI is above what the longest ID of a KEK and the longest paths need.
const maxURI = 4096

// A uri is one that was taken apart, and not yet understood.
type uri struct {
	body        string            // between the scheme's prefix and the parameters
	params      map[string]string // decoded
	credentials string            // where those of the scheme come from, for errors
}

// split takes a URI apart. Errors quote nothing of it: a credential may stand anywhere.
func split(text string) (scheme, uri, error) {
	if len(text) > maxURI {
		return scheme{}, uri{}, fmt.Errorf("it is longer than %d bytes", maxURI)
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return scheme{}, uri{}, errors.New("it has a space, a control character or one outside of ASCII; write them as %XX")
		}
	}
	i := slices.IndexFunc(schemes, func(s scheme) bool {
		return len(text) > len(s.prefix) && strings.EqualFold(text[:len(s.prefix)], s.prefix)
	})
	if i < 0 {
		return scheme{}, uri{}, fmt.Errorf("it begins with none of %s", prefixes())
	}
	s := schemes[i]
	body, query, hasQuery := strings.Cut(text[len(s.prefix):], "?")
	if strings.Contains(text, "#") {
		return s, uri{}, errors.New("it has a fragment; write # as %23")
	}
	u := uri{body: body, credentials: s.credentials}
	// Labels of tokens and names of files may have an @; nothing else has.
	if strings.HasSuffix(s.prefix, "//") && strings.Contains(body, "@") {
		return s, u, u.credential("what stands before the @")
	}
	if !hasQuery {
		return s, u, nil
	}
	var err error
	u.params, err = u.pairs("parameter", query, "&", s.params)
	return s, u, err
}

// pairs decodes NAME=VALUE pairs of which only some names are known.
func (u uri) pairs(what, text, separator string, known []string) (map[string]string, error) {
	out := make(map[string]string)
	for i, pair := range strings.Split(text, separator) {
		where := fmt.Sprintf("%s %d", what, i+1)
		name, value, ok := strings.Cut(pair, "=")
		if !slices.Contains(known, name) {
			if looksSecret(name) {
				return nil, u.credential(where)
			}
			return nil, fmt.Errorf("%s is none of those that there are (%s)", where, strings.Join(known, ", "))
		}
		value, err := url.PathUnescape(value) // + is a plus in all of these
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s (%s) has a %% that is not followed by two hexadecimal digits", where, name)
		case !ok || value == "":
			return nil, fmt.Errorf("%s (%s) has no value", where, name)
		case strings.ContainsRune(value, 0):
			return nil, fmt.Errorf("%s (%s) has a zero byte", where, name)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%s (%s) is given twice", where, name)
		}
		out[name] = value
	}
	return out, nil
}

func (u uri) credential(what string) error {
	return fmt.Errorf("%s looks like a credential, and URIs end up in logs: take it out, and consider it known; credentials come from %s", what, u.credentials)
}

// looksSecret reports whether a parameter of this name is meant as a credential.
func looksSecret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"pin", "pass", "pwd", "token", "secret", "cred", "auth", "access", "sig", "user"},
		func(word string) bool { return strings.Contains(name, word) })
}
