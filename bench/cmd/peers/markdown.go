package main

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/structseal/structseal/bench"
)

// versions returns the versions of the modules in this program.
func versions() map[string]string {
	v := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			v[m.Path] = m.Version
		}
	}
	return v
}

// markdown returns the whole page.
func markdown(r *results, peers []bench.Peer, versions map[string]string) ([]byte, error) {
	text, err := figures(r, peers)
	return append(text, claims(peers, versions)...), err
}

// A page is lines.
type page struct{ bytes.Buffer }

func (b *page) line(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }

// figures returns what was measured.
func figures(r *results, peers []bench.Peer) ([]byte, error) {
	var b page
	p := b.line

	p("# Peers")
	p("")
	p("<!-- Written by go -C bench run ./cmd/peers: change that, not this. -->")
	p("")
	p("The same record and the same bytes through structseal and through other libraries, in one")
	p("run on one machine:")
	p("%s, %s, one of %s cores, %s, %s.", r.cpu, r.system, r.cores, r.golang, r.date)
	p("Each peer runs in turns of 30 ms with structseal, and the median of their ratios counts; times")
	p("are the ratio times what structseal takes in the median. Medians of %d runs: for half of the", r.count())
	p("benchmarks the largest ratio is at most %.0f %% of the median from the smallest. No network, store or KMS is in any figure:", 100*r.spread())
	p("all keys are at hand. A peer gets what binds a value to its place as far as its API takes it.")
	p("Tests prove what is said below of rows, fields and bytes.")
	p("")
	p("    go -C bench run -tags cse ./cmd/peers    # without libmongocrypt leave -tags cse out")
	p("")
	p("![Time for a record of five strings, log scale](peers.svg)")
	for _, t := range []struct{ title, text, bench string }{
		{"A record of strings", "Five fields of 11 to 48 bytes. What a peer makes of one is encoded with `EncodeToString` of\nbase64url, and decoded with `DecodeString`, unless it is text already.", "BenchmarkRecord"},
		{"A record of bytes", "The same as `[]byte`, without base64.", "BenchmarkBinaryRecord"},
	} {
		p("")
		p("## %s", t.title)
		p("")
		p("%s", t.text)
		p("")
		p("| `%s` | encrypt | to floor | to structseal | decrypt | to floor | to structseal | allocations |", t.bench)
		p("|---|--:|--:|--:|--:|--:|--:|--:|")
		for _, peer := range peers {
			if peer.Text == nil {
				continue
			}
			cells := []string{peer.Title}
			var allocs []string
			for _, op := range []string{"encrypt", "decrypt"} {
				name := func(impl string) string { return t.bench + "/op=" + op + "/impl=" + impl }
				one, ok := r.of(name(peer.Name))
				base, ok2 := r.of(name("floor"))
				own, ok3 := r.of(name("structseal"))
				if !ok || !ok2 || !ok3 {
					return nil, fmt.Errorf("%s: not measured", name(peer.Name))
				}
				cells = append(cells, duration(one.ns), ratio(one.ns/base.ns), ratio(one.ns/own.ns))
				allocs = append(allocs, fmt.Sprintf("%.0f", one.allocs))
			}
			p("| %s | %s |", strings.Join(cells, " | "), strings.Join(allocs, ", "))
		}
		for _, peer := range peers {
			if peer.Absent != "" {
				p("| %s | | | | | | | %s |", peer.Title, peer.Absent)
			}
		}
	}

	p("")
	p("## Bytes")
	p("")
	p("Time, and its ratio to the floor. The floor and structseal write into memory that is there;")
	p("the APIs of the others return new memory.")
	for _, op := range []string{"encrypt", "decrypt"} {
		p("")
		head, line := "| "+op, "|---"
		for _, size := range bench.Sizes {
			head, line = head+" | "+bytesText(size), line+"|--:"
		}
		p("%s |", head)
		p("%s|", line)
		for _, peer := range peers {
			if peer.Bytes == nil {
				continue
			}
			cells := []string{peer.Title}
			for _, size := range bench.Sizes {
				name := func(impl string) string { return fmt.Sprintf("BenchmarkBytes/size=%d/op=%s/impl=%s", size, op, impl) }
				one, ok := r.of(name(peer.Name))
				base, ok2 := r.of(name("floor"))
				if !ok || !ok2 {
					return nil, fmt.Errorf("%s: not measured", name(peer.Name))
				}
				cells = append(cells, duration(one.ns)+", "+ratio(one.ns/base.ns))
			}
			p("| %s |", strings.Join(cells, " | "))
		}
	}

	return b.Bytes(), nil
}

const claimsTitle = "## What is protected"

// claims returns what needs no measuring.
func claims(peers []bench.Peer, versions map[string]string) []byte {
	var b page
	p := b.line
	p("")
	p(claimsTitle)
	p("")
	p("*Row*, *field*: a ciphertext that is moved to another row, or to another field of its row,")
	p("doesn't open. *Commits*: no ciphertext opens under two keys. *Messages*: how many one key may")
	p("seal until the chance that two nonces (or blocks) meet is about 2^-32, and who counts.")
	p("")
	p("| | bound to | row | field | commits | messages |")
	p("|---|---|---|---|---|---|")
	for _, peer := range peers {
		if c := peer.Claims; peer.Absent == "" && peer.Text != nil {
			p("| %s | %s | %s | %s | %s | %s |", peer.Title, c.Bound, yes(c.Row), yes(c.Field), c.Commits, c.Messages)
		}
	}
	p("")
	p("## What is stored")
	p("")
	p("What a value of 11 bytes takes.")
	p("")
	p("| | in a binary column | more than the value | in a text column | more than the value |")
	p("|---|--:|--:|--:|--:|")
	for _, peer := range peers {
		if c := peer.Claims; peer.Absent == "" && peer.Text != nil {
			p("| %s | %d | %d | %d | %d |", peer.Title, 11+c.Binary, c.Binary, 11+c.Text, c.Text)
		}
	}

	p("")
	p("## How they were used")
	p("")
	for _, peer := range peers {
		name := peer.Title
		if peer.Module != "" {
			name += " (`" + strings.TrimSpace(peer.Module+" "+versions[peer.Module]) + "`)"
		}
		p("- %s: %s", name, peer.Setup+peer.Absent)
	}
	return b.Bytes()
}

// duration shows three digits.
func duration(ns float64) string {
	for _, u := range []struct {
		limit, unit float64
		name        string
	}{{999.5, 1, "ns"}, {999.5e3, 1e3, "µs"}, {999.5e6, 1e6, "ms"}, {1e300, 1e9, "s"}} {
		if ns < u.limit {
			return digits(ns/u.unit) + " " + u.name
		}
	}
	return "?"
}

func digits(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func ratio(v float64) string {
	if v < 9.95 {
		return fmt.Sprintf("%.1fx", v)
	}
	return fmt.Sprintf("%.0fx", v)
}

func bytesText(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

func yes(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}
