package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// share is how much is done, at most 99 %: what is left was estimated.
func (s standing) share() (percent int, known bool) {
	if s.estimate <= 0 {
		return 0, false
	}
	return int(min(99, 100*s.rows/s.estimate)), true
}

// line is a standing for a log.
func (s standing) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d rows", s.source, s.rows)
	if percent, known := s.share(); known {
		fmt.Fprintf(&b, " of about %d (%d%%)", s.estimate, percent)
	}
	if s.written != noAnswer {
		fmt.Fprintf(&b, ", %d written", s.written)
	}
	if s.bad > 0 {
		fmt.Fprintf(&b, ", %d bad", s.bad)
	}
	if s.rate > 0 {
		fmt.Fprintf(&b, ", %.0f rows/s", s.rate)
	}
	if s.left >= 0 {
		fmt.Fprintf(&b, ", about %s left", rough(s.left))
	}
	if s.paused != "" {
		fmt.Fprintf(&b, "; waiting: %s", s.paused)
	}
	return b.String()
}

// bar is a standing for a terminal, in at most width columns: what matters least goes
// first where there is no room.
func (s standing) bar(width int) string {
	percent, known := s.share()
	parts := []string{s.source}
	if known {
		parts = append(parts, fmt.Sprintf("%d%%", percent))
	}
	if s.paused != "" {
		return cut(strings.Join(append(parts, "waiting: "+s.paused), "  "), width)
	}
	// By importance. The last ones are left out first.
	more := []string{short(s.rows) + " rows"}
	if known {
		more[0] = short(s.rows) + "/" + short(s.estimate)
	}
	if s.left >= 0 {
		more = append(more, rough(s.left)+" left")
	}
	if s.bad > 0 {
		more = append(more, short(s.bad)+" bad")
	}
	if s.rate > 0 {
		more = append(more, short(int64(s.rate))+"/s")
	}
	if s.written != noAnswer {
		more = append(more, short(s.written)+" written")
	}
	const gap = "  "
	length := func() int {
		return utf8.RuneCountInString(strings.Join(append(parts[:len(parts):len(parts)], more...), gap))
	}
	for len(more) > 0 && length() > width {
		more = more[:len(more)-1]
	}
	if room := min(40, width-length()-len(gap)-2); known && room >= 8 {
		full := room * percent / 100
		parts = append(parts, "["+strings.Repeat("=", full)+strings.Repeat(" ", room-full)+"]")
	}
	return cut(strings.Join(append(parts, more...), gap), width)
}

// cut shortens a text to so many columns.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(0, width)])
}

// short writes a number in five columns at most.
func short(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 1_000_000:
		return fmt.Sprintf("%dk", n/1000)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1fM", float64(n/100_000)/10)
	}
	return fmt.Sprintf("%.1fG", float64(n/100_000_000)/10)
}

// rough writes a time as people say it.
func rough(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
