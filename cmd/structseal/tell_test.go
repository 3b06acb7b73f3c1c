package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/structseal/structseal/rotate"
)

// tellHalfAMinute tells of half a minute's work, ten times a second.
func tellHalfAMinute(t *teller) {
	for range 300 {
		s := half
		s.event = scanEvent{event: newEvent("progress"), Source: "customers"}
		t.stand(s)
		time.Sleep(100 * time.Millisecond)
	}
}

// Without a terminal there is a line now and then, and nothing for what is over at once.
func TestLinesNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, err bytes.Buffer
		tell := newTeller(&out, &err, false)
		tell.stand(half)
		if err.Len() > 0 {
			t.Errorf("at once: %q", &err)
		}
		tellHalfAMinute(tell)
		if want := strings.Repeat(half.line()+"\n", 5); err.String() != want || out.Len() > 0 {
			t.Errorf("%q, and %q", &err, &out)
		}
	})
}

// Programs get an event a second, each one a line, on standard output alone.
func TestEventsOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, err bytes.Buffer
		tell := newTeller(&out, &err, true)
		tell.note("for people")
		tellHalfAMinute(tell)
		tell.badRow(&rotate.RowError{Source: "customers", Row: "7", Field: "customer.email", KeyID: 0xabc, Err: errors.New("why")})
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if n := len(lines); n < 29 || n > 31 || err.Len() > 0 {
			t.Errorf("%d events, and %q", n, &err)
		}
		var bad badEvent
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &bad); err != nil {
			t.Fatal(err)
		}
		if bad.Time.IsZero() || bad.event.Event != "bad" || bad.Row != "7" || bad.Key != "00000abc" || bad.Error != "why" {
			t.Errorf("%+v", bad)
		}
	})
}

// A bar is drawn over itself, and makes room for what else is said.
func TestBarMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen bytes.Buffer
		tell := newTeller(&screen, &screen, false)
		width := 60
		tell.width, tell.last = func() int { return width }, time.Time{}
		tell.stand(half)
		tell.stand(half) // too soon
		width = 20
		time.Sleep(redraw)
		tell.stand(half)
		tell.note("note")
		tell.stand(half)
		tell.answer("done", nil)
		if err := tell.close(); err != nil {
			t.Error(err)
		}
		bar := func(width int) string { return "\r" + half.bar(width) + "\x1b[K" }
		const gone = "\r\x1b[K"
		if want := bar(59) + bar(19) + gone + "note\n" + bar(19) + gone + "done\n"; screen.String() != want {
			t.Errorf("%q, want\n%q", &screen, want)
		}
	})
}

// failing is standard output that is closed, such as that of a pipe.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestOutputThatFails(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		tell := newTeller(failing{}, new(bytes.Buffer), asJSON)
		tell.answer("text", newEvent("end"))
		if err := tell.close(); err == nil {
			t.Errorf("JSON %v: no error", asJSON)
		}
	}
}
