package kmstest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/structseal/structseal/kmsprovider"
)

// testSecrets: no key, no wrapped key and no credential is in an error, in a log, in an
// address or in what a provider prints.
func testSecrets(e *env) {
	logged := captureLogs()
	defer logged.release()

	var urls strings.Builder
	if e.proxy != nil {
		var mu sync.Mutex
		look := func(r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(&urls, r.URL, r.Referer())
		}
		e.proxy.look.Store(&look)
		defer e.proxy.look.Store(nil)
	}

	secret, kc := key(32), ring()
	wrapped := e.wrap(e.kms, secret, kc)
	e.unwraps(e.kms, wrapped, kc, secret)
	// The beginning of a wrap may be a name: of a version or of the key.
	hunted := append([][]byte{secret, wrapped[len(wrapped)-min(len(wrapped), 24):]}, e.secrets...)
	hunt := func(what, text string) {
		e.Helper()
		for _, s := range hunted {
			for _, form := range forms(s) {
				if strings.Contains(text, form) {
					e.Errorf("%s shows a secret: %.300q", what, text)
					return
				}
			}
		}
	}
	if !strings.Contains(fmt.Sprintf("%x %v", secret, secret), forms(secret)[1]) {
		e.Fatal("the hunt finds nothing")
	}

	try := func(mode Mode) {
		for name, do := range map[string]func(context.Context) ([]byte, error){
			"Wrap": func(ctx context.Context) ([]byte, error) { return e.kms.Wrap(ctx, bytes.Clone(secret), maps.Clone(kc)) },
			"Unwrap": func(ctx context.Context) ([]byte, error) {
				return e.kms.Unwrap(ctx, bytes.Clone(wrapped), maps.Clone(kc))
			},
		} {
			// Long enough for an answer, where there is one.
			patience := time.Second
			if slices.Contains(endless, mode) {
				patience = 20 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(e.ctx, patience)
			if _, err := do(ctx); err != nil {
				hunt(name+" when "+string(mode), fmt.Sprintf("%v %+v %#v %q", err, err, err, err))
			}
			cancel()
		}
	}
	hunt("an address, which proxies log", urls.String())
	for _, mode := range Modes() {
		if e.faults[mode] != nil && !e.broken[string(mode)] {
			undo := e.enter(mode)
			try(mode)
			undo()
		}
	}
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err := e.kms.Wrap(ended, bytes.Clone(secret), maps.Clone(kc))
	hunt("an error when cancelled", fmt.Sprint(err))
	bad := bytes.Clone(wrapped)
	bad[0] ^= 1
	for what, w := range map[string][]byte{"cut": wrapped[1:], "changed": bad, "not bound to this context": wrapped} {
		_, err := e.kms.Unwrap(e.ctx, bytes.Clone(w), kmsprovider.Context{"other": "context"})
		hunt("an error when the wrap is "+what, fmt.Sprintf("%v %+v %#v", err, err, err))
	}

	holder := struct {
		KMS kmsprovider.Provider
		kms any
	}{e.kms, e.kms}
	for _, v := range []any{e.kms, holder, &holder, []kmsprovider.Provider{e.kms}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%e", "%g", "%t", "%p", "%T"} {
			hunt("the provider under "+verb, fmt.Sprintf(verb, v))
		}
		if data, err := json.Marshal(v); err == nil {
			hunt("the provider as JSON", string(data))
		}
		slog.Debug("printed", "kms", v)
		log.Print(v)
	}
	hunt("the log", logged.String())
}

// forms returns how the bytes of a secret may be printed. Half of them are a leak
// as well.
func forms(secret []byte) []string {
	half := secret[:(len(secret)+1)/2]
	return []string{
		string(half),
		hex.EncodeToString(half), strings.ToUpper(hex.EncodeToString(half)), fmt.Sprintf("% x", half),
		strings.TrimRight(base64.StdEncoding.EncodeToString(half[:len(half)/3*3]), "="),
		base64.RawURLEncoding.EncodeToString(half[:len(half)/3*3]),
		strings.Trim(fmt.Sprint(half), "[]"), strings.Trim(fmt.Sprintf("%#v", half), "[]byte{}"), strings.Trim(fmt.Sprintf("%q", half), `"`),
	}
}
