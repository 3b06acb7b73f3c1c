package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/structseal/structseal/keyring"
)

// wrap gives an error its prefix and its class.
func (s *Store) wrap(ctx context.Context, err error) error {
	for _, known := range []error{keyring.ErrNotFound, keyring.ErrConflict, keyring.ErrName, keyring.ErrCorrupt, keyring.ErrTooLarge} {
		if errors.Is(err, known) {
			return fmt.Errorf("sqlstore: %w", err)
		}
	}
	switch ended := ctx.Err(); {
	case ended != nil && !errors.Is(err, ended):
		// Drivers report the interrupted statement in words of their own.
		return fmt.Errorf("sqlstore: %w: %w", ended, err)
	case ended != nil:
		return fmt.Errorf("sqlstore: %w", err)
	case s.pool != nil && serialization(err):
		// With the database's default isolation raised above READ COMMITTED
		// this, not zero rows, is what the one who comes second hears: his
		// statement was rolled back, because another one was first. In a
		// transaction of the caller's it is not for us to try again.
		return fmt.Errorf("sqlstore: %w: %w", keyring.ErrConflict, err)
	case unreachable(err):
		return fmt.Errorf("sqlstore: %w: %w", keyring.ErrUnavailable, err)
	}
	return fmt.Errorf("sqlstore: %w (are the tables %s* there? see Migrate)", err, s.prefix)
}

// sqlState returns the SQLSTATE of drivers that tell it.
func sqlState(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// serialization reports a write that was undone for another one's sake.
func serialization(err error) bool {
	state := sqlState(err)
	return state == "40001" || state == "40P01"
}

// unreachable reports errors that say nothing about the ring, because the server
// wasn't reached, went away, or has no room for us now.
func unreachable(err error) bool {
	var network net.Error
	if errors.As(err, &network) {
		return true
	}
	for _, e := range []error{driver.ErrBadConn, sql.ErrConnDone, sql.ErrTxDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	switch state := sqlState(err); {
	case strings.HasPrefix(state, "08"), // connection
		strings.HasPrefix(state, "53"),  // no resources
		strings.HasPrefix(state, "57P"): // shutdown, starting up
		return true
	}
	return false
}
