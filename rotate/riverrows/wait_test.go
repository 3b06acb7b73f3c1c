package riverrows

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
	"github.com/structseal/structseal/rotate"
)

// code is an error of a PostgreSQL driver.
type code string

func (c code) Error() string    { return "ERROR: " + string(c) }
func (c code) SQLState() string { return string(c) }

// What is put off, and what is an attempt that has failed.
func TestTransient(t *testing.T) {
	for want, list := range map[bool][]error{
		true: {
			keyring.ErrUnavailable, kmsprovider.ErrUnavailable, kmsprovider.ErrThrottled, kmsprovider.ErrDenied, kmsprovider.ErrDisabled,
			driver.ErrBadConn, sql.ErrConnDone, context.DeadlineExceeded, &net.OpError{Op: "dial", Err: errors.New("refused")},
			code("57P01"), code("57P03"), code("08006"), code("40001"), code("40P01"), code("53300"), code("55P03"), code("25006"), code("58030"),
		},
		false: {errors.New("any"), rotate.ErrMismatch, kmsprovider.ErrNotFound, keyring.ErrTampered, code("22001"), code("23505"), code("42501"), code("42P01"), code("55000"), code("")},
	} {
		for _, err := range list {
			if wrapped := fmt.Errorf("rotate: %w", err); transient(wrapped) != want {
				t.Errorf("%v: %v, want %v", err, !want, want)
			}
		}
	}
}

// Waits grow to a minute, and are never the same for all.
func TestBackoff(t *testing.T) {
	for failures, most := range map[int]time.Duration{-1: time.Second, 0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 6: time.Minute, 1 << 40: time.Minute} {
		for range 100 {
			if d := backoff(failures); d < most/2 || d >= most {
				t.Fatalf("after %d failures: %v, want up to %v", failures, d, most)
			}
		}
	}
	if n := snoozes([]byte(`{"output": {}, "snoozes": 7}`)); n != 7 {
		t.Error(n)
	}
}

// The jobs of a worker share its rate, and what one doesn't need another has.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter{rate: 100}
		begin, rows := time.Now(), make(chan int)
		for range 5 {
			go func() {
				for range 10 {
					n, err := l.wait(t.Context(), 1000)
					if err != nil || n != 100 {
						t.Errorf("%d rows, %v", n, err)
					}
					l.giveBack(n - 50)
					rows <- 50
				}
			}()
		}
		sum := 0
		for range 50 {
			sum += <-rows
		}
		if took := time.Since(begin); sum != 2500 || took < 24*time.Second || took > 27*time.Second {
			t.Errorf("%d rows in %v", sum, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		next := l.next
		if _, err := l.wait(ctx, 10); !errors.Is(err, context.Canceled) || l.next.After(next.Add(time.Minute)) {
			t.Error(err)
		}
		none := limiter{}
		if n, err := none.wait(t.Context(), 1000); n != 1000 || err != nil {
			t.Error(n, err)
		}
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(nil, nil); !errors.Is(err, ErrOptions) {
		t.Error(err)
	}
	for _, schema := range []string{"A", "a b", `a"`, "a.b", "a;", "ä", "1a"} {
		if _, err := New(new(sql.DB), &Options{Schema: schema}); !errors.Is(err, ErrOptions) {
			t.Errorf("schema %q: %v", schema, err)
		}
	}
	if _, err := (Args{Job: "reformat"}).kind(); !errors.Is(err, rotate.ErrMismatch) {
		t.Error(err)
	}
}
