package main

import (
	"bytes"
	"fmt"
	"html"
	"math"

	"github.com/structseal/structseal/bench"
)

// plot draws the time of a record of strings on a log scale: a row for each peer, a dot
// for each direction. It follows the reader's colour scheme.
func plot(r *results, peers []bench.Peer) []byte {
	const (
		width, left, right, top, row = 820, 250, 130, 66, 26
		axis                         = width - left - right
	)
	type line struct {
		title            string
		encrypt, decrypt float64
		own              bool
	}
	var lines []line
	low, high := math.Inf(1), 0.0
	for _, p := range peers {
		e, ok := r.of("BenchmarkRecord/op=encrypt/impl=" + p.Name)
		d, ok2 := r.of("BenchmarkRecord/op=decrypt/impl=" + p.Name)
		if !ok || !ok2 {
			continue
		}
		own := len(p.Name) >= 10 && p.Name[:10] == "structseal"
		lines = append(lines, line{p.Title, e.ns, d.ns, own})
		low, high = min(low, e.ns, d.ns), max(high, e.ns, d.ns)
	}
	first, last := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	x := func(ns float64) float64 { return left + axis*(math.Log10(ns)-first)/(last-first) }
	height := top + row*len(lines) + 44

	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Time for a record of five strings">`, width, height, width, height)
	p(`<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px; fill: #59636e }
.title { font-size: 15px; font-weight: 600 }
.own { font-weight: 600 }
.back { fill: #ffffff }
.grid { stroke: #d1d9e0 }
.span { stroke: #818b98; stroke-width: 2 }
.encrypt { fill: #59636e; stroke: #59636e; stroke-width: 2 }
.decrypt { fill: #ffffff; stroke: #59636e; stroke-width: 2 }
.o .encrypt { fill: #0969da; stroke: #0969da }
.o .decrypt { stroke: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.small { fill: #9198a1 }
.back { fill: #0d1117 }
.grid { stroke: #3d444d }
.span { stroke: #656c76 }
.encrypt { fill: #9198a1; stroke: #9198a1 }
.decrypt { fill: #0d1117; stroke: #9198a1 }
.o .encrypt { fill: #4493f8; stroke: #4493f8 }
.o .decrypt { stroke: #4493f8 }
}
</style>`)
	p(`<rect class="back" width="%d" height="%d"/>`, width, height)
	p(`<text class="title" x="16" y="26">Time for a record of five strings, log scale</text>`)
	p(`<circle class="encrypt" cx="22" cy="44" r="4"/><text class="small" x="32" y="48">encrypt</text>`)
	p(`<circle class="decrypt" cx="92" cy="44" r="4"/><text class="small" x="102" y="48">decrypt</text>`)
	bottom := top + row*len(lines)
	for e := first; e <= last; e++ {
		at := x(math.Pow(10, e))
		p(`<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, at, at, top-6, bottom)
		p(`<text class="small" x="%.1f" y="%d" text-anchor="middle">%s</text>`, at, bottom+15, power(e))
	}
	for i, l := range lines {
		y := top + row*i + row/2
		class := ""
		if l.own {
			class = "o"
		}
		p(`<g class="%s">`, class)
		p(`<text x="%d" y="%d" text-anchor="end"%s>%s</text>`, left-16, y+4, map[bool]string{true: ` class="own"`}[l.own], html.EscapeString(l.title))
		p(`<line class="span" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x(l.encrypt), x(l.decrypt), y, y)
		p(`<circle class="encrypt" cx="%.1f" cy="%d" r="4.5"/>`, x(l.encrypt), y)
		p(`<circle class="decrypt" cx="%.1f" cy="%d" r="4.5"/>`, x(l.decrypt), y)
		p(`<text class="small" x="%d" y="%d">%s, %s</text>`, width-right+14, y+4, duration(l.encrypt), duration(l.decrypt))
		p(`</g>`)
	}
	p(`<text class="small" x="16" y="%d">%s, one core, %s, medians of %d runs, %s</text>`,
		height-10, html.EscapeString(r.cpu), html.EscapeString(r.golang), r.count(), r.date)
	p(`</svg>`)
	return b.Bytes()
}

// power names a power of ten in nanoseconds.
func power(e float64) string {
	switch {
	case e < 3:
		return fmt.Sprintf("%.0f ns", math.Pow(10, e))
	case e < 6:
		return fmt.Sprintf("%.0f µs", math.Pow(10, e-3))
	case e < 9:
		return fmt.Sprintf("%.0f ms", math.Pow(10, e-6))
	}
	return fmt.Sprintf("%.0f s", math.Pow(10, e-9))
}
