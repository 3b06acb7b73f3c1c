package main

import (
	"context"
	"fmt"
	"time"

	"github.com/structseal/structseal/keyring"
	"github.com/structseal/structseal/keyring/sqlstore"
)

// maxSkew is how far clocks may be apart. No clock decides when a key may be destroyed;
// the times of certificates and of the history are worth as much as the clock.
const maxSkew = time.Minute

// A clockReading is what another clock says, beside ours.
type clockReading struct {
	whose      string
	then, ours time.Time
	past       bool // it only says what has passed
	err        error
}

func (x *examination) compareClock(c clockReading) {
	if x.failed("clock", c.whose, c.err, "") {
		return
	}
	skew := c.ours.Sub(c.then)
	if skew > maxSkew && !c.past || skew < -maxSkew {
		x.found(isFailed, "clock", c.whose, fmt.Sprintf("this machine's clock is %v away", skew.Abs().Round(time.Second)), "Set both by NTP: the times of certificates and of the history are of these clocks.")
		return
	}
	x.found(isFine, "clock", c.whose, "it fits this machine's", "")
}

// historyClock is the newest change of the ring, which can't be in the future.
func historyClock(ring *keyring.Keyring) clockReading {
	c := clockReading{whose: "the ring's history", ours: time.Now(), past: true}
	for _, change := range ring.History().Changes {
		if change.At.After(c.then) {
			c.then = change.At
		}
	}
	return c
}

// databaseClock asks a database. SQLite has the clock of this machine.
func databaseClock(ctx context.Context, whose string, db *database) clockReading {
	c := clockReading{whose: whose, ours: time.Now()}
	query := map[sqlstore.Dialect]string{
		sqlstore.PostgreSQL: "SELECT extract(epoch FROM clock_timestamp())::float8",
		sqlstore.MySQL:      "SELECT unix_timestamp(now(6))",
	}[db.dialect]
	if query == "" {
		c.then = c.ours
		return c
	}
	var seconds float64
	c.err = db.QueryRowContext(ctx, query).Scan(&seconds)
	c.then = time.UnixMicro(int64(seconds * 1e6))
	return c
}
