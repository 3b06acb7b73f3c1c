package main

import (
	"context"
	"time"

	"github.com/structseal/structseal/rotate/sqlrows"
)

// scanEvent is how far a verb that only reads is with a table.
type scanEvent struct {
	event
	Source   string  `json:"source"`
	Record   string  `json:"record"`
	Rows     int64   `json:"rows"`          // read
	Estimate int64   `json:"estimate"`      // of how many, about; -1 if unknown
	Rate     float64 `json:"rows_a_second"` // so far
}

// A scan is a table that is read from its begin to its end.
type scan struct {
	last  scanEvent
	begin time.Time
}

func newScan(ctx context.Context, t *sqlrows.Table) *scan {
	s := &scan{last: scanEvent{Source: t.Name(), Record: t.Record().Label, Estimate: -1}, begin: time.Now()}
	if n, err := t.Estimate(ctx); err == nil {
		s.last.Estimate = n
	}
	return s
}

// add counts rows.
func (s *scan) add(rows int) standing {
	e := &s.last
	e.Rows += int64(rows)
	if spent := time.Since(s.begin); spent > 0 {
		e.Rate = float64(e.Rows) / spent.Seconds()
	}
	e.event = newEvent("progress")
	out := standing{source: e.Source, rows: e.Rows, estimate: e.Estimate, written: noAnswer, rate: e.Rate, left: noAnswer, event: *e}
	if e.Rate > 0 && e.Estimate >= e.Rows {
		out.left = time.Duration(float64(e.Estimate-e.Rows) / e.Rate * float64(time.Second))
	}
	return out
}
