package pgnotify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/structseal/structseal/keyring"
)

// Anybody may send anything: what isn't a notice is none.
func TestParse(t *testing.T) {
	h := strings.Repeat("0a", 32)
	for payload, want := range map[string]string{
		"app":               "app {}",
		"app/" + h:          "app " + h,
		"":                  "",
		"/" + h:             "",
		"app/":              "",
		"app/" + h[1:]:      "",
		"app/" + h + "00":   "",
		"app/" + h[:62]:     "",
		"app/" + h + "/x":   "",
		"app/xx" + h[2:]:    "",
		"\xff\x00/" + h[3:]: "",
	} {
		ring, n, ok := parse(payload)
		got := ""
		if ok {
			got = ring + " {}"
			if n.Subject != (keyring.SubjectHash{}) {
				got = fmt.Sprintf("%s %x", ring, n.Subject)
			}
		}
		if got != want || n.Missed {
			t.Errorf("%.80q: %q, want %q", payload, got, want)
		}
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(nil, nil); !errors.Is(err, ErrOptions) {
		t.Error(err)
	}
	connect := func(context.Context) (*pgx.Conn, error) { return nil, errors.New("secret") }
	for _, c := range []string{strings.Repeat("a", 64), "a\x00"} {
		if _, err := New(connect, &Options{Channel: c}); !errors.Is(err, ErrOptions) {
			t.Errorf("%q: %v", c, err)
		}
	}
	l, err := New(connect, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(f, l); got != "pgnotify.Listener(structseal_notices)" {
			t.Errorf("%s: %s", f, got)
		}
	}
}

// While the server is away it is asked at growing intervals, once for all rings, and
// the end of the last ring ends it.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		var text strings.Builder
		l, err := New(func(context.Context) (*pgx.Conn, error) {
			calls.Add(1)
			return nil, errors.New("no route to host")
		}, &Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var rings sync.WaitGroup
		for range 100 {
			rings.Go(func() {
				if err := l.Listen(ctx, "app", func(keyring.Notice) { t.Error("a notice") }); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		time.Sleep(10 * time.Minute)
		if n := calls.Load(); n < 40 || n > 200 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		cancel()
		rings.Wait()
		n := calls.Load()
		time.Sleep(time.Hour)
		if calls.Load() != n {
			t.Error("it goes on")
		}
		if got := strings.Count(text.String(), "pgnotify.lost"); got != 1 {
			t.Errorf("logged %d times", got)
		}
	})
}
