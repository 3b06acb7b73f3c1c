package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/structseal/structseal/rotate"
)

var half = standing{source: "customers", rows: 45_000, estimate: 90_000, written: 44_000, bad: 3, rate: 1234, left: 36 * time.Second}

// A bar has room for what matters most, and is never wider than the terminal.
func TestBarFits(t *testing.T) {
	for width, want := range map[int]string{
		120: "customers  50%  [====================                    ]  45k/90k  36s left  3 bad  1234/s  44k written",
		70:  "customers  50%  45k/90k  36s left  3 bad  1234/s  44k written",
		75:  "customers  50%  [=====     ]  45k/90k  36s left  3 bad  1234/s  44k written",
		40:  "customers  50%  45k/90k  36s left  3 bad",
		20:  "customers  50%",
		5:   "custo",
		0:   "",
	} {
		if got := half.bar(width); got != want {
			t.Errorf("width %d:\n%q, want\n%q", width, got, want)
		}
	}
	other := half
	other.source = strings.Repeat("Łódź", 30)
	other.paused = "others work on the rest"
	for _, s := range []standing{half, other, {source: "kunden", written: noAnswer, left: noAnswer, estimate: -1}} {
		for width := range 200 {
			if got := s.bar(width); utf8.RuneCountInString(got) > width || !utf8.ValidString(got) {
				t.Errorf("width %d: %q", width, got)
			}
		}
	}
}

// What is unknown isn't told, and what was estimated is never done before the end.
func TestStatusOfUnknown(t *testing.T) {
	for _, c := range []struct {
		s         standing
		line, bar string
	}{
		{standing{source: "c", rows: 7, estimate: -1, written: noAnswer, left: noAnswer}, "c: 7 rows", "c  7 rows"},
		{standing{source: "c", rows: 200, estimate: 100, written: 5, left: noAnswer},
			"c: 200 rows of about 100 (99%), 5 written", "c  99%  [======================================= ]  200/100  5 written"},
		{half, "customers: 45000 rows of about 90000 (50%), 44000 written, 3 bad, 1234 rows/s, about 36s left", half.bar(100)},
		{standing{source: "c", rows: 1, estimate: 2, left: noAnswer, paused: "a replica is 2s behind"},
			"c: 1 rows of about 2 (50%), 0 written; waiting: a replica is 2s behind", "c  50%  waiting: a replica is 2s behind"},
	} {
		if got := c.s.line(); got != c.line {
			t.Errorf("%q, want %q", got, c.line)
		}
		if got := c.s.bar(100); got != c.bar {
			t.Errorf("%q, want %q", got, c.bar)
		}
	}
}

// A job that goes on doesn't look as if it began anew.
func TestStandingOfAllWorkers(t *testing.T) {
	p := rotate.Progress{Source: "customers", Rows: 100, All: 900, Estimate: 1000, Written: 90, Left: time.Second}
	if got, want := standingOf("customer", p).line(), "customers: 900 rows of about 1000 (90%), 90 written, about 1s left"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.All = -1
	if got := standingOf("customer", p).rows; got != 100 {
		t.Errorf("%d rows", got)
	}
}

func TestShortNumbersAndTimes(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 9999: "9999", 10_000: "10k", 999_999: "999k", 1_000_000: "1.0M", 12_345_678: "12.3M", 4_000_000_000: "4.0G"} {
		if got := short(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 59*time.Second + 900*time.Millisecond: "1m00s", 61 * time.Second: "1m01s", 3 * time.Hour: "3h00m", 50 * time.Hour: "2d",
	} {
		if got := rough(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
