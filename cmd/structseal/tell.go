package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/structseal/structseal/rotate"
)

const (
	redraw   = 100 * time.Millisecond // the bar
	speak    = 5 * time.Second        // a line where there is no terminal
	report   = time.Second            // an event
	maxRows  = 20                     // bad ones that are told
	noAnswer = -1                     // of a standing: unknown
)

// A teller tells how a verb goes on: by a bar on a terminal, by lines where there is
// none, by events for programs. What the verb has to say in the end goes to out, and
// all else to err, but events, which are all on out.
type teller struct {
	mu     sync.Mutex
	out    io.Writer
	err    io.Writer
	asJSON bool
	width  func() int // of the terminal; nil if there is none
	last   time.Time
	drawn  bool // the bar is on the screen
	bad    int  // rows told
	failed error
}

func newTeller(out, err io.Writer, asJSON bool) *teller {
	t := &teller{out: out, err: err, asJSON: asJSON, last: time.Now()}
	file, ok := err.(*os.File)
	if ok && !asJSON && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd())) {
		t.last = time.Time{} // draw at once
		t.width = func() int {
			width, _, err := term.GetSize(int(file.Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}
	}
	return t
}

// A standing is how far a verb is with a table.
type standing struct {
	source   string
	rows     int64 // done
	estimate int64 // of how many, about
	written  int64 // noAnswer for what doesn't write
	bad      int64
	rate     float64       // rows a second, 0 if unknown
	left     time.Duration // noAnswer if unknown
	paused   string
	event    any // the same for programs
}

// stand tells a standing, unless the last one was told a moment ago.
func (t *teller) stand(s standing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	every := speak
	switch {
	case t.asJSON:
		every = report
	case t.width != nil:
		every = redraw
	}
	if time.Since(t.last) < every {
		return
	}
	t.last = time.Now()
	switch {
	case t.asJSON:
		t.write(s.event)
	case t.width != nil:
		fmt.Fprintf(t.err, "\r%s\x1b[K", s.bar(t.width()-1))
		t.drawn = true
	default:
		fmt.Fprintln(t.err, s.line())
	}
}

// clear takes the bar from the screen.
func (t *teller) clear() {
	if t.drawn {
		fmt.Fprint(t.err, "\r\x1b[K")
		t.drawn, t.last = false, time.Time{}
	}
}

// note tells a person something on the way. Programs aren't told.
func (t *teller) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.asJSON {
		t.clear()
		fmt.Fprintf(t.err, format+"\n", args...)
	}
}

// answer tells what came of it: a text for people, or an event.
func (t *teller) answer(text string, event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asJSON {
		t.write(event)
		return
	}
	t.clear()
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if _, err := io.WriteString(t.out, text); err != nil && t.failed == nil {
		t.failed = err
	}
}

// badEvent is a row that was left as it is.
type badEvent struct {
	event
	Source string `json:"source"`
	Row    string `json:"row"`
	Field  string `json:"field"`
	Key    string `json:"key"` // "" if the value names none
	Error  string `json:"error"`
}

// badRow tells of a value that can't be done, the first few times.
func (t *teller) badRow(e *rotate.RowError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bad++; t.bad > maxRows {
		return
	}
	if t.asJSON {
		b := badEvent{event: newEvent("bad"), Source: e.Source, Row: e.Row, Field: e.Field, Error: e.Err.Error()}
		if e.KeyID != 0 {
			b.Key = fmt.Sprintf("%08x", e.KeyID)
		}
		t.write(b)
		return
	}
	t.clear()
	fmt.Fprintf(t.err, "bad: %v\n", e)
	if t.bad == maxRows {
		fmt.Fprintln(t.err, "bad: there may be more, which are counted and not told")
	}
}

// failedPart tells of a part that was given up.
func (t *teller) failedPart(text string, event failedEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asJSON {
		t.write(event)
		return
	}
	t.clear()
	fmt.Fprintln(t.err, text)
}

// An event begins what is told to programs, a line each.
type event struct {
	Format string    `json:"format"` // "structseal-rows/1"
	Event  string    `json:"event"`
	Time   time.Time `json:"time"`
}

func newEvent(name string) event {
	return event{Format: "structseal-rows/1", Event: name, Time: time.Now().UTC().Truncate(time.Millisecond)}
}

func (t *teller) write(event any) {
	text, err := json.Marshal(event)
	if err == nil {
		_, err = t.out.Write(append(text, '\n'))
	}
	if err != nil && t.failed == nil {
		t.failed = err
	}
}

// close takes the bar away and returns what went wrong with telling.
func (t *teller) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	return t.failed
}
