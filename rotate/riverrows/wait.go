package riverrows

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/structseal/structseal/crypto"
	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/kmsprovider"
)

// transient reports whether an error goes away by itself, or by somebody who looks after
// a KMS, a store or a database: a job that has failed with it waits.
func transient(err error) bool {
	var state interface{ SQLState() string } // of pgx and lib/pq
	var network net.Error
	var unsent interface{ SafeToRetry() bool } // of pgx
	switch {
	case errors.Is(err, keyring.ErrUnavailable), errors.Is(err, crypto.ErrWiped), kmsprovider.Retryable(err), refused(err),
		errors.Is(err, context.DeadlineExceeded):
		return true
	case errors.As(err, &state):
		switch s := state.SQLState(); {
		case s == "55P03", s == "25006": // a lock that can't be had; a standby, after a failover
			return true
		case len(s) == 5:
			switch s[:2] {
			case "08", "40", "53", "57", "58": // connection, conflict, resources, operator, system
				return true
			}
		}
		return false
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) ||
		errors.As(err, &unsent) && unsent.SafeToRetry()
}

// refused reports whether a KMS has refused a key. All values under it are bad then, and
// none is the worse for it. A key that is gone for good isn't meant.
func refused(err error) bool {
	return errors.Is(err, kmsprovider.ErrDenied) || errors.Is(err, kmsprovider.ErrDisabled)
}

// A limiter keeps the jobs of a worker to a rate.
type limiter struct {
	rate int // rows a second; 0: no limit
	mu   sync.Mutex
	next time.Time // when there is room
}

// wait takes room for rows, at most those of a second, and waits for it.
func (l *limiter) wait(ctx context.Context, rows int) (int, error) {
	if err := ctx.Err(); err != nil { // else the timer of a wait that is over might win
		return 0, err
	}
	if l.rate == 0 {
		return rows, nil
	}
	rows = min(rows, l.rate)
	l.mu.Lock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	d := l.next.Sub(now)
	l.next = l.next.Add(l.time(rows))
	l.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return rows, nil
	case <-ctx.Done():
		l.giveBack(rows)
		return 0, ctx.Err()
	}
}

// giveBack gives room back that wasn't needed.
func (l *limiter) giveBack(rows int) {
	if l.rate == 0 || rows <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = l.next.Add(-l.time(rows))
}

func (l *limiter) time(rows int) time.Duration {
	return time.Duration(float64(rows) / float64(l.rate) * float64(time.Second))
}
